"""
One run at a time on a durable store (G1, G2).

Owns: the price of a step when nothing else is in flight, and the number of commits of a run. Must not know other loads.
"""

from __future__ import annotations

from collections.abc import Iterator

import fluxo
from bench.engines import on_loop
from bench.load import aorders, orders
from bench.raw import RawLog
from bench.report import Figure
from bench.setting import Setting
from bench.timing import Series, Slice, interleave, timed

__all__ = ["long_run", "short_run"]

_LONG, _SHORT = 100, 10
_LIMITED_BY = "one commit of the device per step; above that the engine's own microseconds, which hide behind no wait"


def long_run(setting: Setting) -> Iterator[Figure]:
    """G1: a 100-step run, per step, over one raw commit."""
    for colour in ("sync", "async"):
        series, _ = _measure(setting, colour, _LONG, runs_per_slice=2, budget_s=8)
        a_us, step_us = series.us("a"), series.us("engine")
        yield Figure(
            goal="g1",
            what=f"100-step run, {colour}, per step",
            raw=f"(a) {a_us:.0f} µs a commit",
            measured=series.ratio("engine", "a"),
            unit="x (a)",
            bound=1.25,
            stretch=1.10,
            detail=f"{step_us:.0f} µs a step, start and end included; {step_us - a_us:+.1f} µs over (a), "
            f"median of {len(series.rounds)} rounds",
            limited_by=_LIMITED_BY,
        )


def short_run(setting: Setting) -> Iterator[Figure]:
    """G2: a 10-step run, steps per second over raw commits per second, and its commits."""
    for colour in ("sync", "async"):
        series, commits = _measure(setting, colour, _SHORT, runs_per_slice=15, budget_s=6)
        a_us = series.us("a")
        yield Figure(
            goal="g2",
            what=f"10-step run, {colour}, steps/s",
            raw=f"(a) {1e6 / a_us:,.0f} commits/s",
            measured=1 / series.ratio("engine", "a"),
            unit="of (a)",
            bound=0.65,
            stretch=0.80,
            sense=">=",
            detail=f"{1e6 / series.us('engine'):,.0f} steps/s; {_SHORT + 2} commits alone would be "
            f"{_SHORT / (_SHORT + 2):.2f} of (a)",
            limited_by=f"{commits:.1f} commits per run",
        )
        yield Figure(
            goal="g2",
            what=f"10-step run, {colour}, commits",
            raw="one commit per fact that must be durable before the next line",
            measured=commits,
            unit="a run",
            bound=_SHORT + 2,
            stretch=_SHORT + 1,
            limited_by="facts committed one by one",
        )


def _measure(
    setting: Setting, colour: str, steps: int, *, runs_per_slice: int, budget_s: float
) -> tuple[Series, float]:
    """Rounds of the raw commit and the engine, and the engine's commits per run."""
    log = RawLog(setting.path("raw"))
    url = setting.url(colour)
    budget_s = setting.seconds(budget_s)
    items = steps * runs_per_slice

    def rounds(engine: fluxo.Engine, slice_: Slice) -> tuple[Series, float]:
        for _ in range(3):
            slice_()
        before = engine.stats()
        slice_()
        after = engine.stats()
        series = interleave({"a": log.row_us, "engine": slice_}, budget_s=budget_s)
        return series, (after.commits - before.commits) / runs_per_slice

    try:
        if colour == "sync":
            with fluxo.Engine(url) as engine:
                return rounds(engine, timed(lambda: [engine.run(orders, steps) for _ in range(runs_per_slice)], items))
        with on_loop(url) as opened:

            async def several() -> None:
                for _ in range(runs_per_slice):
                    await opened.engine.run(aorders, steps)

            return rounds(opened.blocking, timed(lambda: opened.call(several), items))
    finally:
        log.close()
