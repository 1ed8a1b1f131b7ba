"""
Plain asyncio programs whose observations must be the same on every replay.

Owns: the programs, each a workflow that returns what it saw, in the order it saw it. Must not know how they are
replayed. A program's outcome may not depend on how fast anything is: what it races is decided by construction.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from typing import Any, NamedTuple

import fluxo
from fluxo import Retry, step, workflow
from tests.replaying import body_ran

PROGRAMS: dict[str, Program] = {}
"""By name; filled by `program`."""

HOUR_S = 3600.0
FOR_EVER_S = 1e9

ANYTHING: Any = object()

caller = contextvars.ContextVar("caller", default="nobody")


class Program(NamedTuple):
    """A workflow, what it returns, and whether it sleeps for hours, so that it wants virtual time."""

    workflow: Any
    expected: Any
    sleeps: bool


def program(expected: Any, sleeps: bool = False) -> Callable[[Callable[[], Any]], Any]:
    """Register a program that returns `expected`."""

    def register(fn: Callable[[], Any]) -> Any:
        definition = workflow(name=f"asyncio.{fn.__name__}")(fn)
        PROGRAMS[fn.__name__] = Program(definition, expected, sleeps)
        return fn

    return register


@step(name="asyncio.echo")
async def echo(value: Any) -> Any:
    body_ran()
    return value


@step(name="asyncio.slowly")
async def slowly(value: Any) -> Any:
    body_ran()
    for _ in range(3):
        await asyncio.sleep(0)
    return value


@step(name="asyncio.in_a_thread")
def in_a_thread(value: Any) -> Any:
    body_ran()
    return value


@step(name="asyncio.never")
async def never() -> None:
    body_ran()
    await asyncio.Event().wait()


@step(name="asyncio.refuse")
async def refuse(text: str) -> None:
    body_ran()
    raise ValueError(text)


@step(name="asyncio.third_time", retry=Retry(max_attempts=4, initial=60))
async def third_time(value: str) -> str:
    body_ran()
    if fluxo.info().attempt < 3:
        raise ConnectionError("not yet")
    return value


@step(name="asyncio.called_by")
async def called_by() -> str:
    body_ran()
    return caller.get()


async def twice(number: int) -> int:
    return await slowly(await echo(number)) * 2  # type: ignore[no-any-return]
