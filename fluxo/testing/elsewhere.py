"""
Replaying a history in another process, under another hash seed, time zone, locale and clock.

Owns: the warm child processes and what is said to them. Must not know schedules. The child imports the workflow's
module as the parent did, replays, and executes nothing; only data goes over the pipe. Sets of strings iterate by hash
seed, so each history is replayed under more than one.
"""

from __future__ import annotations

import atexit
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import IO, Final

import msgspec

from fluxo.authoring.workflow import WorkflowBase
from fluxo.store import EventRow

__all__ = ["Answer", "Request", "close", "home_of", "read_message", "replay_elsewhere", "write_message"]

CHILDREN: Final = 2
_ZONES: Final = ("Pacific/Kiritimati", "Pacific/Marquesas")
_MARK: Final = "FLUXO_REPLAYS_ELSEWHERE"
_LOCALES: Final = ("tr_TR.UTF-8", "C")


class Request(msgspec.Struct, array_like=True):
    """A history to replay. `module` and `file` say where the workflow is, `qualname` what it is called there."""

    path: list[str]
    folder: str
    module: str
    file: str
    qualname: str
    run_id: str
    rows: list[tuple[int, int, int, bytes]]


class Answer(msgspec.Struct, array_like=True):
    """What came of it: the problem, empty if there is none, and at which event."""

    problem: str
    seq: int


_answers = msgspec.msgpack.Decoder(Answer)
_children: list[subprocess.Popen[bytes]] = []


def home_of(definition: WorkflowBase) -> tuple[str, str, str] | None:
    """
    (module, file, qualified name) under which another process finds the workflow; None if it cannot.

    A script is not imported there, since it would do again what it does; nor is anything by a process that was itself
    started to replay.
    """
    fn = definition.fn
    if fn.__module__ == "__main__" or _MARK in os.environ:
        return None
    module = sys.modules.get(fn.__module__)
    file = getattr(module, "__file__", None)
    found: object = module
    for part in fn.__qualname__.split("."):
        found = getattr(found, part, None)
    if module is None or file is None or getattr(found, "fn", None) is not fn:
        return None
    return fn.__module__, file, fn.__qualname__


def replay_elsewhere(home: tuple[str, str, str], run_id: str, rows: Sequence[EventRow]) -> Answer | None:
    """
    Replay in each child; the first problem, or None.

    Raises:
        RuntimeError: a child died; its error output says why.
    """
    module, file, qualname = home
    request = Request(list(sys.path), os.getcwd(), module, file, qualname, run_id, list(rows))
    body = msgspec.msgpack.encode(request)
    pipes: list[tuple[subprocess.Popen[bytes], IO[bytes]]] = []
    for child in _warm():
        if child.stdin is not None and child.stdout is not None:
            with suppress(BrokenPipeError):
                write_message(child.stdin, body)
            pipes.append((child, child.stdout))
    found: Answer | None = None
    for child, stdout in pipes:
        message = read_message(stdout)
        if message is None:
            _children.clear()
            raise RuntimeError(
                f"the process that replays elsewhere ended with code {child.wait()}; its error output says why"
            )
        answer = _answers.decode(message)
        if answer.problem and found is None:
            found = answer
    return found


def close() -> None:
    """End the children."""
    for child in _children:
        if child.stdin is not None:
            child.stdin.close()
        if child.stdout is not None:
            child.stdout.close()
        child.wait()
    _children.clear()


def write_message(pipe: IO[bytes], body: bytes) -> None:
    """A length and so many bytes."""
    pipe.write(len(body).to_bytes(4, "big") + body)
    pipe.flush()


def read_message(pipe: IO[bytes]) -> bytes | None:
    """What `write_message` wrote; None at the end."""
    head = pipe.read(4)
    return pipe.read(int.from_bytes(head, "big")) if len(head) == 4 else None


def _warm() -> list[subprocess.Popen[bytes]]:
    if not _children:
        own = os.environ.get("PYTHONHASHSEED", "random")
        seeds = [seed for seed in ("1", "2", "3") if seed != own]
        for n in range(CHILDREN):
            elsewhere = {
                _MARK: "1",
                "PYTHONHASHSEED": seeds[n],
                "TZ": _ZONES[n],
                "LC_ALL": _LOCALES[n],
                "PYTHONUTF8": "1",
            }
            command = [sys.executable, "-m", "fluxo.testing.elsewhere_child"]
            _children.append(
                subprocess.Popen(
                    command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, **elsewhere}
                )
            )
        atexit.register(close)
    return _children
