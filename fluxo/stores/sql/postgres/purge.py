"""
Deleting ended runs.

Owns: the order that keeps a stale owner out (PROTOCOL rule 6), as on SQLite: mark and fence first, then events from the
front, then the inbox, the row last, in transactions of bounded size. Must not know connections' settings.
"""

from __future__ import annotations

from typing import Final

from fluxo.stores.sql.postgres.connection import Channel, Cursor
from fluxo.stores.sql.postgres.statements import Statements

__all__ = ["purge"]

_ROWS_PER_COMMIT: Final = 5_000


def purge(channel: Channel, sql: Statements, namespace: str, ended_before_us: int, limit: int) -> int:
    """Delete at most `limit` ended runs, wholly; the number deleted."""
    keys = [key for (key,) in channel.rows(sql.purging, (namespace, limit))]
    if len(keys) < limit:
        room = limit - len(keys)

        def mark(cursor: Cursor) -> list[int]:
            marked = [key for (key,) in cursor.execute(sql.mark_purging, (namespace, ended_before_us, room)).fetchall()]
            if marked:
                cursor.execute(sql.fence, (marked,))
            return marked

        keys += channel.transaction(mark)
    if keys:
        # An append that began before the fence stood does not see it, and would find its place free again once events
        # and fence are deleted: wait until all such are over. Later ones see the fence.
        channel.transaction(lambda cursor: cursor.execute(sql.let_appends_pass))
    number, left = len(keys), sorted(keys)
    while left:
        gone = channel.transaction(lambda cursor: _delete_some(cursor, sql, left))
        del left[:gone]
    return number


def _delete_some(cursor: Cursor, sql: Statements, keys: list[int]) -> int:
    """Delete up to `_ROWS_PER_COMMIT` rows of the runs at the front of `keys`; how many runs are gone."""
    room, gone = _ROWS_PER_COMMIT, 0
    for key in keys:
        for statement in (sql.purge_events, sql.purge_inbox):
            room -= cursor.execute(statement, (key, room)).rowcount
            if room <= 0:
                return gone
        cursor.execute(sql.purge_run, (key,))
        gone += 1
    return gone
