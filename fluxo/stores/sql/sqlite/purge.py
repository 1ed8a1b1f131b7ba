"""
Deleting ended runs.

Owns: the order that keeps a stale owner out (PROTOCOL rule 6). Must not know connections' settings. A run is
first marked and its log fenced: a row that no event can follow takes the place behind the tail. Then its events go,
from the front, then its inbox, the row last, in transactions of bounded size; whoever finds a marked run goes on
where an interrupted purge stopped.
"""

from __future__ import annotations

from sqlite3 import Cursor
from typing import Final

from fluxo.stores.sql.sqlite import statements as sql
from fluxo.stores.sql.sqlite.database import Database

__all__ = ["purge"]

_ROWS_PER_COMMIT: Final = 2_000
"""Rows deleted per transaction, so that appends wait some milliseconds at most."""


def purge(database: Database, namespace: str, ended_before_us: int, limit: int) -> int:
    """Delete at most `limit` ended runs, wholly; the number deleted."""
    left = [key for (key,) in database.cold.rows(sql.PURGING, (namespace, limit))]
    if len(left) < limit:
        left += _mark(database, namespace, ended_before_us, limit - len(left))
    keys = list(reversed(left))
    while keys:
        gone = database.write(lambda cursor: _delete_some(cursor, keys))
        del keys[len(keys) - gone :]
    return len(left)


def _mark(database: Database, namespace: str, ended_before_us: int, limit: int) -> list[int]:
    candidates = database.cold.rows(sql.PURGEABLE, (namespace, ended_before_us, limit))

    def mark(cursor: Cursor) -> list[int]:
        marked: list[int] = []
        for (key,) in candidates:
            # Asked again under the lock: the run may have been reopened, or be another purge's.
            if cursor.execute(sql.MARK_PURGING, (key, ended_before_us)).rowcount == 1:
                cursor.execute(sql.FENCE, (key,))
                marked.append(key)
        return marked

    return database.write(mark) if candidates else []


def _delete_some(cursor: Cursor, keys: list[int]) -> int:
    """Delete up to `_ROWS_PER_COMMIT` rows of the runs at the end of `keys`; how many runs are gone."""
    room, gone = _ROWS_PER_COMMIT, 0
    for key in reversed(keys):
        for statement in (sql.PURGE_EVENTS, sql.PURGE_INBOX):
            room -= cursor.execute(statement, (key, room)).rowcount
            if room <= 0:
                return gone
        cursor.execute(sql.PURGE_RUN, (key,))
        gone += 1
    return gone
