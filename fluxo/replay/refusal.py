"""
What asyncio offers and a workflow must not use: no replay would repeat it.

Owns: how such a use is recognized and what its author is told. Must not know runs. Theory: `fluxo.replay` rules 1–5.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import FrameType
from typing import Any, NoReturn

from fluxo.errors import UsageError

__all__ = ["NO_ORDER", "in_as_completed", "refusal"]

NO_ORDER = (
    "asyncio.as_completed puts coroutines into a set, whose order no replay repeats: make tasks of them first "
    "(asyncio.create_task), or use fluxo.aio.as_completed with .submit(...)"
)
_NO_IO = (
    "loop.{} is not for workflows: they use no threads, sockets, processes or real time themselves; "
    "put the call into a @step and await it (or its .aio)"
)
_TASKS: Any = vars(asyncio.tasks)


def in_as_completed(frame: FrameType | None) -> bool:
    """Whether it is asyncio.as_completed that creates a task in this frame: it takes its coroutines from a set."""
    while frame is not None and frame.f_globals is _TASKS:
        if frame.f_code.co_qualname in ("as_completed", "_AsCompletedIterator.__init__"):
            return True
        frame = frame.f_back
    return False


def refusal(name: str) -> Callable[..., NoReturn]:
    """The method `name` of a loop that gives a workflow no I/O: it raises UsageError with the cure."""

    def refuse(*_: Any, **__: Any) -> NoReturn:
        raise UsageError(_NO_IO.format(name))

    return refuse
