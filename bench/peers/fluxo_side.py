"""
The work of the comparison, done by fluxo.

Owns: its workflows and how each phase is measured here; the phases mirror those of the peer's side, one by one. Must
not know the peer.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Iterator

import fluxo
from bench.child import CRASHED

__all__ = ["concurrent", "crash", "recover", "sequential"]

_WARM = 3
_halt_at: list[int] = []
_halfway = threading.Semaphore(0)


@fluxo.step
def noop(n: int) -> int:
    if n in _halt_at:
        _halfway.release()
        threading.Event().wait()
    return n


@fluxo.step
async def anoop(n: int) -> int:
    if n in _halt_at:
        _halfway.release()
        await asyncio.Event().wait()
    return n


@fluxo.workflow
def flow(steps: int) -> int:
    for n in range(steps):
        noop(n)
    return steps


@fluxo.workflow
async def aflow(steps: int) -> int:
    for n in range(steps):
        await anoop(n)
    return steps


def sequential(path: str, colour: str, runs: int, steps: int) -> dict[str, float]:
    """One run after another; steps per second."""
    return concurrent(path, colour, runs, steps, 1)


def concurrent(path: str, colour: str, runs: int, steps: int, in_flight: int) -> dict[str, float]:
    """`in_flight` runs at a time; steps per second."""
    todo = iter(range(runs))
    url = f"sqlite:///{path}"
    if colour == "async":
        return {"steps_per_s": runs * steps / asyncio.run(_crowd(url, todo, steps, in_flight))}
    taking = threading.Lock()
    with fluxo.Engine(url) as engine:
        for _ in range(_WARM):
            engine.run(flow, steps)

        def member() -> None:
            while True:
                with taking:
                    if next(todo, None) is None:
                        return
                engine.run(flow, steps)

        if in_flight == 1:
            began = time.perf_counter()
            member()
            return {"steps_per_s": runs * steps / (time.perf_counter() - began)}
        threads = [threading.Thread(target=member) for _ in range(in_flight)]
        began = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return {"steps_per_s": runs * steps / (time.perf_counter() - began)}


async def _crowd(url: str, todo: Iterator[int], steps: int, in_flight: int) -> float:
    async with fluxo.Engine(url).aio as engine:

        async def member() -> None:
            for _ in todo:
                await engine.run(aflow, steps)

        for _ in range(_WARM):
            await engine.run(aflow, steps)
        began = time.perf_counter()
        await asyncio.gather(*(member() for _ in range(in_flight)))
        return time.perf_counter() - began


def crash(path: str, colour: str, runs: int, steps: int) -> None:
    """Start runs, wait until each has half of its steps recorded, and die."""
    _halt_at.append(steps // 2)
    with fluxo.Engine(f"sqlite:///{path}", concurrency=runs) as engine:
        for number in range(runs):
            if colour == "sync":
                engine.start(flow.options(id=f"r{number}"), steps)
            else:
                engine.start(aflow.options(id=f"r{number}"), steps)
        for _ in range(runs):
            _halfway.acquire()
        os._exit(CRASHED)


def recover(path: str, colour: str, runs: int, steps: int) -> dict[str, float]:
    """From opening the store, which takes the runs over, until the last result is committed."""
    engine = fluxo.Engine(f"sqlite:///{path}")
    began = time.perf_counter()
    with engine:
        for number in range(runs):
            engine.get(f"r{number}").result(timeout=120)
        return {"seconds": time.perf_counter() - began}
