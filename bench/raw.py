"""
What SQLite does without fluxo: the two baselines all durable figures stand on.

Owns: (a) one row per commit and (b) 1,000 rows per commit, by the standard library's driver, WAL and
synchronous=FULL, into a rowid table with an integer run key and UNIQUE (run, seq). Must not know fluxo.

(a) takes bodies of 200 bytes. (b) is kept as hard to beat as SQLite allows: bodies already encoded and no longer than
the load's results, 64 rows per INSERT, in the key pattern of the load: a thousand live runs, each batch the next event
of every one, new runs after twelve events.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from itertools import chain, count
from pathlib import Path

__all__ = ["BATCH_ROWS", "RawLog"]

BATCH_ROWS = 1000

_EVENTS_PER_RUN = 12
_ONE = "INSERT INTO log VALUES (?, ?, ?)"
_CHUNK_ROWS = 64
_CHUNK = "INSERT INTO log VALUES " + ", ".join(["(?, ?, ?)"] * _CHUNK_ROWS)
_SHORT_BODY = b'{"id":12345,"name":"order","total":1.5,"tags":["a","b"]}'


class RawLog:
    """An append-only log in a SQLite file of its own, written by the bare driver."""

    def __init__(self, path: Path, *, body: bytes = b"x" * 200) -> None:
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("CREATE TABLE log (run INTEGER, seq INTEGER, body BLOB, UNIQUE (run, seq))")
        self._connection = connection
        self._body = body
        self._singles = self._keys()
        self._batches = count(1 << 40, BATCH_ROWS)
        self._live, self._seq = next(self._batches), 0
        # A fresh write-ahead log grows; only after its first checkpoint is it overwritten, at almost half the price.
        for _ in range(800):
            self.commit_row()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def commit_row(self) -> None:
        """(a): one row, one commit."""
        run, seq = next(self._singles)
        self._connection.execute(_ONE, (run, seq, self._body))

    def commit_batch(self) -> None:
        """(b): 1,000 rows, one commit."""
        if self._seq == _EVENTS_PER_RUN:
            self._live, self._seq = next(self._batches), 0
        self._seq += 1
        rows = [(run, self._seq, _SHORT_BODY) for run in range(self._live, self._live + BATCH_ROWS)]
        execute = self._connection.execute
        execute("BEGIN IMMEDIATE")
        start = 0
        while start + _CHUNK_ROWS <= BATCH_ROWS:
            execute(_CHUNK, tuple(chain.from_iterable(rows[start : start + _CHUNK_ROWS])))
            start += _CHUNK_ROWS
        self._connection.executemany(_ONE, rows[start:])
        execute("COMMIT")

    def row_us(self, slice_s: float = 0.025) -> float:
        """One slice of (a): microseconds per row."""
        return _per_call_us(self.commit_row, slice_s)

    def batch_row_us(self, slice_s: float = 0.025) -> float:
        """One slice of (b): microseconds per row."""
        return _per_call_us(self.commit_batch, slice_s) / BATCH_ROWS

    def row_seconds(self, rows: int) -> list[float]:
        """The latency of each of `rows` commits of one row."""
        latencies: list[float] = []
        for _ in range(rows):
            began = time.perf_counter()
            self.commit_row()
            latencies.append(time.perf_counter() - began)
        return latencies

    @staticmethod
    def _keys() -> Iterator[tuple[int, int]]:
        for run in count(1):
            for seq in range(1, _EVENTS_PER_RUN + 1):
                yield run, seq


def _per_call_us(work: Callable[[], None], slice_s: float) -> float:
    calls, began = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - began) < slice_s:
        work()
        calls += 1
    return elapsed / calls * 1e6
