"""
What outlives a killed process besides the store: a folder of append-only files.

Owns: the effects that steps had and what workflows saw of their results, one JSON line each. Must not know
fluxo: it is the witness that a log is judged against. A line is one write to a file opened for appending, so
that lines of several processes do not mix; effects are forced to the disk as a careful receiver would.
"""

from __future__ import annotations

import json
import os
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

__all__ = ["World"]


class World:
    """The world outside of a run, in one folder; cheap to make wherever it is needed."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)

    @property
    def store(self) -> str:
        """URL of the store that belongs to it: the one that was set, or a SQLite file in the folder."""
        given = self.folder / "store"
        return f"sqlite:///{self.folder / 'runs.db'}" if self.is_file else given.read_text()

    @property
    def is_file(self) -> bool:
        """Whether the store is the SQLite file."""
        return not (self.folder / "store").exists()

    def keep_runs_in(self, url: str) -> None:
        """Let another store belong to this world, for every process that is given the folder."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "store").write_text(url)

    def effect(self, key: str, label: str) -> None:
        """Something happens that cannot be taken back."""
        self._append("effects", {"key": key, "label": label, "pid": os.getpid()}, force=True)

    def saw(self, run_id: str, label: str, value: Any) -> None:
        """A workflow was given a result: from here on it must never change."""
        self._append("seen", {"run": run_id, "label": label, "value": value})

    def effects(self) -> Counter[str]:
        """How often each effect happened, by idempotency key."""
        return Counter(line["key"] for line in self._lines("effects"))

    def labels(self) -> Counter[str]:
        """How often each effect happened, by label."""
        return Counter(line["label"] for line in self._lines("effects"))

    def workers(self) -> Counter[int]:
        """How many effects each process had."""
        return Counter(line["pid"] for line in self._lines("effects"))

    def seen(self) -> dict[str, dict[str, list[Any]]]:
        """Run → label → every value its workflow was ever given there, replays included."""
        seen: dict[str, dict[str, list[Any]]] = defaultdict(lambda: defaultdict(list))
        for line in self._lines("seen"):
            seen[line["run"]][line["label"]].append(line["value"])
        return seen

    def _append(self, name: str, line: dict[str, Any], *, force: bool = False) -> None:
        file = os.open(self.folder / name, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(file, json.dumps(line).encode() + b"\n")
            if force:
                os.fsync(file)
        finally:
            os.close(file)

    def _lines(self, name: str) -> list[dict[str, Any]]:
        path = self.folder / name
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
