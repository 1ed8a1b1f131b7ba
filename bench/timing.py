"""
How time is measured: interleaved slices, medians, ratios within one round.

Owns: the order of slices, the statistics, resident memory. Must not know what is measured. A slice is a function
that does some tens of milliseconds of work and answers what one item of it cost, in microseconds; noise that lasts
longer than a round (other work on the machine, a slow device) falls on both sides of each ratio and drops out.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

__all__ = ["Series", "Slice", "interleave", "quantile", "resident_bytes", "resident_peak_bytes", "timed"]

Slice = Callable[[], float]
"""Does one slice of work; answers microseconds per item."""

_order = random.Random(20).shuffle


class Series:
    """Costs per item, by variant, one per round."""

    def __init__(self, rounds: Sequence[Mapping[str, float]]) -> None:
        self.rounds = tuple(rounds)

    def us(self, variant: str) -> float:
        """Median cost of one item, microseconds."""
        return statistics.median(costs[variant] for costs in self.rounds)

    def best_us(self, variant: str) -> float:
        """Lowest cost of one item seen: for differences smaller than the noise of a median."""
        return min(costs[variant] for costs in self.rounds)

    def ratio(self, variant: str, *baseline: str) -> float:
        """Median over rounds of the variant's cost over the baselines' sum."""
        return statistics.median(costs[variant] / sum(costs[b] for b in baseline) for costs in self.rounds)


def interleave(variants: Mapping[str, Slice], *, budget_s: float, rounds_min: int = 5, rounds_max: int = 200) -> Series:
    """
    Run every variant once per round, in random order, until the time is up.

    One round before the first is thrown away: caches fill, codecs compile, files grow.
    """
    names = list(variants)
    for name in names:
        variants[name]()
    rounds: list[dict[str, float]] = []
    deadline = time.perf_counter() + budget_s
    while len(rounds) < rounds_max and (time.perf_counter() < deadline or len(rounds) < rounds_min):
        _order(names)
        rounds.append({name: variants[name]() for name in names})
    return Series(rounds)


def timed(work: Callable[[], object], items: int) -> Slice:
    """A slice that calls `work` once and counts it as `items` items."""

    def one() -> float:
        began = time.perf_counter()
        work()
        return (time.perf_counter() - began) / items * 1e6

    return one


def quantile(values: Sequence[float], share: float) -> float:
    """Nearest-rank quantile: the p99 of few samples is simply the worst one."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, round(share * (len(ordered) - 1))))]


def resident_bytes() -> int:
    """Resident memory of this process now (Linux)."""
    return _status_bytes("VmRSS:")


def resident_peak_bytes() -> int:
    """The most memory this process ever had resident (Linux)."""
    return _status_bytes("VmHWM:")


def _status_bytes(field: str) -> int:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    raise LookupError(f"/proc/self/status has no {field}")
