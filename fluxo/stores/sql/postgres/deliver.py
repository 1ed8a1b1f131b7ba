"""
Putting messages into inboxes inside one transaction.

Owns: the verdict on each message and its number. Must not know connections. The rows of all runs concerned are locked
first, in one order, so that numbers have no gaps (PROTOCOL rule 14) and two deliveries do not deadlock.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fluxo.limits import INBOX_MESSAGES_MAX
from fluxo.store import Delivered, Delivery, Message
from fluxo.stores.sql.postgres.connection import Cursor
from fluxo.stores.sql.postgres.statements import Statements

__all__ = ["deliver", "key_of_text", "text_of_key"]


def text_of_key(dedup_key: str) -> str:
    """A key as PostgreSQL can hold it: its texts have no zero byte, with which the engine's own keys begin."""
    return dedup_key.replace("\\", "\\\\").replace("\0", "\\0") if "\0" in dedup_key or "\\" in dedup_key else dedup_key


def key_of_text(text: str) -> str:
    """The key again."""
    if "\\" not in text:
        return text
    return "\\".join(part.replace("\\0", "\0") for part in text.split("\\\\"))


def deliver(cursor: Cursor, sql: Statements, messages: Sequence[Message]) -> list[Delivery]:
    """Judge the messages in order, and write those that are accepted; five statements at most, for any number."""
    names = sorted({(message.namespace, message.run_id) for message in messages})
    rows = cursor.execute(sql.runs_for_delivery, [list(column) for column in zip(*names, strict=True)] or [[], []])
    runs = {(row[1], row[2]): row for row in rows.fetchall()}
    asked = [(runs[name][0], text_of_key(m.dedup_key)) for m in messages if (name := (m.namespace, m.run_id)) in runs]
    if not asked:
        return [Delivery(Delivered.NOT_FOUND)] * len(messages)
    earlier = cursor.execute(sql.repeated, [list(column) for column in zip(*asked, strict=True)]).fetchall()
    numbers = {(key, key_of_text(text)): n for key, text, n in earlier}
    delivered = {row[0]: row[3] for row in runs.values()}
    room = {row[0]: _room(cursor, sql, row[0], row[3]) for row in runs.values()}
    accepted: list[tuple[Any, ...]] = []

    def judged(message: Message) -> Delivery:
        row = runs.get((message.namespace, message.run_id))
        if row is None:
            return Delivery(Delivered.NOT_FOUND)
        key, owner, ended = row[0], row[4], row[5]
        n = numbers.get((key, message.dedup_key))
        if n is not None:
            return Delivery(Delivered.REPEATED, key, n, owner)
        if ended:
            return Delivery(Delivered.ENDED, key, 0, owner)
        if room[key] <= 0:
            return Delivery(Delivered.FULL, key, 0, owner)
        room[key] -= 1
        delivered[key] = n = numbers[key, message.dedup_key] = delivered[key] + 1
        accepted.append((key, n, message.kind, message.name, text_of_key(message.dedup_key), message.payload))
        return Delivery(Delivered.ACCEPTED, key, n, owner)

    deliveries = [judged(message) for message in messages]
    if accepted:
        cursor.execute(sql.deliver, [list(column) for column in zip(*accepted, strict=True)])
        moved = sorted({row[0] for row in accepted})
        cursor.execute(sql.delivered, [moved, [delivered[key] for key in moved]])
    return deliveries


def _room(cursor: Cursor, sql: Statements, key: int, delivered: int) -> int:
    if delivered < INBOX_MESSAGES_MAX // 2:
        return INBOX_MESSAGES_MAX - delivered
    row = cursor.execute(sql.unconsumed, (key,)).fetchone()
    return INBOX_MESSAGES_MAX - (row[0] if row is not None else 0)
