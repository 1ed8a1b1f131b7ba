"""
Where one run of the demo keeps its files.

Owns: their names, and the tally the supervisor leaves beside them for the audit. Must not know what is in the others.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import msgspec

from fluxo.store import Store

__all__ = ["Folder", "Tally"]


@dataclass(frozen=True)
class Tally:
    """What only the supervisor knows of a finished run of the demo."""

    seed: int
    book: str
    limit: int | None
    at_once: int
    kills: int
    wall_s: float


class Folder:
    """The files of one run of the demo."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.log = self.path / "orders.db"
        self.store: str | Store = f"sqlite:///{quote(str(self.log))}"
        self._place = self.path / "store"
        if self._place.exists():
            self.store = self._place.read_text()
        self.ledger = self.path / "ledger.jsonl"
        self.stock = self.path / "stock.db"
        self.engine_log = self.path / "engine.log"
        self._tally = self.path / "tally.json"

    @property
    def is_file(self) -> bool:
        """Whether the log is a file in this folder."""
        return isinstance(self.store, str) and self.store.startswith("sqlite:")

    def keep_runs_in(self, store: str | Store) -> None:
        """Let the log be somewhere else: at a URL, which worker processes find here, or in memory."""
        self.store = store
        if isinstance(store, str):
            self._place.touch(mode=0o600)
            self._place.write_text(store)

    @property
    def finished(self) -> bool:
        """Whether a demo ran to its end here, so that it can be audited."""
        return self._tally.exists()

    def write_tally(self, tally: Tally) -> None:
        """Write the tally."""
        self._tally.write_bytes(msgspec.json.encode(tally))

    def read_tally(self) -> Tally:
        """
        Read the tally.

        Raises:
            FileNotFoundError: no demo has run to its end in this folder.
        """
        return msgspec.json.decode(self._tally.read_bytes(), type=Tally)
