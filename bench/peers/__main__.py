"""
``python -m bench.peers``: fluxo and DBOS in turns.

Owns: the phases, their order, the ratios. Must not know how either side does the work. In each round every phase is
done by both, one right after the other; ratios are taken within the round, and the median over rounds is shown.
"""

from __future__ import annotations

import argparse
import os
import platform
import sqlite3
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from bench import child
from bench.peers.environment import python_with
from bench.raw import RawLog
from bench.report import Figure, Report, table, write_json
from bench.setting import ROOT, Setting, setting

__all__ = ["main"]

PEER = "dbos==3.4.0"
_STEPS = 10
_IN_FLIGHT = 16
_HALF_DONE = 200
_BOUNDS = {"sequential": 8.0, "concurrent": 20.0, "recovery": 10.0}
_WHAT = {
    "sequential": "one run of 10 steps at a time, steps/s",
    "concurrent": f"{_IN_FLIGHT} runs in flight, steps/s",
    "recovery": f"{_HALF_DONE} half-done runs from takeover to the last result",
}


def main(argv: list[str] | None = None) -> int:
    """Measure and print; the exit code tells of missed bounds under --strict only."""
    asked = _arguments(argv)
    python = python_with(PEER)
    began = time.perf_counter()
    rounds: list[dict[str, dict[str, float]]] = []
    with setting(asked.quick) as place:
        machine = _machine(place)
        print("\n".join(f"{name}: {value}" for name, value in machine.items()), flush=True)
        for number in range(1 if asked.quick else asked.rounds):
            rounds.append(_round(place, python))
            print(f"  round {number + 1}: {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)
    report = Report(machine=machine, figures=_figures(rounds), errors={}, seconds=time.perf_counter() - began)
    print(f"\n{table(report.figures)}\n\nin {report.seconds:.0f} s")
    write_json(report, asked.json)
    print(f"written to {asked.json}")
    return 1 if asked.strict and report.missed else 0


def _round(place: Setting, python: str) -> dict[str, dict[str, float]]:
    """Phase and colour → cost of one step (or seconds of a recovery) on each side, and the raw commit beside it."""
    costs: dict[str, dict[str, float]] = {}
    for colour in ("sync", "async"):
        for phase, runs in (("sequential", 40), ("concurrent", 96)):
            # The faster side does more, so that both are timed over comparable seconds.
            for side, factor in (("dbos", 1), ("fluxo", 8)):
                extra = {"in_flight": _IN_FLIGHT} if phase == "concurrent" else {}
                answer = _call(side, python, phase, place, colour, runs=place.size(runs, runs // 2) * factor, **extra)
                costs.setdefault(f"{phase} {colour}", {})[side] = 1e6 / answer["steps_per_s"]
        for side in ("dbos", "fluxo"):
            path = str(place.path(f"{side}-crash"))
            _call(side, python, "crash", place, colour, path=path, runs=_HALF_DONE)
            answer = _call(side, python, "recover", place, colour, path=path, runs=_HALF_DONE)
            costs.setdefault(f"recovery {colour}", {})[side] = answer["seconds"]
    return costs


def _call(side: str, python: str, phase: str, place: Setting, colour: str, **arguments: Any) -> dict[str, Any]:
    chosen = python if side == "dbos" else sys.executable
    arguments.setdefault("path", str(place.path(side)))
    target = f"bench.peers.{side}_side:{phase}"
    return child.call(target, python=chosen, colour=colour, steps=_STEPS, **arguments)


def _figures(rounds: list[dict[str, dict[str, float]]]) -> list[Figure]:
    figures: list[Figure] = []
    for name in rounds[0]:
        phase, _, colour = name.partition(" ")
        ours = statistics.median(costs[name]["fluxo"] for costs in rounds)
        theirs = statistics.median(costs[name]["dbos"] for costs in rounds)
        ratios = [costs[name]["dbos"] / costs[name]["fluxo"] for costs in rounds]
        in_seconds = phase == "recovery"
        figures.append(
            Figure(
                goal=phase,
                what=f"{_WHAT[phase]}, {colour}",
                raw=f"dbos {theirs:.2f} s" if in_seconds else f"dbos {1e6 / theirs:,.0f} steps/s",
                measured=statistics.median(ratios),
                unit="x dbos",
                bound=_BOUNDS[phase],
                sense=">=",
                detail=(f"fluxo {ours:.2f} s" if in_seconds else f"fluxo {1e6 / ours:,.0f} steps/s")
                + f"; ratio {min(ratios):.1f} to {max(ratios):.1f} in {len(ratios)} rounds",
                limited_by="fluxo's own cost per run, see `python -m bench`",
            )
        )
    return figures


def _machine(place: Setting) -> dict[str, str]:
    log = RawLog(place.path("raw"))
    one_us, batch_us = log.row_us(1.0), log.batch_row_us(0.3)
    log.close()
    return {
        "machine": f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.2f}, {platform.system()} {platform.machine()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}, SQLite {sqlite3.sqlite_version}",
        "(a)": f"one row per commit, WAL, FULL (fluxo's default): {1e6 / one_us:,.0f} commits/s",
        "(b)": f"1,000 rows per commit, WAL, FULL: {1e6 / batch_us:,.0f} rows/s",
        "(a) of the peer": f"one row per commit, DELETE, FULL (dbos's default): "
        f"{_rollback_commits_per_s(place.path('rollback')):,.0f} commits/s",
    }


def _rollback_commits_per_s(path: Path) -> float:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("CREATE TABLE log (run INTEGER, seq INTEGER, body BLOB, UNIQUE (run, seq))")
    rows, began = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - began) < 1.0:
        connection.execute("INSERT INTO log VALUES (1, ?, ?)", (rows, b"x" * 200))
        rows += 1
    connection.close()
    return rows / elapsed


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.peers", description=f"Measure fluxo beside {PEER}.")
    parser.add_argument("--rounds", type=int, default=3, help="how often each phase is done by both")
    parser.add_argument("--quick", action="store_true", help="one short round")
    parser.add_argument("--strict", action="store_true", help="exit with 1 when a bound is missed")
    parser.add_argument("--json", type=Path, default=ROOT / "bench" / "results" / "peers.json", help="where to write")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
