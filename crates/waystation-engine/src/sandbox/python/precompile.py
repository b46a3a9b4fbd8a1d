"""Translates the component into machine code for any processor of this machine's kind."""

import platform
import sys

from wasmtime import Config, Engine
from wasmtime import _ffi as ffi
from wasmtime.component import Component

SYSTEMS = {"Linux": "unknown-linux-gnu", "Darwin": "apple-darwin", "Windows": "pc-windows-msvc"}
MACHINES = {"AMD64": "x86_64", "arm64": "aarch64"}


def engine():
    """An engine with the settings that `python/component.rs` has."""
    config = Config()
    config.epoch_interruption = True
    config.gc_support = False
    config.wasm_component_model = True
    # Parts of the engine that the program is built without.
    config.wasm_gc = False
    config.wasm_function_references = False
    config.wasm_exceptions = False
    config.wasm_threads = False
    config.wasm_stack_switching = False
    ffi.wasmtime_config_concurrency_support_set(config.ptr(), False)
    machine = MACHINES.get(platform.machine(), platform.machine())
    config.target = f"{machine}-{SYSTEMS[platform.system()]}"
    return Engine(config)


if __name__ == "__main__":
    source, target = sys.argv[1:]
    with open(source, "rb") as file:
        component = Component(engine(), file.read())
    with open(target, "wb") as file:
        file.write(component.serialize())
