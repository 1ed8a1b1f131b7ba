"""
The bench's figures, table and JSON.

Owns: what a verdict is and that nothing measured is lost on the way to the reader. Must not measure anything.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import pytest

from bench.report import Figure, Report, table, write_json
from bench.timing import Series, interleave, quantile


def figure(measured: float, *, sense: Literal["<=", ">="] = "<=", stretch: float | None = None) -> Figure:
    return Figure(
        goal="g0",
        what="a thing",
        raw="(a) 100 µs",
        measured=measured,
        unit="x (a)",
        bound=2.0,
        sense=sense,
        stretch=stretch,
        limited_by="the speed of light",
    )


@pytest.mark.parametrize(
    "measured, sense, stretch, verdict",
    [
        (2.0, "<=", None, "ok"),
        (2.1, "<=", None, "MISSED"),
        (1.5, "<=", 1.5, "ok, stretch"),
        (1.6, "<=", 1.5, "ok"),
        (2.0, ">=", None, "ok"),
        (1.9, ">=", None, "MISSED"),
        (3.0, ">=", 3.0, "ok, stretch"),
    ],
)
def test_a_verdict_counts_the_bound_itself_as_reached(
    measured: float, sense: Literal["<=", ">="], stretch: float | None, verdict: str
) -> None:
    assert figure(measured, sense=sense, stretch=stretch).verdict == verdict


def test_the_table_has_one_line_for_each_figure_with_its_baseline_and_verdict() -> None:
    lines = table([figure(1.0), figure(5.0)]).splitlines()
    assert lines[2].split("  ")[0] == "g0"
    assert "(a) 100 µs" in lines[2]
    assert lines[2].endswith("ok")
    assert lines[3].endswith("MISSED")


def test_the_table_says_what_bounds_a_missed_figure_and_only_that() -> None:
    assert "the speed of light" in table([figure(5.0)])
    assert "the speed of light" not in table([figure(1.0)])


def test_the_json_file_holds_every_figure_with_its_verdict(tmp_path: Path) -> None:
    report = Report(machine={"python": "3"}, figures=[figure(5.0)], errors={"g9": "gone"}, seconds=1.25)
    path = tmp_path / "results" / "latest.json"
    write_json(report, path)
    written = json.loads(path.read_bytes())
    assert written["machine"] == {"python": "3"}
    assert written["errors"] == {"g9": "gone"}
    assert written["figures"][0]["measured"] == 5.0
    assert written["figures"][0]["verdict"] == "MISSED"


def test_a_ratio_is_the_median_of_the_ratios_within_each_round() -> None:
    rounds = [{"raw": 1.0, "engine": 2.0}, {"raw": 10.0, "engine": 30.0}, {"raw": 100.0, "engine": 150.0}]
    assert Series(rounds).ratio("engine", "raw") == 2.0
    assert Series(rounds).us("engine") == 30.0


def test_interleaving_runs_every_variant_once_per_round_and_drops_the_first() -> None:
    calls = {"one": 0, "two": 0}

    def variant(name: str) -> float:
        calls[name] += 1
        return float(calls[name])

    series = interleave({"one": lambda: variant("one"), "two": lambda: variant("two")}, budget_s=0.0, rounds_min=3)
    assert calls == {"one": 4, "two": 4}
    assert [costs["one"] for costs in series.rounds] == [2.0, 3.0, 4.0]


def test_a_high_quantile_of_few_values_is_the_worst_of_them() -> None:
    assert quantile([3.0, 1.0, 2.0], 0.99) == 3.0
    assert quantile([3.0, 1.0, 2.0], 0.5) == 2.0
