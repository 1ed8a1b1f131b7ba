"""
Appending a batch in one statement.

Owns: what of a batch goes into which array, and what the answer means for each append. Must not know connections' life.
Rows are sorted by run, so that two batches that meet wait for each other and do not deadlock (PROTOCOL rule 11).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from fluxo.store import Append, Committed, Conflict, Existing, NewRun, Outcome
from fluxo.stores.sql.postgres.connection import Cursor, Row
from fluxo.stores.sql.postgres.statements import Statements
from fluxo.stores.sql.rows import run_record

__all__ = ["write"]

_CONFLICT: Final = Conflict()


def write(cursor: Cursor, sql: Statements, batch: Sequence[Append]) -> list[Outcome]:
    """
    Write the batch; each statement commits itself, and asking again is safe (PROTOCOL rule 4).

    Cost: one round trip, and one more for each append that lost.
    """
    if len(batch) == 1 and batch[0].is_lone:
        return [_write_one(cursor, sql, batch[0])]
    outcomes: dict[int, Outcome] = {}
    for part in _without_twins(batch):
        outcomes |= _write_part(cursor, sql, [(n, batch[n]) for n in part])
    return [outcomes[n] for n in range(len(batch))]


def _write_one(cursor: Cursor, sql: Statements, append: Append) -> Outcome:
    key, (event,) = append.key, append.events
    cursor.execute(sql.append_one, (key, *event, key, append.prev_seq, append.prev_digest))
    return Committed(key) if cursor.rowcount == 1 else _judge(cursor, sql, append, key)


def _without_twins(batch: Sequence[Append]) -> Iterable[list[int]]:
    """The batch's places in parts that create no run twice: in one statement the two could not be told apart."""
    parts: list[tuple[list[int], set[tuple[str, str]]]] = []
    for n, append in enumerate(batch):
        name = None if append.new is None else (append.new.namespace, append.new.run_id)
        for places, names in parts:
            if name is None or name not in names:
                places.append(n)
                names.update({name} if name else ())
                break
        else:
            parts.append(([n], {name} if name else set()))
    return [places for places, _ in parts]


def _write_part(cursor: Cursor, sql: Statements, part: list[tuple[int, Append]]) -> dict[int, Outcome]:
    part.sort(key=lambda placed: placed[1].key)
    appends = [append for _, append in part]
    if all(append.is_lone for append in appends):
        rows = cursor.execute(sql.append_firsts, _columns(map(_first, appends), 6)).fetchall()
        won, made = {key for (key,) in rows}, dict[tuple[str, str], int]()
    else:
        rows = cursor.execute(sql.append_all, _parameters(appends)).fetchall()
        won = {row[0] for row in rows if row[1] is None}
        made = {(row[1], row[2]): row[0] for row in rows if row[1] is not None}
    outcomes: dict[int, Outcome] = {}
    for n, append in part:
        new = append.new
        if new is not None:
            key = made.get((new.namespace, new.run_id))
            outcomes[n] = _standing(cursor, sql, append, new) if key is None else Committed(key)
        elif append.key in won:
            outcomes[n] = Committed(append.key)
        else:
            outcomes[n] = _judge(cursor, sql, append, append.key)
    return outcomes


def _parameters(appends: Sequence[Append]) -> list[Any]:
    standing = [append for append in appends if append.new is None]
    news = [(append, append.new) for append in appends if append.new is not None]
    projections = [
        (
            append.key, p.status.value, p.wake_at_us, p.consumed, p.owner, p.nonce,
            append.events[-1][0], append.events[-1][2],
        )
        for append in standing
        if (p := append.projection) is not None
    ]  # fmt: skip
    return [
        *_columns(map(_first, standing), 6),
        *_columns(((append.key, *event) for append in standing for event in append.events[1:]), 5),
        *_columns(projections, 8),
        *_columns(((append.key, n, seq) for append in standing for n, seq in append.consumed), 3),
        *_columns((_row(append, new) for append, new in news), 14),
        *_columns(((new.namespace, new.run_id, *event) for append, new in news for event in append.events), 6),
    ]


def _first(append: Append) -> Row:
    event = append.events[0]
    return (append.key, append.prev_digest, *event)


def _row(append: Append, new: NewRun) -> Row:
    tail = append.events[-1]
    return (
        new.namespace, new.run_id, new.workflow, new.version, new.status.value, new.queue, new.shard, new.priority,
        new.wake_at_us, new.owner, new.nonce, tail[0], tail[2], new.input_digest,
    )  # fmt: skip


def _columns(rows: Iterable[Row], count: int) -> list[list[Any]]:
    """One list per column, also where there is no row."""
    columns = [list(column) for column in zip(*rows, strict=True)]
    return columns or [[] for _ in range(count)]


def _standing(cursor: Cursor, sql: Statements, append: Append, new: NewRun) -> Outcome:
    """A run of this name stood there: perhaps it was made by this very append."""
    row = cursor.execute(sql.run, (new.namespace, new.run_id)).fetchone()
    if row is None or row[-1]:
        return _CONFLICT
    outcome = _judge(cursor, sql, append, row[0])
    return Existing(run_record(row)) if outcome is _CONFLICT else outcome


def _judge(cursor: Cursor, sql: Statements, append: Append, key: int) -> Outcome:
    """Why the first event did not go in: this very append stands there already, or another's."""
    for seq, nonce, digest, _ in append.events:
        if cursor.execute(sql.event_at, (key, seq)).fetchone() != (nonce, digest):
            return _CONFLICT
    return Committed(key)
