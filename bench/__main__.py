"""
``python -m bench``: all figures of fluxo on this machine.

Owns: the command line, the order of the themes, the machine's description. Must not know how anything is measured.
"""

from __future__ import annotations

import argparse
import os
import platform
import sqlite3
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from bench.calls import unused
from bench.concurrent import crowd_of_10, crowd_of_100, crowd_of_1000, latency
from bench.inmemory import in_memory
from bench.memory import finished, waiting
from bench.processes import idle, seen_elsewhere
from bench.raw import RawLog
from bench.recovery import large, linear
from bench.replay import replayed
from bench.report import Figure, Report, table, write_json
from bench.sequential import long_run, short_run
from bench.setting import ROOT, Setting, setting
from bench.startup import ready
from bench.timing import quantile

__all__ = ["main"]


class Theme(NamedTuple):
    """Figures that are measured together, and the goals they answer."""

    goals: tuple[str, ...]
    measure: Callable[[Setting], Iterator[Figure]]


THEMES = (
    Theme(("g1",), long_run),
    Theme(("g2",), short_run),
    Theme(("g3",), crowd_of_10),
    Theme(("g4",), crowd_of_100),
    Theme(("g5",), crowd_of_1000),
    Theme(("latency",), latency),
    Theme(("g6",), replayed),
    Theme(("g7",), in_memory),
    Theme(("g8",), unused),
    Theme(("g9", "large"), large),
    Theme(("linear",), linear),
    Theme(("waiting",), waiting),
    Theme(("finished",), finished),
    Theme(("startup",), ready),
    Theme(("seen",), seen_elsewhere),
    Theme(("idle",), idle),
)
GOALS = tuple(goal for theme in THEMES for goal in theme.goals)


def main(argv: list[str] | None = None) -> int:
    """Measure, print, write; the exit code tells of missed bounds under --strict only, of failures always."""
    asked = _arguments(argv)
    chosen = [theme for theme in THEMES if not asked.only or asked.only & set(theme.goals)]
    report = Report(machine={}, figures=[], errors={})
    began = time.perf_counter()
    with setting(asked.quick) as place:
        report.machine = _machine(place)
        print("\n".join(f"{name}: {value}" for name, value in report.machine.items()), flush=True)
        for theme in chosen:
            _measure(theme, place, report)
    report.seconds = time.perf_counter() - began
    report.machine["load at the end"] = _load()
    print(f"\n{table(report.figures)}\n" if report.figures else "")
    for goals, problem in report.errors.items():
        print(f"{goals} could not be measured: {problem}")
    print(f"{len(report.figures)} figures, {len(report.missed)} missed, in {report.seconds:.0f} s")
    print(f"load at the end: {report.machine['load at the end']}")
    write_json(report, asked.json)
    print(f"written to {asked.json}")
    return 1 if report.errors or (asked.strict and report.missed) else 0


def _measure(theme: Theme, place: Setting, report: Report) -> None:
    goals = ", ".join(theme.goals)
    began = time.perf_counter()
    try:
        report.figures.extend(theme.measure(place))
    except Exception as problem:
        # One figure that cannot be had must not cost all the others.
        traceback.print_exc()
        report.errors[goals] = f"{type(problem).__name__}: {problem}"
    print(f"  {goals}: {time.perf_counter() - began:.1f} s", file=sys.stderr, flush=True)


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure fluxo beside the bare machine.")
    parser.add_argument("--only", type=_goals, default=set(), help=f"comma-separated, of {', '.join(GOALS)}")
    parser.add_argument("--quick", action="store_true", help="a look in a minute, not a verdict")
    parser.add_argument("--strict", action="store_true", help="exit with 1 when a bound is missed")
    parser.add_argument("--json", type=Path, default=ROOT / "bench" / "results" / "latest.json", help="where to write")
    return parser.parse_args(argv)


def _goals(text: str) -> set[str]:
    chosen = {name.strip().lower() for name in text.split(",") if name.strip()}
    if unknown := chosen - set(GOALS):
        raise argparse.ArgumentTypeError(f"no goal {', '.join(sorted(unknown))}; there are {', '.join(GOALS)}")
    return chosen


def _machine(place: Setting) -> dict[str, str]:
    log = RawLog(place.path("raw"))
    rows = log.row_seconds(1500)
    batch_us = quantile([log.batch_row_us(0.02) for _ in range(15)], 0.5)
    log.close()
    return {
        "machine": f"{os.cpu_count()} CPUs, {platform.system()} {platform.machine()}, load {_load()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}, SQLite {sqlite3.sqlite_version}",
        "(a)": f"one 200 B row per commit, WAL, FULL: p50 {quantile(rows, 0.5) * 1e6:.0f} µs, "
        f"p99 {quantile(rows, 0.99) * 1e6:.0f} µs",
        "(b)": f"1,000 short rows per commit: {batch_us:.2f} µs a row",
    }


def _load() -> str:
    """The load average, and what it means for the figures."""
    load, cpus = os.getloadavg()[0], os.cpu_count() or 1
    busy = "; others use this machine: ratios hold roughly, microseconds do not" if load > cpus / 2 else ""
    return f"{load:.1f}{busy}"


if __name__ == "__main__":
    sys.exit(main())
