"""
The smallest engine of the same idea, as the floor of what fluxo's own code may cost.

Owns: steps of both colours, a log in memory, replay by position, and the check that names agree. Must not know fluxo.
Same semantics as far as it goes: a step's result is encoded and in the log before the next line runs, and a recorded
step is not executed. No arguments in the log, no retries, no timers, no ownership, no store: that is the point.
"""

from __future__ import annotations

import functools
import typing
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from types import GenericAlias
from typing import Any

import msgspec

__all__ = ["DivergenceError", "MiniRun", "astep", "execute", "execute_async", "step"]

_current: ContextVar[MiniRun] = ContextVar("mini_run")
_encode = msgspec.msgpack.Encoder().encode


class DivergenceError(Exception):
    """The code calls another step than the log holds."""


class MiniRun:
    """One run: its log as (run, seq, encoded) rows, and how far execution has come."""

    __slots__ = ("history", "id", "log", "position")

    def __init__(self, id: int, log: list[tuple[int, int, bytes]], history: typing.Sequence[bytes] = ()) -> None:
        self.id = id
        self.log = log
        self.history = history
        self.position = 0

    async def append(self, row: tuple[int, int, bytes]) -> None:
        """The log as an awaitable one would be asked."""
        self.log.append(row)


def step(fn: Callable[..., Any]) -> Callable[..., Any]:
    """A plain function whose result is recorded once."""
    name, recorded = fn.__qualname__, _reader(fn)

    @functools.wraps(fn)
    def call(*args: Any, **kwargs: Any) -> Any:
        run = _current.get()
        position = run.position
        run.position = position + 1
        if position < len(run.history):
            return recorded(run.history[position])
        value = fn(*args, **kwargs)
        run.log.append((run.id, position, _encode((name, value))))
        return value

    return call


def astep(fn: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """A coroutine function whose result is recorded once."""
    name, recorded = fn.__qualname__, _reader(fn)

    @functools.wraps(fn)
    async def call(*args: Any, **kwargs: Any) -> Any:
        run = _current.get()
        position = run.position
        run.position = position + 1
        if position < len(run.history):
            return recorded(run.history[position])
        value = await fn(*args, **kwargs)
        await run.append((run.id, position, _encode((name, value))))
        return value

    return call


def execute(workflow: Callable[..., Any], run: MiniRun, *args: Any) -> Any:
    """Run a sync workflow to its end."""
    token = _current.set(run)
    try:
        return workflow(*args)
    finally:
        _current.reset(token)


async def execute_async(workflow: Callable[..., Awaitable[Any]], run: MiniRun, *args: Any) -> Any:
    """Run an async workflow to its end, in the caller's task."""
    token = _current.set(run)
    try:
        return await workflow(*args)
    finally:
        _current.reset(token)


def _reader(fn: Callable[..., Any]) -> Callable[[bytes], Any]:
    name = fn.__qualname__
    result: Any = typing.get_type_hints(fn).get("return", Any)
    decode = msgspec.msgpack.Decoder(GenericAlias(tuple, (str, result))).decode

    def recorded(encoded: bytes) -> Any:
        found, value = decode(encoded)
        if found != name:
            raise DivergenceError(f"{found} recorded, {name} called")
        return value

    return recorded
