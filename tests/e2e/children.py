"""
What the processes of the process tests run.

Owns: their workflows and main functions. Must not know any test. A step can ask the parent a question and wait for the
answer, so that a test decides how long a step is under way.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from datetime import timedelta

import fluxo
from fluxo import Engine, step, workflow
from tests.crash.processes import hear, tell
from tests.crash.world import World

__all__ = ["aserve", "ask_along", "idle", "listen", "serve", "start_same", "talk", "work", "work_along"]


@step(name="children.work")
def work(folder: str, label: str) -> int:
    World(folder).effect(fluxo.info().idempotency_key, label)
    return os.getpid()


@step(name="children.ask")
def ask(folder: str, label: str) -> str:
    World(folder).effect(fluxo.info().idempotency_key, label)
    tell(f"{label} is under way")
    return hear()


@step(name="children.told")
def told(folder: str, what: str) -> None:
    World(folder).effect(fluxo.info().idempotency_key, what)
    tell(what)


@workflow(name="children.work_along")
def work_along(folder: str) -> int:
    return work(folder, "work")


@workflow(name="children.ask_along")
def ask_along(folder: str) -> str:
    return ask(folder, "question")


@workflow(name="children.talk")
def talk(folder: str) -> list[str]:
    answers = [ask(folder, "first"), ask(folder, "second")]
    return [*answers, fluxo.wait_signal("last", str)]


@workflow(name="children.atalk")
async def atalk(folder: str) -> list[str]:
    answers = [await ask.aio(folder, "first"), await ask.aio(folder, "second")]
    return [*answers, await fluxo.aio.wait_signal("last", str)]


@workflow(name="children.wait")
def wait(folder: str) -> str:
    told(folder, "waiting")
    return fluxo.wait_signal("last", str)


@workflow(name="children.listen")
def listen(folder: str, count: int) -> int:
    for number in range(count):
        fluxo.wait_signal("ping")
        told(folder, f"heard {number}")
    return count


def serve(folder: str, lease_s: float = 10.0, concurrency: int = 8) -> None:
    """A worker that lives until it is told to end."""
    engine = Engine(World(folder).store, lease=timedelta(seconds=lease_s), concurrency=concurrency)
    with engine:
        tell("serving")
        engine.serve()


def aserve(folder: str) -> None:
    """`serve`, in a program that has an event loop of its own."""

    async def main() -> None:
        async with Engine(World(folder).store).aio as engine:
            tell("serving")
            await engine.serve()

    asyncio.run(main())


def start_same(folder: str) -> None:
    """Start the run that others start too, all at the same moment; tell its result."""
    with Engine(World(folder).store) as engine:
        tell("ready")
        hear()
        tell(str(engine.run(work_along.options(id="same"), folder)))


def idle(folder: str, period_s: float) -> None:
    """Have nothing to do; tell which part of a core that takes."""
    with Engine(World(folder).store):
        # What opening left to be done must not count.
        threading.Event().wait(period_s / 4)
        used_s, since_s = time.process_time(), time.monotonic()
        threading.Event().wait(period_s)
        tell(str((time.process_time() - used_s) / (time.monotonic() - since_s)))
