"""
Putting messages into inboxes.

Owns: the verdict on each message and its number. Must not know connections. The caller's transaction reads one
snapshot, and its write to the run's document is the run's lock (PROTOCOL rule 14): of two at once, one is run again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bson.int64 import Int64
from pymongo.client_session import ClientSession

from fluxo.limits import INBOX_MESSAGES_MAX
from fluxo.model.run import ENDED
from fluxo.store import Delivered, Delivery, Message
from fluxo.stores.mongo.collections import Collections
from fluxo.stores.mongo.documents import Document, changed

__all__ = ["deliver"]

_ENDED = frozenset(status.value for status in ENDED)


def deliver(
    session: ClientSession, on: Collections, messages: Sequence[Message], now_us: int, mark: Callable[[], str]
) -> list[Delivery]:
    """Judge the messages in order, and write those that are accepted; the same few questions for any number."""
    names = {(message.namespace, message.run_id) for message in messages}
    here = [{"namespace": namespace, "run_id": run_id} for namespace, run_id in sorted(names)]
    fields = {"namespace": 1, "run_id": 1, "delivered": 1, "owner": 1, "status": 1}
    found = on.runs.find({"$or": here, "purging": {"$exists": False}}, fields, session=session)
    runs = {(run["namespace"], run["run_id"]): run for run in found}
    numbers = _numbers(session, on, runs, messages)
    room = {run["_id"]: _room(session, on, run) for run in runs.values()}
    delivered = {run["_id"]: int(run["delivered"]) for run in runs.values()}
    accepted: list[Document] = []

    def judged(message: Message) -> Delivery:
        run = runs.get((message.namespace, message.run_id))
        if run is None:
            return Delivery(Delivered.NOT_FOUND)
        key, owner = run["_id"], run["owner"]
        n = numbers.get((key, message.dedup_key))
        if n is not None:
            return Delivery(Delivered.REPEATED, int(key), n, owner)
        if run["status"] in _ENDED:
            return Delivery(Delivered.ENDED, int(key), 0, owner)
        if room[key] <= 0:
            return Delivery(Delivered.FULL, int(key), 0, owner)
        room[key] -= 1
        delivered[key] = n = numbers[key, message.dedup_key] = delivered[key] + 1
        accepted.append(_document(key, n, message, now_us))
        return Delivery(Delivered.ACCEPTED, int(key), n, owner)

    deliveries = [judged(message) for message in messages]
    if accepted:
        on.inbox.insert_many(accepted, session=session)
        for key in sorted({document["_id"]["r"] for document in accepted}):
            on.runs.update_one({"_id": key}, changed(mark(), delivered=delivered[key]), session=session)
    return deliveries


def _numbers(
    session: ClientSession, on: Collections, runs: dict[tuple[str, str], Document], messages: Sequence[Message]
) -> dict[tuple[int, str], int]:
    """The numbers that these messages have got earlier."""
    asked: dict[int, list[str]] = {}
    for message in messages:
        run = runs.get((message.namespace, message.run_id))
        if run is not None:
            asked.setdefault(run["_id"], []).append(message.dedup_key)
    numbers: dict[tuple[int, str], int] = {}
    for key, dedup_keys in asked.items():
        for earlier in on.inbox.find({"_id.r": key, "k": {"$in": dedup_keys}}, {"k": 1}, session=session):
            numbers[key, earlier["k"]] = earlier["_id"]["n"]
    return numbers


def _room(session: ClientSession, on: Collections, run: Document) -> int:
    if run["delivered"] < INBOX_MESSAGES_MAX // 2:
        return INBOX_MESSAGES_MAX - int(run["delivered"])
    return INBOX_MESSAGES_MAX - on.inbox.count_documents({"_id.r": run["_id"], "seq": None}, session=session)


def _document(key: int, n: int, message: Message, now_us: int) -> Document:
    return {
        "_id": {"r": key, "n": n},
        "k": message.dedup_key,
        "kind": message.kind,
        "name": message.name,
        "payload": message.payload,
        "at_us": Int64(now_us),
        "seq": None,
    }
