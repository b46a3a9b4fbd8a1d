"""The inside of the Python sandbox: runs `process(**input)` of a user's code, once per instance."""

import asyncio
import builtins
import collections
import dataclasses
import datetime
import decimal
import enum
import inspect
import io
import json
import linecache
import sys
import textwrap
import time
import traceback
import uuid

# A module is there if it is loaded when the component is built: there are no files.
import __future__, abc, array, base64, binascii, bisect, calendar, cmath, collections.abc, configparser
import contextlib, contextvars, copy, csv, difflib, email.utils, fnmatch, fractions, functools, glob
import graphlib, gzip, hashlib, heapq, hmac, html, html.parser, ipaddress, itertools, keyword, locale
import logging, math, numbers, operator, pathlib, pprint, queue, random, re, secrets, shlex, statistics
import string, struct, types, typing, unicodedata, urllib.parse, warnings, weakref
import tomllib, xml.etree.ElementTree, zlib, zoneinfo, _strptime

import wit_world
from componentize_py_types import Err

# What user code can import: what computes. Modules of these import whatever they need.
MODULES = frozenset(
    """
    __future__ abc array asyncio base64 binascii bisect calendar cmath collections configparser
    contextlib contextvars copy csv dataclasses datetime decimal difflib email.utils enum fnmatch
    fractions functools graphlib gzip hashlib heapq hmac html inspect io ipaddress itertools json
    keyword locale logging math numbers operator pprint queue random re secrets shlex statistics string
    struct sys textwrap time tomllib traceback types typing unicodedata urllib.parse uuid warnings
    weakref xml.etree zlib zoneinfo
    """.split()
)

FILE = "code.py"
LINE_LETTERS = 4_096
TRACEBACK_LINES = 12


class NoEvents:
    """There is nothing to wait for but time."""

    def select(self, timeout=None):
        if timeout:
            time.sleep(timeout)
        return []


class Loop(asyncio.base_events.BaseEventLoop):
    """An event loop without sockets and signals, which do not exist here."""

    def __init__(self):
        super().__init__()
        self._selector = NoEvents()

    def _process_events(self, events):
        pass

    def _write_to_self(self):
        pass


asyncio.new_event_loop = asyncio.events.new_event_loop = Loop


class Printed(io.TextIOBase):
    """A stream whose lines go to the run's log as they are completed."""

    def __init__(self, level):
        self.level = level
        self.line = ""

    def writable(self):
        return True

    def write(self, text):
        first, *rest = text.split("\n")
        self.gather(first)
        for line in rest:
            self.end_line()
            self.gather(line)
        return len(text)

    def gather(self, text):
        self.line += text[: LINE_LETTERS - len(self.line)]

    def end_line(self):
        line, self.line = self.line, ""
        # What no UTF-8 can say must not end the program.
        wit_world.log(self.level, line.encode("utf-8", "replace").decode("utf-8"))

    def end(self):
        if self.line:
            self.end_line()


def jsonable(value):
    """What JSON has no word for, in the words that are usual."""
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, (decimal.Decimal, uuid.UUID)):
        return str(value)
    if isinstance(value, (set, frozenset, collections.deque)):
        return list(value)
    if isinstance(value, enum.Enum):
        return value.value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def is_admitted(name):
    """Whether a module is one of those, or within one."""
    parts = name.split(".")
    return any(".".join(parts[:end]) in MODULES for end in range(1, len(parts) + 1))


def refused(name, parts):
    """The first of what an `import` asks for that is not admitted."""
    if is_admitted(name):
        return None
    # A package on the way to a module is nothing by itself.
    is_on_the_way = any(module.startswith(name + ".") for module in MODULES)
    wanted = [f"{name}.{part}" for part in parts or ()] if is_on_the_way else [name]
    return next((one for one in wanted if not is_admitted(one)), None)


def import_for_user(name, globals=None, locals=None, fromlist=(), level=0):
    """The `import` of user code alone: of other modules it says at once that they are not for it.

    This confines nobody. What keeps code from the outside is WebAssembly, where there is nothing outside.
    """
    # The interpreter itself gives a list where its own functions need a module.
    is_its_own = isinstance(fromlist, list)
    name_refused = None if is_its_own or level else refused(name, fromlist)
    if name_refused:
        known = ", ".join(sorted(MODULES))
        text = f"{name_refused} cannot be imported here; there are {known}"
        raise ImportError(text, name=name_refused)
    return builtins.__import__(name, globals, locals, fromlist, level)


def compiled(code):
    """The code, also where all of it is indented."""
    try:
        return compile(code, FILE, "exec")
    except IndentationError:
        return compile(textwrap.dedent(code), FILE, "exec")


def result_of(code, given):
    own = {**vars(builtins), "__import__": import_for_user}
    names = {"__name__": "__main__", "__file__": FILE, "__builtins__": own}
    exec(compiled(code), names)
    process = names.get("process")
    if not callable(process):
        raise NameError("the code defines no function `process`")
    result = process(**given)
    return asyncio.run(result) if inspect.iscoroutine(result) else result


def failure(reason, message, line=None):
    return Err(json.dumps({"reason": reason, "message": message, "line": line}))


def told(error):
    """An exception in terms of the user's code alone: its own frames, its own lines."""
    if isinstance(error, MemoryError):
        return failure("memory", "")
    if isinstance(error, SyntaxError) and error.filename == FILE:
        return failure("exception", f"{type(error).__name__}: {error.msg}", error.lineno)
    known = traceback.TracebackException.from_exception(error, limit=-50, compact=True)
    last = "".join(known.format_exception_only()).strip()
    own = [frame for frame in known.stack if frame.filename == FILE]
    if not own:
        return failure("exception", last)
    known.stack = traceback.StackSummary.from_list(own)
    lines = "".join(traceback.format_list(own)).rstrip().split("\n")[-TRACEBACK_LINES:]
    return failure("exception", "\n".join([last, *lines]), own[-1].lineno)


class WitWorld(wit_world.WitWorld):
    def run(self, code: str, input: str) -> str:
        linecache.cache[FILE] = (len(code), None, code.splitlines(keepends=True), FILE)
        sys.stdout, sys.stderr = streams = Printed(0), Printed(1)
        try:
            result = result_of(code, json.loads(input))
        except BaseException as error:
            raise told(error)
        finally:
            for stream in streams:
                stream.end()
        return text_of(result)


def text_of(result):
    """The result as JSON; every way in which there is none has its reason."""
    try:
        text = json.dumps(result, ensure_ascii=False, allow_nan=False, default=jsonable)
        text.encode("utf-8")
        return text
    except MemoryError:
        raise failure("memory", "")
    except RecursionError:
        raise failure("not_json", "it is nested too deeply")
    except UnicodeEncodeError:
        raise failure("not_json", "a text is not valid Unicode")
    except Exception as error:
        raise failure("not_json", str(error))
