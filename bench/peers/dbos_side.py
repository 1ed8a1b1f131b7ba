"""
The work of the comparison, done by DBOS.

Owns: its workflows and how each phase is measured there. Must not load fluxo: it runs in the peer's environment. A
workflow is called directly, in the caller's thread or task, which is DBOS's fastest way; `fluxo_side` does the same.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import sqlite3
import threading
import time
from collections.abc import Callable
from typing import Any

from bench.child import CRASHED

__all__ = ["concurrent", "crash", "recover", "sequential"]

_WARM = 3


class _Peer:
    def __init__(self, path: str, *, halt_at: int | None = None) -> None:
        # By name: fluxo's own environment, where types are checked, does not have it.
        DBOS: Any = importlib.import_module("dbos").DBOS  # noqa: N806
        self.dbos = DBOS
        self.path = path
        self.halfway = threading.Semaphore(0)

        def noop(n: int) -> int:
            if n == halt_at:
                self.halfway.release()
                threading.Event().wait()
            return n

        async def anoop(n: int) -> int:
            if n == halt_at:
                self.halfway.release()
                await asyncio.Event().wait()
            return n

        step, astep = DBOS.step()(noop), DBOS.step()(anoop)

        def flow(steps: int) -> int:
            for n in range(steps):
                step(n)
            return steps

        async def aflow(steps: int) -> int:
            for n in range(steps):
                await astep(n)
            return steps

        self.flow: Callable[[int], int] = DBOS.workflow()(flow)
        self.aflow: Callable[[int], Any] = DBOS.workflow()(aflow)
        config: dict[str, Any] = {
            "name": "bench",
            "system_database_url": f"sqlite:///{path}",
            # Recovery goes by these two; by default they would be the same in both processes anyway.
            "application_version": "bench",
            "executor_id": "bench",
            "log_level": "CRITICAL",
        }
        DBOS(config=config)

    def unfinished(self) -> int:
        """Workflows without a committed outcome."""
        connection = sqlite3.connect(self.path)
        try:
            query = "SELECT count(*) FROM workflow_status WHERE status <> 'SUCCESS'"
            return int(connection.execute(query).fetchone()[0])
        finally:
            connection.close()


def sequential(path: str, colour: str, runs: int, steps: int) -> dict[str, float]:
    """One run after another; steps per second."""
    return concurrent(path, colour, runs, steps, 1)


def concurrent(path: str, colour: str, runs: int, steps: int, in_flight: int) -> dict[str, float]:
    """`in_flight` runs at a time; steps per second."""
    peer = _Peer(path)
    peer.dbos.launch()
    for _ in range(_WARM):
        peer.flow(steps)
    todo = iter(range(runs))
    if colour == "async":
        return {"steps_per_s": runs * steps / asyncio.run(_crowd(peer, todo, steps, in_flight))}
    taking = threading.Lock()

    def member() -> None:
        while True:
            with taking:
                if next(todo, None) is None:
                    return
            peer.flow(steps)

    if in_flight == 1:
        began = time.perf_counter()
        member()
    else:
        threads = [threading.Thread(target=member) for _ in range(in_flight)]
        began = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return {"steps_per_s": runs * steps / (time.perf_counter() - began)}


async def _crowd(peer: _Peer, todo: Any, steps: int, in_flight: int) -> float:
    async def member() -> None:
        for _ in todo:
            await peer.aflow(steps)

    await peer.aflow(steps)
    began = time.perf_counter()
    await asyncio.gather(*(member() for _ in range(in_flight)))
    return time.perf_counter() - began


def crash(path: str, colour: str, runs: int, steps: int) -> None:
    """Start runs, wait until each has half of its steps recorded, and die."""
    peer = _Peer(path, halt_at=steps // 2)
    peer.dbos.launch()
    if colour == "sync":
        for _ in range(runs):
            peer.dbos.start_workflow(peer.flow, steps)
        for _ in range(runs):
            peer.halfway.acquire()
        os._exit(CRASHED)

    async def whole() -> None:
        for _ in range(runs):
            await peer.dbos.start_workflow_async(peer.aflow, steps)
        for _ in range(runs):
            await asyncio.to_thread(peer.halfway.acquire)
        os._exit(CRASHED)

    asyncio.run(whole())


def recover(path: str, colour: str, runs: int, steps: int) -> dict[str, float]:
    """From opening the store, which takes the runs over, until the last outcome is committed."""
    peer = _Peer(path)
    began = time.perf_counter()
    peer.dbos.launch()
    while peer.unfinished():
        time.sleep(0.005)
    return {"seconds": time.perf_counter() - began}
