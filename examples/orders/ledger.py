"""
The world outside: services that note each request in a ledger before they answer.

Owns: the ledger file, one JSON line per request, and how it is read back. Must not know fluxo: a service sees
requests with an idempotency key, and a request that comes twice is one effect that was *seen* twice. Lines are only
ever appended, each in one write that is synced before the answer goes out.
"""

from __future__ import annotations

import os
import random
import threading
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import msgspec

__all__ = ["Entry", "Ledger", "LedgerReader", "first_seen", "seen"]


@dataclass(frozen=True)
class Entry:
    """One request as a service saw it; equal keys are the same effect."""

    key: str
    step: str
    order: str
    detail: str
    amount: Decimal = Decimal(0)


class Ledger:
    """
    Where the services write; safe for many threads and processes.

    Args:
        path: The file; made if it is not there.
        latency_s: How long a request, and its answer, travels on average.
    """

    def __init__(self, path: Path, latency_s: float) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        self._latency_s = latency_s
        self._random = random.Random()
        self._nothing = threading.Event()

    def add(self, entry: Entry) -> None:
        """
        Send a request and wait for the answer.

        A process that is killed while the answer travels has had its effect and does not know it.
        """
        self._travel()
        os.write(self._file, msgspec.json.encode(entry) + b"\n")
        os.fsync(self._file)
        self._travel()

    def _travel(self) -> None:
        self._nothing.wait(self._random.uniform(0, 2 * self._latency_s))


class LedgerReader:
    """Follows a ledger that others are still writing."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def new(self) -> list[Entry]:
        """
        The entries added since the last call.

        Raises:
            msgspec.DecodeError: a line is not an entry: someone else wrote into the file.
        """
        with self._path.open("rb") as file:
            file.seek(self._offset)
            complete, newline, _ = file.read().rpartition(b"\n")
        self._offset += len(complete) + len(newline)
        return [msgspec.json.decode(line, type=Entry) for line in complete.splitlines()]


def first_seen(entries: Iterable[Entry]) -> list[Entry]:
    """The effects: of each key the first entry, as a service that de-duplicates has it."""
    effects: dict[str, Entry] = {}
    for entry in entries:
        effects.setdefault(entry.key, entry)
    return list(effects.values())


def seen(entries: Iterable[Entry]) -> Counter[str]:
    """How often each key was seen."""
    return Counter(entry.key for entry in entries)
