# The few commands of this project. Build output stays in a cache outside the checkout.
export CARGO_TARGET_DIR ?= $(HOME)/.cache/waystation/target
WAYSTATION = $(CARGO_TARGET_DIR)/release/waystation

.PHONY: run test check tools python clients api fuzz bench audit

## Build, run an example with its progress shown, and leave a server to try.
run:
	cargo build --release --locked --package waystation
	-./.ci/python-component
	$(WAYSTATION) run payloads/parallel-dag.json
	@echo
	@echo "Try it from another terminal:  curl -X POST http://127.0.0.1:$${PORT:-8080}/execute -d @payloads/simple-echo.json"
	$(WAYSTATION) serve

## Install what the tests need, and run everything.
test: tools check python clients api
	./deploy/check
	cargo nextest run --workspace --locked

## Everything that reads the code without running it.
check:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --locked --no-deps --quiet
	cargo deny check bans licenses sources

tools:
	./.ci/tools

## Build the Python of code nodes, once, into a cache outside the checkout.
python:
	./.ci/python-component

## Ask the client libraries of OpenAI and Anthropic whether the model services that tests use are right, watch
## a job with those for WebSocket and server-sent events while the server is killed, and use clients in Python
## and TypeScript that are made of docs/openapi.json.
clients: tools
	./tests/clients/run

## Send generated requests to every route, and hold the answers against docs/openapi.json.
api: tools
	./tests/api/run 1

## The same with more than 50,000 requests, in three quarters of an hour. SEED=2 makes others.
fuzz: tools
	./tests/api/run 640 $(SEED)

## Known vulnerabilities of dependencies; asks the advisory database on the network.
audit:
	cargo deny check advisories

## Measure, beside the ceilings, and write bench/RESULTS.md. Takes some minutes on a quiet machine.
bench:
	cargo build --release --locked --package waystation --package waystation-bench
	$(CARGO_TARGET_DIR)/release/waystation-bench all --server $(WAYSTATION) --output bench/RESULTS.md
