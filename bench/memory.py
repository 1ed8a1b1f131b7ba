"""
What runs leave in memory: while they wait, and after they have ended.

Owns: resident memory per parked run, and its growth over thousands of finished ones. Must not know replay's memory
(`recovery`). Each figure comes from a process of its own.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Iterator

import fluxo
from bench import child
from bench.load import aorders, aparked, orders
from bench.report import Figure
from bench.setting import Setting
from bench.timing import resident_bytes

__all__ = ["finish_runs", "finished", "park_runs", "waiting"]

_WARM = 200


def park_runs(url: str, runs: int) -> dict[str, float]:
    """In a child: start async runs that wait for a signal after one step, until all are parked; bytes for each."""

    async def whole() -> dict[str, float]:
        async with fluxo.Engine(url).aio as engine:
            await _park(engine, 0, _WARM)
            gc.collect()
            before = resident_bytes()
            began = time.perf_counter()
            await _park(engine, _WARM, runs)
            seconds = time.perf_counter() - began
            gc.collect()
            return {"bytes": (resident_bytes() - before) / runs, "before": before, "seconds": seconds}

    return asyncio.run(whole())


async def _park(engine: fluxo.AsyncEngine, first: int, runs: int) -> None:
    for start in range(first, first + runs, 200):
        batch = range(start, min(start + 200, first + runs))
        await asyncio.gather(*(engine.start(aparked.options(id=f"p{n}"), n) for n in batch))
    # What parks a run is an append of its own driver, which nothing here could wait for.
    while (await engine.stats()).runs.get("waiting", 0) < first + runs:  # noqa: ASYNC110
        await asyncio.sleep(0.05)


def finish_runs(url: str, first: int, runs: int) -> dict[str, float]:
    """In a child: run short runs to their end, half of each colour; resident memory after `first` and after `runs`."""
    with fluxo.Engine(url) as engine:

        def finish(runs: int) -> int:
            for _ in range(runs // 2):
                engine.run(orders, 2)
                engine.run(aorders, 2)
            gc.collect()
            return resident_bytes()

        return {"early": finish(first), "late": finish(runs - first)}


def waiting(setting: Setting) -> Iterator[Figure]:
    """A waiting async run: at most 20 KB."""
    runs = setting.size(10_000, 2_000)
    answer = child.call("bench.memory:park_runs", url=setting.url("parked"), runs=runs)
    yield Figure(
        goal="waiting",
        what=f"memory of a waiting async run, {runs:,} parked",
        raw=f"{answer['before'] / 2**20:.0f} MB before them",
        measured=answer["bytes"] / 1000,
        unit="kB",
        bound=20.0,
        detail=f"after one step each; started and parked in {answer['seconds']:.1f} s",
        limited_by="a task, a coroutine, a loop and a machine for every run that stays in memory",
    )


def finished(setting: Setting) -> Iterator[Figure]:
    """Resident memory after 10,000 finished runs: at most 5 % above that after 1,000."""
    first, runs = setting.size(1_000, 500), setting.size(10_000, 2_000)
    answer = child.call("bench.memory:finish_runs", url=setting.url("finished"), first=first, runs=runs)
    yield Figure(
        goal="finished",
        what=f"memory after {runs:,} finished runs",
        raw=f"{answer['early'] / 2**20:.1f} MB after {first:,}",
        measured=(answer["late"] / answer["early"] - 1) * 100,
        unit="% more",
        bound=5.0,
        detail=f"{answer['late'] / 2**20:.1f} MB at the end, SQLite's page cache included",
        limited_by="SQLite's page cache, which fills up to its limit, or something that is kept per run",
    )
