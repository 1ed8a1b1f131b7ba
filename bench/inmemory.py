"""
The engine's own code, with a store that does nothing (G7).

Owns: a 1,000-step run on the memory store over the same run on the mini engine. Must not know durable stores.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import fluxo
from bench.engines import on_loop
from bench.load import Receipt, aorders, orders, receipt
from bench.mini import MiniRun, astep, execute, execute_async, step
from bench.report import Figure
from bench.setting import Setting
from bench.timing import Series, interleave, timed

__all__ = ["in_memory"]

_STEPS = 1000


mini_charge = step(receipt)


async def _areceipt(n: int) -> Receipt:
    return receipt(n)


mini_acharge = astep(_areceipt)


def _mini_orders(steps: int) -> int:
    total = 0
    for n in range(steps):
        total += mini_charge(n).id
    return total


async def _mini_aorders(steps: int) -> int:
    total = 0
    for n in range(steps):
        total += (await mini_acharge(n)).id
    return total


def in_memory(setting: Setting) -> Iterator[Figure]:
    """G7: a step in memory over the mini engine's step."""
    for colour, series in (("sync", _sync(setting)), ("async", _async(setting))):
        engine_us, mini_us = series.us("engine"), series.us("mini")
        yield Figure(
            goal="g7",
            what=f"1,000-step run in memory, {colour}, per step",
            raw=f"mini engine {mini_us:.2f} µs",
            measured=series.ratio("engine", "mini"),
            unit="x mini",
            bound=10.0,
            stretch=4.0,
            detail=f"{engine_us:.2f} µs a step",
            limited_by="what a step carries beyond the mini engine: arguments, envelope, checksum, command, committer",
        )


def _sync(setting: Setting) -> Series:
    def engine_us() -> float:
        with fluxo.Engine("memory://") as engine:
            engine.run(orders, 1)
            return timed(lambda: engine.run(orders, _STEPS), _STEPS)()

    mini = timed(lambda: execute(_mini_orders, MiniRun(1, []), _STEPS), _STEPS)
    return interleave({"mini": mini, "engine": engine_us}, budget_s=setting.seconds(4), rounds_max=80)


def _async(setting: Setting) -> Series:
    def engine_us() -> float:
        with on_loop("memory://") as opened:
            opened.call(lambda: opened.engine.run(aorders, 1))
            return timed(lambda: opened.call(lambda: opened.engine.run(aorders, _STEPS)), _STEPS)()

    with asyncio.Runner() as runner:
        mini = timed(lambda: runner.run(execute_async(_mini_aorders, MiniRun(1, []), _STEPS)), _STEPS)
        return interleave({"mini": mini, "engine": engine_us}, budget_s=setting.seconds(4), rounds_max=80)
