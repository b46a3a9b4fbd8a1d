"""Puts what exists into generated requests: else nearly all would be answered with 404 or 422.

A part of them stays as generated, so that refusals are asked for as well. Needs FUZZ_IDS (what seed.py
printed), FUZZ_SEED, FUZZ_URL and FUZZ_KEY in the environment.
"""

import atexit
import json
import os
import random
import sys

import schemathesis
import seed

IDS = json.loads(os.environ["FUZZ_IDS"])
RANDOM = random.Random(int(os.environ["FUZZ_SEED"]))

WORKFLOWS = [IDS["workflow"], IDS["waiting_workflow"], IDS["triggered_workflow"]]
RUNS = IDS["jobs"] + IDS["runs"] + IDS["instances"]
# Those that call nobody.
NODE_TYPES = [
    "start",
    "end",
    "conditional",
    "switch",
    "merge",
    "filter",
    "transformer",
    "llm",
    "code",
    "delay",
    "foreach",
]
MORE_NODE_TYPES = ["email", "http", "data-source", "webhook", "router", "ai-processor", "subworkflow"]
NODE_CONFIGS = [
    {},
    {"output": "x"},
    {"condition": "true"},
    {"provider": "echo", "prompt": "x"},
    {"cases": []},
    {"delay_seconds": 0},
    {"choices": ["a"]},
    {"transform_type": "map"},
]
STATUSES = [201, 204, 304, 400, 401, 403, 404, 418, 429, 500, 503]
# These answer with the status of somebody else; schemathesis.toml lists them as well.
PASS_STATUSES_ON = {"echo", "echoBody", "generateWorkflow", "callEndpoint"} | {
    f"callEndpoint{number}" for number in (1, 2, 3)
}
# Names of path parameters that mean the same on every route.
NAMED = {
    "ns": ["demo", "default", "workflows", "samples"],
    "workflow_id": ["report", "simple-echo", "instruction-chain", IDS["workflow"]],
    "type": NODE_TYPES + MORE_NODE_TYPES,
    "path": ["orders/new", "orders/result"],
    "file": ["page.css", "page.js", "watch.js", "examples.js"],
    "sample": ["weather", "news", "finance"],
    "node": ["decision", "decision", "refund", "no"],
    "trigger": ["nightly", "orders", "result"],
}

tickets = []
asked = set()
succeeded = set()


def happens(chance):
    return RANDOM.random() < chance


@schemathesis.hook
def before_load_schema(context, raw_schema):
    """With `default` every status is a documented one, so that only the routes that need it keep it."""
    for item in raw_schema["paths"].values():
        for operation in item.values():
            if operation["operationId"] not in PASS_STATUSES_ON:
                operation["responses"].pop("default", None)


@schemathesis.hook
def before_call(context, case, kwargs):
    put_headers(case)
    put_parameters(case)
    put_query(case.query)
    mend_body(case)
    stay_here(case.body)


@schemathesis.hook
def after_call(context, case, response):
    """Notes which operations were never seen to succeed."""
    name = case.operation.definition.raw["operationId"]
    asked.add(name)
    if response.status_code < 400:
        succeeded.add(name)


@atexit.register
def tell_coverage():
    if missing := asked - succeeded:
        print("never answered with success:", ", ".join(sorted(missing)), file=sys.stderr)


def put_parameters(case):
    """Ids of what exists, in most paths. Some are unknown for certain: others are often taken out of answers."""
    parameters = case.path_parameters or {}
    method, path = case.method.upper(), case.operation.path
    for name in parameters:
        if happens(0.1):
            parameters[name] = "unknown"
        elif happens(0.8) and (value := existing(method, path, name)):
            parameters[name] = value
    # A generated id may be of a thing that later requests need, as it is taken out of answers.
    if method in ("DELETE", "PUT", "PATCH") and parameters.get("id") in WORKFLOWS:
        parameters["id"] = fresh_workflow()
    if path == "/keys/{id}":
        parameters["id"] = fresh_key() if happens(0.7) else "unknown"


def existing(method, path, name):
    """The id of something that exists, for this parameter of this path. Made anew where it is used up."""
    if name == "ticket":
        return some_ticket()
    if "/blocks" in path:
        return existing_block(method, name)
    if name in NAMED:
        return RANDOM.choice(NAMED[name])
    if name == "name" and path.startswith("/secrets"):
        return RANDOM.choice(["A_SECRET", "ANOTHER"])
    if name == "execution" or path.startswith(("/api/v1/jobs/", "/runs/")):
        return existing_run(path)
    if "/triggers" in path:
        return IDS["triggered_workflow"]
    if "/workflows/" in path:
        return existing_workflow(method, path)
    return None


def existing_block(method, name):
    if name == "ns":
        return "demo"
    if method == "DELETE":
        return seed.call("POST", "/namespaces/demo/blocks", {"title": "Fresh"})["id"]
    return RANDOM.choice(["weather-1", "plain"])


def existing_run(path):
    if path.endswith(("/cancel", "/signal")) and happens(0.8):
        return seed.execute(IDS["waiting_workflow"])
    return RANDOM.choice(RUNS if path.startswith("/runs") else IDS["jobs"])


def existing_workflow(method, path):
    if method in ("DELETE", "PUT", "PATCH"):
        return fresh_workflow()
    # A job that waits for somebody would hold its request open.
    if path.endswith("/execute"):
        return RANDOM.choice([IDS["workflow"], fresh_workflow()])
    return RANDOM.choice(WORKFLOWS)


def fresh_workflow():
    return seed.create({"name": "Fresh", "nodes": [{"id": "end", "type": "end", "config": {"output": "{{input}}"}}]})


def fresh_key():
    return seed.call("POST", "/keys", {"name": "fresh", "role": "viewer"})["id"]


def some_ticket():
    """A ticket that was perhaps used before."""
    if not tickets or happens(0.5):
        tickets.append(seed.ticket(IDS["asking_workflow"]))
        return tickets[-1]
    return RANDOM.choice(tickets)


def put_query(query):
    """Ids of what exists, in the query."""
    if not isinstance(query, dict):
        return
    # Up to a minute, for nothing.
    query.pop("delay_ms", None)
    values = {"instanceId": IDS["instances"], "parent": [IDS["parent"]], "before": RUNS, "workflow_id": WORKFLOWS}
    for name in values.keys() & query.keys():
        if happens(0.5):
            query[name] = RANDOM.choice(values[name])


def put_headers(case):
    """A key in nearly all, and versions that are right now and then."""
    headers = case.headers = dict(case.headers or {})
    # None rather than a wrong one: after some of these the server would not listen any more.
    if happens(0.97):
        headers["x-api-key"] = seed.KEY
    if headers.get("If-Match") and happens(0.7):
        headers["If-Match"] = RANDOM.choice(['"1"', '"2"', "*", 'W/"1"'])


def mend_body(case):
    """What an object needs beyond its schema, to be taken."""
    body, path = case.body, case.operation.path
    if not isinstance(body, dict):
        return
    mend_graph(body, path)
    if isinstance(body.get("workflow"), dict):
        mend_graph(body["workflow"], path)
    mend_steps(body.get("STEPS_CONFIG"))
    mend_instructions(body)
    if path.startswith("/endpoint"):
        mend_endpoint(body)
    if isinstance(body.get("provider"), str) and happens(0.7):
        body["provider"] = "echo"
    if "blockIds" in body and happens(0.7):
        body["blockIds"] = RANDOM.choice([["weather-1"], ["weather-1", "plain"]])
    if path.endswith("/execute") and happens(0.5):
        body.setdefault("input_data", {"weight": 3, "order": 1})


def objects(value):
    """The objects of a list, where it is one."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def entries(value):
    """The keys and values of an object or a list. There are none in anything else."""
    if isinstance(value, dict):
        return list(value.items())
    return list(enumerate(value)) if isinstance(value, list) else []


def mend_graph(graph, path):
    """Types of nodes that exist, edges between them, and times at which a schedule is due."""
    ids = []
    for number, node in enumerate(objects(graph.get("nodes"))):
        if happens(0.8):
            node["id"] = f"n{number}"
        if happens(0.9):
            node["type"] = RANDOM.choice(NODE_TYPES)
        if happens(0.8):
            node["config"] = dict(RANDOM.choice(NODE_CONFIGS))
        ids.append(node.get("id"))
    ends = ("from", "to") if path.startswith("/workflows") else ("source", "target")
    for edge in objects(graph.get("edges")):
        if ids and happens(0.8):
            source = RANDOM.randrange(len(ids))
            edge.clear()
            edge.update(zip(ends, (ids[source], ids[min(source + 1, len(ids) - 1)])))
    for trigger in objects(graph.get("triggers")):
        if "cron" in trigger and happens(0.8):
            trigger.update(cron="0 3 * * *", timezone="UTC")


def mend_steps(steps):
    """Steps that call what exists, at once and once."""
    for step in objects(steps):
        if happens(0.8):
            step.update(dependencies=[], max_retries=0)
            if "service_url" in step:
                step["service_url"] = RANDOM.choice(["/echo", "/echo?only=json", "/nothing"])
                step["method"] = RANDOM.choice(["GET", "POST"])


def mend_instructions(value):
    """Endpoints that exist, wherever an instruction has some, and no more chains at once than are taken."""
    for key, item in entries(value):
        if key == "endpointUrl" and happens(0.9):
            value[key] = "/endpoint-1"
        elif key == "apiUrl" and happens(0.9):
            value[key] = f"/endpoints/demo/mock/{RANDOM.choice(NAMED['sample'])}"
        elif key == "count" and happens(0.7):
            value[key] = 2
        else:
            mend_instructions(item)


def mend_endpoint(body):
    """Calls that end soon, with every kind of status."""
    if happens(0.8):
        path = RANDOM.choice(["/echo", "/echo?only=json", "/ping", f"/echo?status={RANDOM.choice(STATUSES)}"])
        body["url"] = seed.URL + path
        body["retries"] = 0
    if happens(0.8):
        body["headers"] = {"x-api-key": seed.KEY}
    if isinstance(body.get("retries"), (int, float)):
        body["retries"] = min(body["retries"], 1)
    body["retryDelay"] = 1


def stay_here(value):
    """No request makes the server call another machine: every address becomes one of its own."""
    for key, item in entries(value):
        if isinstance(item, str) and item.lower().startswith(("http:", "https:")):
            if not item.startswith(seed.URL):
                value[key] = f"{seed.URL}/echo"
        else:
            stay_here(item)
