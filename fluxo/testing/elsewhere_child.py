"""
``python -m fluxo.testing.elsewhere_child``: the process in which `elsewhere` replays histories.

Owns: the environment that differs (a clock a year ahead; hash seed, zone and locale come from outside), finding the
workflow, and the loop over requests. Must not execute steps. What user code prints goes to the error output: the
standard output is the pipe to the parent.
"""

from __future__ import annotations

import importlib
import importlib.util
import locale
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import IO, Any, Final

import msgspec

from fluxo.authoring.workflow import WorkflowBase
from fluxo.engine.rehearsal import Rehearsal
from fluxo.testing.elsewhere import Answer, Request, read_message, write_message

__all__ = ["main"]

_YEAR_S: Final = 365 * 86400
_requests = msgspec.msgpack.Decoder(Request)


def main() -> None:
    """Answer requests until the parent closes the pipe."""
    pipe = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    _go_elsewhere()
    answers(sys.stdin.buffer, pipe)


def answers(requests: IO[bytes], pipe: IO[bytes]) -> None:
    """One answer per request."""
    with Rehearsal() as rehearsal:
        while (message := read_message(requests)) is not None:
            write_message(pipe, msgspec.msgpack.encode(_answer(rehearsal, _requests.decode(message))))


def _answer(rehearsal: Rehearsal, request: Request) -> Answer:
    try:
        definition = _find(request)
    except Exception as error:
        return Answer(f"{request.module} cannot be imported there: {type(error).__name__}: {error}", 0)
    if not isinstance(definition, WorkflowBase):
        return Answer(f"{request.module}.{request.qualname} is no workflow there", 0)
    rehearsed = rehearsal.replay(request.run_id, request.rows, definition)
    return Answer("" if rehearsed.holds else str(rehearsed.problem), rehearsed.seq)


def _find(request: Request) -> Any:
    os.chdir(request.folder)
    for entry in request.path:
        if entry not in sys.path:
            sys.path.append(entry)
    found: Any = _module(request.module, request.file)
    for part in request.qualname.split("."):
        found = getattr(found, part)
    return found


def _module(name: str, file: str) -> Any:
    """The module, under its own name: what its errors are recorded by."""
    if name in sys.modules:
        return sys.modules[name]
    with suppress(ImportError):
        return importlib.import_module(name)
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ImportError(f"no loader for {file}")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _go_elsewhere() -> None:
    with suppress(locale.Error):
        locale.setlocale(locale.LC_ALL, "")
    time.tzset()
    for name, unit in (("time", 1), ("time_ns", 1_000_000_000)):
        setattr(time, name, _later(getattr(time, name), _YEAR_S * unit))


def _later(clock: Callable[[], Any], by: int) -> Callable[[], Any]:
    return lambda: clock() + by


if __name__ == "__main__":
    main()
