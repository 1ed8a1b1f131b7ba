"""
What workflow code calls beside its steps: time, signals, chance, facts.

Owns: these functions in both colours, their argument checks, and what they do outside a run. Must not know how
a run waits. The awaitable spellings are collected in `fluxo.aio`.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar, overload

from fluxo.authoring.context import RunContext, active, require
from fluxo.authoring.step import step
from fluxo.clock import SystemClock, from_us, to_us
from fluxo.codec.payload import ANY
from fluxo.errors import UsageError
from fluxo.model.names import check_name
from fluxo.model.retry import seconds

if TYPE_CHECKING:
    from random import Random
    from uuid import UUID

__all__ = [
    "Signal",
    "async_signal",
    "async_sleep",
    "async_sleep_until",
    "async_wait_any_signal",
    "async_wait_signal",
    "info",
    "now",
    "random",
    "resource",
    "shield",
    "signal",
    "sleep",
    "sleep_until",
    "uuid4",
    "wait_any_signal",
    "wait_signal",
]

T = TypeVar("T")
_clock = SystemClock()


class Signal(NamedTuple, Generic[T]):
    """A signal that came: its name and payload."""

    name: str
    payload: T


def sleep(delay: float | timedelta) -> None:
    """A durable timer: seconds or timedelta from now. Survives restarts and fires once."""
    scope = active.get(None)
    if scope is None:
        time.sleep(_us("sleep", delay) / 1_000_000)
    else:
        scope.sleep(_us("sleep", delay), None)


def sleep_until(at: datetime) -> None:
    """A durable timer that is due at an aware datetime; one in the past is due at once."""
    scope = active.get(None)
    if scope is None:
        time.sleep(max(0, _until_us(at) - _clock.now_us()) / 1_000_000)
    else:
        scope.sleep(None, _until_us(at))


async def async_sleep(delay: float | timedelta) -> None:
    """`sleep`, awaited; in a workflow the same as ``asyncio.sleep`` but for timedeltas."""
    scope = active.get(None)
    if scope is None:
        import asyncio

        await asyncio.sleep(_us("sleep", delay) / 1_000_000)
    else:
        await scope.async_sleep(_us("sleep", delay), None)


async def async_sleep_until(at: datetime) -> None:
    """`sleep_until`, awaited."""
    scope = active.get(None)
    if scope is None:
        import asyncio

        await asyncio.sleep(max(0, _until_us(at) - _clock.now_us()) / 1_000_000)
    else:
        await scope.async_sleep(None, _until_us(at))


@overload
def wait_signal(name: str, type: type[T], timeout: float | timedelta | None = None) -> T: ...
@overload
def wait_signal(name: str, type: Any = Any, timeout: float | timedelta | None = None) -> Any: ...
def wait_signal(name: str, type: Any = Any, timeout: float | timedelta | None = None) -> Any:
    """
    Wait for the next signal of this name and return its payload, decoded as `type`.

    First in, first out per name; a signal sent before the wait is kept.

    Raises:
        SignalTimeoutError: none came within `timeout` (seconds or timedelta).
    """
    return require("wait_signal").wait_signal(_names((name,)), type, _timeout_us(timeout))[1]


@overload
async def async_wait_signal(name: str, type: type[T], timeout: float | timedelta | None = None) -> T: ...
@overload
async def async_wait_signal(name: str, type: Any = Any, timeout: float | timedelta | None = None) -> Any: ...
async def async_wait_signal(name: str, type: Any = Any, timeout: float | timedelta | None = None) -> Any:
    """`wait_signal`, awaited."""
    return (await require("wait_signal").async_wait_signal(_names((name,)), type, _timeout_us(timeout)))[1]


def wait_any_signal(*names: str, timeout: float | timedelta | None = None) -> Signal[Any]:
    """The next signal of any of these names."""
    return Signal(*require("wait_any_signal").wait_signal(_names(names), Any, _timeout_us(timeout)))


async def async_wait_any_signal(*names: str, timeout: float | timedelta | None = None) -> Signal[Any]:
    """`wait_any_signal`, awaited."""
    return Signal(*await require("wait_any_signal").async_wait_signal(_names(names), Any, _timeout_us(timeout)))


@step(name="fluxo.signal")
def _send(run_id: str, name: str, payload: Any) -> None:
    scope = require("signal")
    scope.deliver_signal(run_id, name, ANY.encode(payload, f"signal {name!r}"), scope.info().idempotency_key)


def signal(run_id: str, name: str, payload: Any = None) -> None:
    """Send a signal to another run, recorded once; outside a run use ``engine.signal``."""
    require("signal").about_to_block("fluxo.aio.signal(...)")
    _send(check_name("run id", run_id), check_name("signal name", name), payload)


def async_signal(run_id: str, name: str, payload: Any = None) -> Awaitable[None]:
    """`signal`, awaited."""
    require("signal")
    return _send.aio(check_name("run id", run_id), check_name("signal name", name), payload)


def shield() -> AbstractContextManager[None]:
    """Within this block of a sync workflow a cancellation waits; it is raised at the first wait after it."""
    return require("shield").shield()


def now() -> datetime:
    """In a workflow the recorded time of the last event it saw, never backwards; elsewhere the real time. Aware UTC."""
    scope = active.get(None)
    return from_us(_clock.now_us() if scope is None else scope.now_us())


def random() -> Random:
    """A seeded source, equal on replay; outside a run a fresh one."""
    scope = active.get(None)
    if scope is not None:
        return scope.random()
    from random import Random

    return Random()


def uuid4() -> UUID:
    """A random UUID, equal on replay."""
    scope = active.get(None)
    if scope is not None:
        return scope.uuid4()
    import uuid

    return uuid.uuid4()


def info() -> RunContext:
    """Where the caller is: run, workflow, step, attempt, idempotency key."""
    return require("info").info()


def resource(name: str) -> Any:
    """
    What was given to the engine under this name: ``Engine(…, resources={name: …})``.

    Raises:
        UsageError: no such resource; the message lists those there are.
    """
    return require("resource").resource(name)


def _us(what: str, delay: float | timedelta) -> int:
    if isinstance(delay, int | float) and not isinstance(delay, bool) and delay < 0:
        return 0
    if isinstance(delay, timedelta) and delay < timedelta(0):
        return 0
    return round(seconds(what, delay) * 1_000_000)


def _timeout_us(timeout: float | timedelta | None) -> int | None:
    return None if timeout is None else _us("timeout", timeout)


def _until_us(at: datetime) -> int:
    if not isinstance(at, datetime) or at.tzinfo is None or at.utcoffset() is None:
        raise UsageError("sleep_until needs an aware datetime: give it a tzinfo, for example datetime.now(UTC)")
    return to_us(at)


def _names(names: tuple[str, ...]) -> tuple[str, ...]:
    if not names:
        raise UsageError("wait_any_signal() needs at least one name")
    return tuple(check_name("signal name", name) for name in names)
