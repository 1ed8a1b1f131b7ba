"""
What is paid where nothing is asked for (G8).

Owns: the price of disabled tracing per step, and of a decorated call outside a run. Must not know durable stores.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator

import fluxo
from bench.load import anothing, nothing, orders
from bench.report import Figure
from bench.setting import Setting
from bench.timing import Slice, interleave, timed

__all__ = ["unused"]

_CALLS = 20_000
_STEPS = 500


def unused(setting: Setting) -> Iterator[Figure]:
    """G8."""
    yield _tracing(setting)
    yield from _outside(setting)


def _tracing(setting: Setting) -> Figure:
    """The engine as it comes, without an SDK, over one told to observe nothing; best of many short runs."""

    def engine_us(engine: fluxo.Engine) -> float:
        with engine:
            engine.run(orders, 1)
            return timed(lambda: engine.run(orders, _STEPS), _STEPS)()

    slices: dict[str, Slice] = {
        "default": lambda: engine_us(fluxo.Engine("memory://")),
        "none": lambda: engine_us(fluxo.Engine("memory://", observers=())),
    }
    guard_us = _guard_us()
    with fluxo.Engine("memory://") as engine:
        observed = bool(engine._node.core.observers)
    added_us, how = guard_us, "no observer by default: the price of the guards"
    if observed:
        series = interleave(slices, budget_s=setting.seconds(5), rounds_min=30)
        added_us = max(0.0, series.best_us("default") - series.best_us("none"))
        how = "the default observer, measured against none"
    return Figure(
        goal="g8",
        what="tracing disabled, added per step",
        raw=f"two guards {guard_us:.3f} µs",
        measured=added_us,
        unit="µs",
        bound=0.1,
        stretch=0.03,
        detail=how,
        limited_by="the default observer's work for each step",
    )


def _guard_us() -> float:
    """What a step pays to find that nobody listens: once before its body, once after its commit."""
    with fluxo.Engine("memory://", observers=()) as engine:
        core = engine._node.core

        def guarded() -> None:
            for _ in range(_CALLS):
                if core.observers:
                    raise AssertionError
                if core.observers:
                    raise AssertionError

        def bare() -> None:
            for _ in range(_CALLS):
                pass

        variants = {"guarded": timed(guarded, _CALLS), "bare": timed(bare, _CALLS)}
        series = interleave(variants, budget_s=0.3)
        return max(0.0, series.us("guarded") - series.us("bare"))


def _outside(setting: Setting) -> Iterator[Figure]:
    def calls(fn: Callable[[], object]) -> Callable[[], None]:
        def work() -> None:
            for _ in range(_CALLS):
                fn()

        return work

    def acalls(fn: Callable[[], Awaitable[object]]) -> Callable[[], None]:
        async def work() -> None:
            for _ in range(_CALLS):
                await fn()

        return lambda: runner.run(work())

    with asyncio.Runner() as runner:
        variants = {
            "sync plain": calls(nothing.fn),
            "sync": calls(nothing),
            "async plain": acalls(anothing.fn),
            "async": acalls(anothing),
        }
        slices = {name: timed(work, _CALLS) for name, work in variants.items()}
        series = interleave(slices, budget_s=setting.seconds(2))
    for colour in ("sync", "async"):
        yield Figure(
            goal="g8",
            what=f"decorated call outside a run, {colour}",
            raw=f"plain call {series.best_us(f'{colour} plain'):.3f} µs",
            measured=series.best_us(colour),
            unit="µs",
            bound=0.3,
            stretch=0.1,
            detail=f"an empty body; best of {len(series.rounds)} rounds, median {series.us(colour):.3f} µs",
            limited_by="a call through __call__ and one context variable",
        )
