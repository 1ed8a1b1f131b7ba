"""
Appending a batch of events in one transaction.

Owns: who wins, and the order of the writes. Must not know connections' life or retries. Lone events are one
statement (`write_lone`). For everything else the caller holds the write transaction, and here nothing commits: first
events go in as multi-row statements whose row count says whether all of them won. Only when it does not, the batch is
rolled back and run again one append at a time (`write_carefully`), which is slow and tells winners from losers.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from sqlite3 import Cursor
from typing import Any, Final

from fluxo.store import Append, Committed, Conflict, Existing, NewRun, Outcome, Unknown
from fluxo.stores.sql.rows import run_record
from fluxo.stores.sql.sqlite import statements as sql
from fluxo.stores.sql.sqlite.database import Database

__all__ = ["CONFLICT", "judge", "write_batch", "write_carefully", "write_lone"]

CONFLICT: Final = Conflict()


def judge(cursor: Cursor, append: Append, key: int) -> Outcome:
    """Why the first event did not go in: this very append stands there already (PROTOCOL rule 4), or another's."""
    for seq, nonce, digest, _ in append.events:
        if cursor.execute(sql.EVENT_AT, (key, seq)).fetchone() != (nonce, digest):
            return CONFLICT
    return Committed(key)


def write_lone(database: Database, batch: Sequence[Append]) -> list[Outcome]:
    """
    The hot path: up to FIRST_ROWS_MAX lone appends are one statement, which is its own transaction.

    To the driver each statement is a release of the interpreter lock and, beside busy threads, a wait to have it
    again. What a lost race leaves out of the statement does not take the others back: each is read and judged.
    """
    parameters = _first(batch[0]) if len(batch) == 1 else (*chain.from_iterable(map(_first, batch)),)
    inserted = database.statement(sql.first_events(len(batch)), parameters, Unknown)
    if isinstance(inserted, Unknown):
        return [inserted] * len(batch)
    if inserted == len(batch):
        return [Committed(append.key) for append in batch]
    return [_standing(database, append) for append in batch]


def _standing(database: Database, append: Append) -> Outcome:
    (event,) = append.events
    rows = database.hot.rows(sql.EVENT_AT, (append.key, event[0]))
    return Committed(append.key) if rows == [(event[1], event[2])] else CONFLICT


def write_batch(cursor: Cursor, batch: Sequence[Append], now_us: int) -> list[Outcome] | None:
    """
    Write all of `batch`, or answer None when some first event did not win: then roll back and write carefully.

    New runs are judged one by one here too: an existing run is an ordinary answer, not a lost race.
    """
    outcomes: list[Outcome] = []
    firsts: list[tuple[Any, ...]] = []
    effects = _Effects(now_us)
    for append in batch:
        if append.new is not None:
            outcomes.append(_create(cursor, append, append.new, effects))
            continue
        firsts.append(_first(append))
        if len(append.events) > 1 or append.projection is not None or append.consumed:
            effects.add(append)
        outcomes.append(Committed(append.key))
    if _insert_firsts(cursor, firsts) != len(firsts):
        return None
    effects.write(cursor)
    return outcomes


def write_carefully(cursor: Cursor, batch: Sequence[Append], now_us: int) -> list[Outcome]:
    """Write the winners of `batch`, one by one; the losers are answered and leave no trace."""
    outcomes: list[Outcome] = []
    effects = _Effects(now_us)
    for append in batch:
        if append.new is not None:
            outcomes.append(_create(cursor, append, append.new, effects))
        elif cursor.execute(sql.FIRST_EVENT, _first(append)).rowcount == 1:
            effects.add(append)
            outcomes.append(Committed(append.key))
        else:
            outcomes.append(judge(cursor, append, append.key))
    effects.write(cursor)
    return outcomes


def _first(append: Append) -> tuple[Any, ...]:
    event = append.events[0]
    return (append.key, event[0] - 1, append.prev_digest, *event)


def _insert_firsts(cursor: Cursor, firsts: list[tuple[Any, ...]]) -> int:
    inserted = 0
    for start in range(0, len(firsts), sql.FIRST_ROWS_MAX):
        rows = firsts[start : start + sql.FIRST_ROWS_MAX]
        inserted += cursor.execute(sql.first_events(len(rows)), (*chain.from_iterable(rows),)).rowcount
    return inserted


def _create(cursor: Cursor, append: Append, new: NewRun, effects: _Effects) -> Outcome:
    tail = append.events[-1]
    row = (
        new.namespace, new.run_id, new.workflow, new.version, new.status.value, new.queue, new.shard, new.priority,
        new.wake_at_us, new.owner, new.nonce, tail[0], tail[2], new.input_digest, effects.now_us, effects.now_us,
    )  # fmt: skip
    if cursor.execute(sql.RUN_INSERT, row).rowcount != 1:
        effects.write_events(cursor)
        standing = cursor.execute(sql.RUN, (new.namespace, new.run_id)).fetchone()
        if standing[-1]:
            return CONFLICT
        outcome = judge(cursor, append, standing[0])
        return Existing(run_record(standing)) if outcome is CONFLICT else outcome
    key = cursor.lastrowid or 0
    effects.events.extend((key, *event) for event in append.events)
    return Committed(key)


class _Effects:
    """What follows from first events that won, gathered so that each kind is written by one statement."""

    __slots__ = ("consumed", "events", "now_us", "projections")

    def __init__(self, now_us: int) -> None:
        self.now_us = now_us
        self.events: list[tuple[int, int, int, int, bytes]] = []
        self.projections: list[tuple[Any, ...]] = []
        self.consumed: list[tuple[int, int, int]] = []

    def add(self, append: Append) -> None:
        key = append.key
        if len(append.events) > 1:
            self.events.extend((key, *event) for event in append.events[1:])
        for n, seq in append.consumed:
            self.consumed.append((seq, key, n))
        projection = append.projection
        if projection is not None:
            tail = append.events[-1]
            self.projections.append((
                projection.status.value, projection.wake_at_us, projection.consumed, projection.owner, projection.nonce,
                tail[0], tail[2], self.now_us, key,
            ))  # fmt: skip

    def write_events(self, cursor: Cursor) -> None:
        if self.events:
            cursor.executemany(sql.FURTHER_EVENT, self.events)
            self.events = []

    def write(self, cursor: Cursor) -> None:
        self.write_events(cursor)
        if self.projections:
            cursor.executemany(sql.RUN_PROJECT, self.projections)
        if self.consumed:
            cursor.executemany(sql.CONSUME, self.consumed)
