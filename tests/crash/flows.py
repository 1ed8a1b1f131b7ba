"""
Workflows of both colours whose every move leaves a trace outside the store.

Owns: the workflows that crash tests run, and what they must return. Must not know processes. `line` goes from step
to step with a timer and a signal between; `fan` runs steps beside each other; both colours do the same.
"""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path
from typing import Any

import fluxo
from fluxo import Retry, step, workflow
from tests.crash.world import World

__all__ = [
    "BOOM",
    "FLOWS",
    "acall",
    "afan",
    "aline",
    "astumble",
    "aundo",
    "be_called",
    "bomb",
    "call",
    "expected",
    "fan",
    "line",
    "march",
    "shy",
    "stumble",
    "undo",
]

BOOM = 7
"""Exit code of a process that ran a bomb."""

WIDTH = 3


@step(name="crash.move")
def move(folder: str, label: str, value: int) -> int:
    World(folder).effect(fluxo.info().idempotency_key, label)
    return 2 * value + 1


@step(name="crash.amove")
async def amove(folder: str, label: str, value: int) -> int:
    await asyncio.sleep(0)
    World(folder).effect(fluxo.info().idempotency_key, label)
    return 2 * value + 1


def saw(folder: str, label: str, value: Any) -> Any:
    World(folder).saw(fluxo.info().run_id, label, value)
    return value


@workflow(name="crash.line")
def line(folder: str, value: int) -> list[int]:
    first = saw(folder, "first", move(folder, "first", value))
    fluxo.sleep(0.001)
    second = saw(folder, "second", move(folder, "second", first))
    word = saw(folder, "word", fluxo.wait_signal("word", int))
    third = saw(folder, "third", move(folder, "third", second + word))
    return [first, second, word, third]


@workflow(name="crash.aline")
async def aline(folder: str, value: int) -> list[int]:
    first = saw(folder, "first", await amove(folder, "first", value))
    await asyncio.sleep(0.001)
    second = saw(folder, "second", await amove(folder, "second", first))
    word = saw(folder, "word", await fluxo.aio.wait_signal("word", int))
    third = saw(folder, "third", await move.aio(folder, "third", second + word))
    return [first, second, word, third]


@workflow(name="crash.fan")
def fan(folder: str, value: int) -> list[int]:
    beside = [move.submit(folder, f"beside {n}", value + n) for n in range(WIDTH)]
    first = saw(folder, "first", move(folder, "first", value))
    parts = saw(folder, "parts", fluxo.gather(*beside))
    word = saw(folder, "word", fluxo.wait_signal("word", int))
    return [first, *parts, saw(folder, "last", move(folder, "last", sum(parts) + word))]


@workflow(name="crash.afan")
async def afan(folder: str, value: int) -> list[int]:
    async with asyncio.TaskGroup() as group:
        beside = [group.create_task(amove(folder, f"beside {n}", value + n)) for n in range(WIDTH)]
        first = saw(folder, "first", await amove(folder, "first", value))
    parts = saw(folder, "parts", [task.result() for task in beside])
    word = saw(folder, "word", await fluxo.aio.wait_signal("word", int))
    return [first, *parts, saw(folder, "last", await amove(folder, "last", sum(parts) + word))]


@step(name="crash.trip", retry=Retry(max_attempts=3, initial=0.001, jitter=0))
def trip(folder: str, value: int) -> int:
    """Fails twice, each time after it has done something."""
    here = fluxo.info()
    if here.attempt < 3:
        World(folder).effect(f"{here.idempotency_key} attempt {here.attempt}", "tripped")
        raise ConnectionError("tripped")
    World(folder).effect(here.idempotency_key, "walked")
    return value


@workflow(name="crash.stumble")
def stumble(folder: str, value: int) -> int:
    return saw(folder, "walked", trip(folder, value))


@workflow(name="crash.astumble")
async def astumble(folder: str, value: int) -> int:
    return saw(folder, "walked", await trip.aio(folder, value))


@workflow(name="crash.undo")
def undo(folder: str, value: int) -> None:
    done = saw(folder, "done", move(folder, "done", value))
    try:
        fluxo.wait_signal("never sent")
    finally:
        saw(folder, "undone", move(folder, "undone", done))


@workflow(name="crash.aundo")
async def aundo(folder: str, value: int) -> None:
    done = saw(folder, "done", await amove(folder, "done", value))
    try:
        await fluxo.aio.wait_signal("never sent")
    finally:
        saw(folder, "undone", await amove(folder, "undone", done))


@workflow(name="crash.call")
def call(to: str) -> None:
    fluxo.signal(to, "word", 1)


@workflow(name="crash.be_called")
def be_called() -> int:
    return fluxo.wait_signal("word", int)


@workflow(name="crash.acall")
async def acall(to: str) -> None:
    await fluxo.aio.signal(to, "word", 1)


@workflow(name="crash.march")
def march(folder: str, steps: int) -> int:
    for number in range(steps):
        move(folder, f"step {number}", number)
    return steps


class Fuse:
    """Whether `shy` is at work in this process, and whether anything else is."""

    lit = threading.Event()
    never = threading.Event()


@step(name="crash.explode")
def explode(folder: str) -> str:
    if (Path(folder) / "defused").exists():
        return "defused"
    Fuse.lit.wait(0.1)
    os._exit(BOOM)


@step(name="crash.hide")
def hide(folder: str) -> str:
    World(folder).effect(fluxo.info().idempotency_key, "hide")
    Fuse.lit.set()
    Fuse.never.wait(0.3)
    return "nobody there"


@workflow(name="crash.bomb")
def bomb(folder: str) -> str:
    return explode(folder)


@workflow(name="crash.shy")
def shy(folder: str) -> str:
    """Takes its time, so that it is under way whenever a bomb goes off beside it."""
    return hide(folder)


FLOWS = {"line": line, "aline": aline, "fan": fan, "afan": afan}


def expected(name: str, value: int, word: int) -> list[int]:
    """What a run returns when nothing goes wrong, worked out without fluxo."""
    first = 2 * value + 1
    if name in ("line", "aline"):
        second = 2 * first + 1
        return [first, second, word, 2 * (second + word) + 1]
    parts = [2 * (value + n) + 1 for n in range(WIDTH)]
    return [first, *parts, 2 * (sum(parts) + word) + 1]
