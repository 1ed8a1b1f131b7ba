"""
The warehouse: a service with a database of its own.

Owns: what is on the shelf, and every movement under its idempotency key, so that a repeated request moves nothing
twice. Must not know fluxo. Its file survives a killed worker as any database does; a power failure is not part of this
play, so it does not wait for the disk.
"""

from __future__ import annotations

import sqlite3
import threading
from collections import Counter
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path

from examples.orders.orders import Product

__all__ = ["OutOfStock", "Stock"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS shelf (
    product TEXT PRIMARY KEY, name TEXT, opening INTEGER, units INTEGER, discontinued INTEGER
);
CREATE TABLE IF NOT EXISTS movement (
    n INTEGER PRIMARY KEY, key TEXT UNIQUE, product TEXT REFERENCES shelf, units INTEGER
);
"""


class OutOfStock(Exception):
    """The shelf holds less than was asked for, by `missing` units."""

    def __init__(self, name: str, missing: int, discontinued: bool) -> None:
        super().__init__(f"{missing} units of {name} are missing")
        self.missing = missing
        self.discontinued = discontinued


class Stock:
    """The warehouse's counter; safe for many threads and processes."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30)
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = NORMAL")
        self._database.executescript(_SCHEMA)

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()

    def fill(self, products: Iterable[Product]) -> None:
        """Put the opening stock on the shelf."""
        rows = [(p.id, p.name, p.units, p.units, p.discontinued) for p in products]
        with self._transaction() as database:
            database.executemany("INSERT INTO shelf VALUES (?, ?, ?, ?, ?)", rows)

    def take(self, key: str, product: str, units: int) -> None:
        """
        Reserve goods.

        Raises:
            OutOfStock: there are not enough; nothing was taken.
        """
        with self._transaction() as database:
            if not _known(database, key):
                row = database.execute("SELECT name, units, discontinued FROM shelf WHERE product = ?", (product,))
                name, there, discontinued = row.fetchone()
                if there < units:
                    raise OutOfStock(name, units - there, bool(discontinued))
                _move(database, key, product, -units)

    def put(self, key: str, product: str, units: int) -> None:
        """Take in a delivery."""
        with self._transaction() as database:
            if not _known(database, key):
                _move(database, key, product, units)

    def problems(self) -> list[str]:
        """What cannot be: a shelf that held less than nothing, or units that no movement explains."""
        shelf = self._database.execute("SELECT product, name, opening, units FROM shelf").fetchall()
        units = Counter({product: opening for product, _, opening, _ in shelf})
        lowest = Counter(units)
        for product, moved in self._database.execute("SELECT product, units FROM movement ORDER BY n"):
            units[product] += moved
            lowest[product] = min(lowest[product], units[product])
        return [f"{name} fell to {lowest[product]}" for product, name, _, _ in shelf if lowest[product] < 0] + [
            f"{name}: {there} on the shelf, {units[product]} by its movements"
            for product, name, _, there in shelf
            if there != units[product]
        ]

    def movements(self) -> set[str]:
        """The keys of everything that was moved."""
        return {key for (key,) in self._database.execute("SELECT key FROM movement")}

    @contextmanager
    def _transaction(self) -> Generator[sqlite3.Connection, None, None]:
        with self._lock:
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield self._database
            except BaseException:
                self._database.execute("ROLLBACK")
                raise
            self._database.execute("COMMIT")


def _known(database: sqlite3.Connection, key: str) -> bool:
    return database.execute("SELECT 1 FROM movement WHERE key = ?", (key,)).fetchone() is not None


def _move(database: sqlite3.Connection, key: str, product: str, units: int) -> None:
    database.execute("UPDATE shelf SET units = units + ? WHERE product = ?", (units, product))
    database.execute("INSERT INTO movement (key, product, units) VALUES (?, ?, ?)", (key, product, units))
