"""
From figures to a table and a JSON file.

Owns: what a figure is, when it is met, how it is shown. Must not know how anything is measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec

__all__ = ["Figure", "Report", "table", "write_json"]


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """
    One number and what is asked of it.

    Attributes:
        goal: Short name, as `--only` takes it ("g1").
        what: What was measured.
        raw: The machine's own cost of the same, in words with units.
        measured: The number, in `unit`.
        sense: Whether less or more is better.
        bound, stretch: What it must reach, and what would be fine; no stretch where none was set.
        detail: How the number came about.
        limited_by: What bounds it; shown when the bound is missed.
    """

    goal: str
    what: str
    raw: str
    measured: float
    unit: str
    bound: float
    sense: Literal["<=", ">="] = "<="
    stretch: float | None = None
    detail: str = ""
    limited_by: str = ""

    def reaches(self, limit: float) -> bool:
        """Whether the number is on the right side of `limit`."""
        return self.measured <= limit if self.sense == "<=" else self.measured >= limit

    @property
    def verdict(self) -> str:
        """`ok`, `ok, stretch` or `MISSED`."""
        if not self.reaches(self.bound):
            return "MISSED"
        return "ok, stretch" if self.stretch is not None and self.reaches(self.stretch) else "ok"


class Report(msgspec.Struct, kw_only=True):
    """A whole run: facts about the machine, the figures, and goals that could not be measured, with the reason."""

    machine: dict[str, str]
    figures: list[Figure]
    errors: dict[str, str]
    seconds: float = 0.0

    @property
    def missed(self) -> list[Figure]:
        """Figures whose bound was not reached."""
        return [figure for figure in self.figures if figure.verdict == "MISSED"]


_HEAD = ("goal", "figure", "raw baseline", "measured", "bound", "stretch", "verdict")


def table(figures: Sequence[Figure]) -> str:
    """The figures as aligned columns, then what is worth saying about each."""
    rows = [_HEAD, *(_row(figure) for figure in figures)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines.insert(1, "  ".join("-" * width for width in widths))
    notes = [note for figure in figures for note in _notes(figure)]
    return "\n".join([*lines, "", *notes]) if notes else "\n".join(lines)


def write_json(report: Report, path: Path) -> None:
    """The report as JSON, each figure with its verdict; directories are made."""
    figures = [msgspec.structs.asdict(figure) | {"verdict": figure.verdict} for figure in report.figures]
    whole = {
        "machine": report.machine,
        "seconds": round(report.seconds, 1),
        "figures": figures,
        "errors": report.errors,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(whole), indent=2) + b"\n")


def number(value: float) -> str:
    """Three significant digits, without an exponent."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _row(figure: Figure) -> tuple[str, ...]:
    stretch = "" if figure.stretch is None else f"{figure.sense} {number(figure.stretch)}"
    return (
        figure.goal,
        figure.what,
        figure.raw,
        f"{number(figure.measured)} {figure.unit}",
        f"{figure.sense} {number(figure.bound)}",
        stretch,
        figure.verdict,
    )


def _notes(figure: Figure) -> list[str]:
    notes = [figure.detail] if figure.detail else []
    if figure.limited_by and figure.verdict == "MISSED":
        notes.append(f"missed: bounded by {figure.limited_by}")
    return [f"{figure.goal}, {figure.what}: {note}" for note in notes]
