"""
Putting messages into inboxes inside one transaction.

Owns: the verdict on a message and its number. Must not know connections. The caller holds the write lock of
the whole database, which is the run's lock here (PROTOCOL rule 14).
"""

from __future__ import annotations

from sqlite3 import Cursor

from fluxo.limits import INBOX_MESSAGES_MAX
from fluxo.store import Delivered, Delivery, Message
from fluxo.stores.sql.sqlite import statements as sql

__all__ = ["deliver"]


def deliver(cursor: Cursor, message: Message, now_us: int) -> Delivery:
    """Judge one message, and write it if it is accepted."""
    run = cursor.execute(sql.RUN_FOR_DELIVERY, (message.namespace, message.run_id)).fetchone()
    if run is None:
        return Delivery(Delivered.NOT_FOUND)
    key, delivered, owner, ended = run
    earlier = cursor.execute(sql.REPEATED, (key, message.dedup_key)).fetchone()
    if earlier is not None:
        return Delivery(Delivered.REPEATED, key, earlier[0], owner)
    if ended:
        return Delivery(Delivered.ENDED, key, 0, owner)
    if delivered >= INBOX_MESSAGES_MAX and _unconsumed(cursor, key) >= INBOX_MESSAGES_MAX:
        return Delivery(Delivered.FULL, key, 0, owner)
    n = delivered + 1
    cursor.execute(sql.DELIVER, (key, n, message.kind, message.name, message.dedup_key, message.payload, now_us))
    cursor.execute(sql.DELIVERED, (n, key))
    return Delivery(Delivered.ACCEPTED, key, n, owner)


def _unconsumed(cursor: Cursor, key: int) -> int:
    number: int = cursor.execute(sql.UNCONSUMED, (key,)).fetchone()[0]
    return number
