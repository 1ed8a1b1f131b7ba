"""
What the processes under test do.

Owns: the main functions of child processes. Must not know what becomes of them. Each takes plain data, because it
travels to a process that shares nothing with the test but the folder.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import time
from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

from fluxo import Engine, StoreUnavailableError
from fluxo.engine import claims
from fluxo.testing.failpoints import arm
from tests.crash.flows import FLOWS
from tests.crash.judge import run_ids
from tests.crash.processes import hear, tell
from tests.crash.world import World

__all__ = [
    "finish",
    "finish_and_stay",
    "finish_on_a_loop",
    "finish_the_started",
    "settle",
    "start_for_ever",
    "start_through_outages",
]

T = TypeVar("T")

LEASE_S = 10.0
PATIENCE_S = 25.0


def engine_of(folder: str, plan: str = "", lease_s: float = LEASE_S) -> Engine:
    """An engine on the folder's store, with a failpoint armed before it does anything."""
    # Each of hundreds of processes would say that this SQLite is old.
    logging.getLogger("fluxo.stores").setLevel(logging.ERROR)
    # What a suspect rests is shown elsewhere; here it would be most of the time.
    claims.CRASH_LOOP_BACKOFF_S = 0.02  # type: ignore[misc]
    engine = Engine(World(folder).store, lease=timedelta(seconds=lease_s))
    arm(engine, plan)
    return engine


def finish(folder: str, plan: str = "", lease_s: float = LEASE_S) -> None:
    """Work until every run of the store has ended; tell the results."""
    with engine_of(folder, plan, lease_s) as engine:
        tell_results(engine, folder)


def tell_results(engine: Engine, folder: str) -> None:
    """Wait for every run's result and tell it."""
    for run_id in run_ids(World(folder)):
        tell(json.dumps([run_id, engine.get(run_id).result(PATIENCE_S)]))


def finish_and_stay(folder: str, lease_s: float) -> None:
    """`finish`, and keep the engine open until the parent has heard enough."""
    with engine_of(folder, "", lease_s) as engine:
        tell_results(engine, folder)
        hear()


def settle(folder: str, plan: str = "") -> None:
    """Work until every run has ended or is blocked; tell how each stands."""
    with engine_of(folder, plan) as engine:
        for run_id in run_ids(World(folder)):
            handle = engine.get(run_id)
            assert handle.wait(PATIENCE_S), f"{run_id} does not end"
            tell(json.dumps([run_id, handle.status()]))


def finish_on_a_loop(folder: str, plan: str = "", lease_s: float = LEASE_S) -> None:
    """`finish`, in a program that has an event loop of its own."""

    async def main() -> None:
        async with engine_of(folder, plan, lease_s).aio as engine:
            for run_id in run_ids(World(folder)):
                handle = await engine.get(run_id)
                tell(json.dumps([run_id, await handle.aio.result(PATIENCE_S)]))

    asyncio.run(main())


def start_for_ever(folder: str, life: int) -> None:
    """Start run after run of every kind, a few at a time, and tell each id once its start has been acknowledged."""
    with engine_of(folder) as engine:
        handles = []
        for number in itertools.count():
            name = list(FLOWS)[number % len(FLOWS)]
            run_id = f"{name}-{life}-{number}"
            handles.append(engine.start(FLOWS[name].options(id=run_id), folder, number))
            send_word(engine, run_id)
            tell(run_id)
            if len(handles) > 3:
                handles.pop(0).result(PATIENCE_S)


def start_through_outages(folder: str, life: int, runs: int) -> None:
    """Start this many runs of every kind, whatever the store does meanwhile; tell each id once it is acknowledged."""
    with engine_of(folder) as engine:
        handles = []
        for number in range(runs):
            name = list(FLOWS)[number % len(FLOWS)]
            run_id = f"{name}-{life}-{number}"
            workflow = FLOWS[name].options(id=run_id)
            handles.append(insist(lambda workflow=workflow, number=number: engine.start(workflow, folder, number)))
            insist(lambda run_id=run_id: send_word(engine, run_id))
            tell(run_id)
        for handle in handles:
            insist(lambda handle=handle: handle.result(PATIENCE_S))
        tell("done")


def insist(ask: Callable[[], T]) -> T:
    """Ask until the store is there; what is asked may be asked twice."""
    deadline_s = time.monotonic() + PATIENCE_S
    while True:
        try:
            return ask()
        except StoreUnavailableError:
            if time.monotonic() > deadline_s:
                raise
            time.sleep(0.05)


def finish_the_started(folder: str) -> None:
    """`finish`, for processes that may have been killed between a start and its signal: all are sent again."""
    with engine_of(folder) as engine:
        for run_id in run_ids(World(folder)):
            send_word(engine, run_id)
        tell_results(engine, folder)


def send_word(engine: Engine, run_id: str) -> None:
    """The signal that a run of `start_for_ever` waits for; however often it is sent, it is one."""
    engine.signal(run_id, "word", int(run_id.rpartition("-")[2]), key="the word")
