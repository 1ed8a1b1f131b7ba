"""
What every theme is given.

Owns: the place for databases and how long a measurement may take. Must not know the themes.
"""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["ROOT", "Setting", "setting"]

ROOT = Path(__file__).resolve().parent.parent
"""The checkout."""

_QUICK = 0.2


class Setting:
    """
    One run of the bench.

    Attributes:
        quick: Shorter slices of time and smaller crowds, for a look rather than for a verdict.
        directory: For databases, on the disk of the checkout; removed at the end.
    """

    def __init__(self, directory: Path, quick: bool) -> None:
        self.directory = directory
        self.quick = quick
        self._numbers = itertools.count(1)

    def seconds(self, full_s: float) -> float:
        """How long to measure where a full run takes `full_s`."""
        return full_s * _QUICK if self.quick else full_s

    def size(self, full: int, quick: int) -> int:
        """A number of runs or events."""
        return quick if self.quick else full

    def path(self, name: str) -> Path:
        """A new file for a database."""
        return self.directory / f"{next(self._numbers):03}-{name}.db"

    def url(self, name: str) -> str:
        """A new SQLite database, as fluxo names it."""
        return f"sqlite:///{self.path(name)}"


@contextmanager
def setting(quick: bool) -> Generator[Setting, None, None]:
    """A setting with a fresh directory under the checkout."""
    parent = ROOT / "bench" / ".work"
    parent.mkdir(exist_ok=True)
    directory = Path(tempfile.mkdtemp(prefix="run-", dir=parent))
    try:
        yield Setting(directory, quick)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
