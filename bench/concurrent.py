"""
Many runs in flight on a durable store (G3, G4, G5, and the spread of latencies at 16).

Owns: crowds of 10-step runs, async on one loop and sync in threads, against the raw log. Must not know other loads.
Each member of a crowd starts its next run when its last one has ended; a slice ends when all have, so the thinning
crowd at its end counts too.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import fluxo
from bench.engines import OnLoop, on_loop
from bench.load import aorders, astamped, latencies_s, orders, stamped
from bench.raw import RawLog
from bench.report import Figure
from bench.setting import Setting
from bench.timing import Slice, interleave, quantile

__all__ = ["crowd_of_10", "crowd_of_100", "crowd_of_1000", "latency"]

_STEPS = 10
_BY_THREADS = "two thread switches per commit under one interpreter lock"
_BY_LOOP = "one interpreter: the engine's CPU per step plus SQLite's own insert, while the device waits"


def crowd_of_10(setting: Setting) -> Iterator[Figure]:
    """G3: 10 runs in flight, steps per second over raw commits per second."""
    yield _crowd_over_a(setting, "g3", 10, "async", bound=3.0)
    yield _crowd_over_a(setting, "g3", 10, "threads", bound=1.8)


def crowd_of_100(setting: Setting) -> Iterator[Figure]:
    """G4: the same with 100 in flight."""
    yield _crowd_over_a(setting, "g4", 100, "async", bound=8.0, stretch=16.0)
    yield _crowd_over_a(setting, "g4", 100, "threads", bound=3.0, stretch=4.0)


def _crowd_over_a(
    setting: Setting, goal: str, in_flight: int, colour: str, *, bound: float, stretch: float | None = None
) -> Figure:
    with ExitStack() as stack:
        log = _raw(stack, setting)
        crowd = _crowd(stack, setting, colour, in_flight)
        slices: dict[str, Slice] = {"a": lambda: log.row_us(0.15), "engine": lambda: crowd(0.4)}
        series = interleave(slices, budget_s=setting.seconds(6), rounds_min=setting.size(5, 3))
    return Figure(
        goal=goal,
        what=f"{in_flight} runs in flight, {colour}, steps/s",
        raw=f"(a) {1e6 / series.us('a'):,.0f} commits/s",
        measured=1 / series.ratio("engine", "a"),
        unit="x (a)",
        bound=bound,
        stretch=stretch,
        sense=">=",
        detail=f"{1e6 / series.us('engine'):,.0f} steps/s, {series.us('engine'):.1f} µs a step",
        limited_by=_BY_LOOP if colour == "async" else _BY_THREADS,
    )


def crowd_of_1000(setting: Setting) -> Iterator[Figure]:
    """G5: 1,000 async runs in flight over raw batches of 1,000 rows."""
    with ExitStack() as stack:
        log = _raw(stack, setting)
        crowd = _crowd(stack, setting, "async", 1000)
        series = interleave(
            {"a": lambda: log.row_us(0.1), "b": lambda: log.batch_row_us(0.2), "engine": lambda: crowd(0.8)},
            budget_s=setting.seconds(11),
            rounds_min=setting.size(4, 3),
        )
    yield Figure(
        goal="g5",
        what="1,000 runs in flight, async, steps/s",
        raw=f"(b) {1e6 / series.us('b'):,.0f} rows/s in batches",
        measured=1 / series.ratio("engine", "b"),
        unit="of (b)",
        bound=0.10,
        stretch=0.25,
        sense=">=",
        detail=f"{1e6 / series.us('engine'):,.0f} steps/s, {series.us('engine'):.1f} µs a step, "
        f"{1 / series.ratio('engine', 'a'):.1f} x (a); a raw row costs {series.us('b'):.2f} µs",
        limited_by=_BY_LOOP,
    )


def latency(setting: Setting) -> Iterator[Figure]:
    """From the end of a step's body to the workflow's next line, 16 in flight: how far p99 lies from p50."""
    for colour in ("async", "threads"):
        raw_s: list[float] = []
        engine_s: list[float] = []
        with ExitStack() as stack:
            log = _raw(stack, setting)
            crowd = _crowd(stack, setting, colour, 16, timed_steps=True)
            crowd(0.2)
            deadline = time.perf_counter() + setting.seconds(6)
            while time.perf_counter() < deadline:
                raw_s += log.row_seconds(800)
                latencies_s.clear()
                crowd(0.3)
                engine_s += latencies_s
        raw_spread = quantile(raw_s, 0.99) / quantile(raw_s, 0.5)
        p50_us, p99_us = quantile(engine_s, 0.5) * 1e6, quantile(engine_s, 0.99) * 1e6
        yield Figure(
            goal="latency",
            what=f"append p99/p50, 16 in flight, {colour}",
            raw=f"(a) p99/p50 {raw_spread:.1f}",
            measured=p99_us / p50_us,
            unit="x p50",
            bound=max(4.0, 2 * raw_spread),
            detail=f"p50 {p50_us:.0f} µs, p99 {p99_us:.0f} µs of {len(engine_s):,} appends; "
            f"raw p50 {quantile(raw_s, 0.5) * 1e6:.0f} µs, p99 {quantile(raw_s, 0.99) * 1e6:.0f} µs",
            limited_by="who waits for which commit: a step that just misses one waits for two",
        )


def _raw(stack: ExitStack, setting: Setting) -> RawLog:
    log = RawLog(setting.path("raw"))
    stack.callback(log.close)
    return log


def _crowd(
    stack: ExitStack, setting: Setting, colour: str, in_flight: int, *, timed_steps: bool = False
) -> Callable[[float], float]:
    """A function that keeps a crowd busy for some seconds and answers microseconds per step."""
    url = setting.url(f"{in_flight}-{colour}")
    if colour == "async":
        opened = stack.enter_context(on_loop(url))
        return lambda slice_s: _on_loop(opened, astamped if timed_steps else aorders, in_flight, slice_s)
    engine = stack.enter_context(fluxo.Engine(url))
    return lambda slice_s: _in_threads(engine, stamped if timed_steps else orders, in_flight, slice_s)


def _on_loop(opened: OnLoop, workflow: fluxo.AsyncWorkflow[[int], int], in_flight: int, slice_s: float) -> float:
    steps = 0

    async def member(deadline: float) -> None:
        nonlocal steps
        while time.perf_counter() < deadline:
            await opened.engine.run(workflow, _STEPS)
            steps += _STEPS

    async def crowd() -> float:
        began = time.perf_counter()
        await asyncio.gather(*(member(began + slice_s) for _ in range(in_flight)))
        return time.perf_counter() - began

    return opened.call(crowd) / steps * 1e6


def _in_threads(engine: fluxo.Engine, workflow: fluxo.Workflow[[int], int], in_flight: int, slice_s: float) -> float:
    steps = [0] * in_flight
    gate = threading.Barrier(in_flight + 1)
    ended: list[float] = []

    def member(number: int) -> None:
        gate.wait()
        deadline = time.perf_counter() + slice_s
        while time.perf_counter() < deadline:
            engine.run(workflow, _STEPS)
            steps[number] += _STEPS
        ended.append(time.perf_counter())

    threads = [threading.Thread(target=member, args=(number,)) for number in range(in_flight)]
    for thread in threads:
        thread.start()
    gate.wait()
    began = time.perf_counter()
    for thread in threads:
        thread.join()
    return (max(ended) - began) / sum(steps) * 1e6
