"""
Deleting ended runs.

Owns: the order that keeps a stale owner out (PROTOCOL rule 6): mark and fence first, then events from the front, then
the inbox, the document of the run last. Must not know sessions.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Final

from bson.int64 import Int64
from pymongo import ASCENDING, DESCENDING
from pymongo.errors import DuplicateKeyError

from fluxo.stores.mongo.append import Tails
from fluxo.stores.mongo.collections import Collections
from fluxo.stores.mongo.documents import FENCE, event_id, of_run

__all__ = ["purge"]

_EVENTS_AT_ONCE: Final = 5_000


def purge(on: Collections, tails: Tails, namespace: str, ended_before_us: int, limit: int) -> int:
    """Delete at most `limit` ended runs, wholly; the number deleted."""
    if limit <= 0:
        return 0
    keys = [run["_id"] for run in on.runs.find({"purging": True, "namespace": namespace}, {"_id": 1}).limit(limit)]
    over = {
        "namespace": namespace,
        "over": True,
        "updated_at_us": {"$lt": Int64(ended_before_us)},
        "purging": {"$exists": False},
    }
    if len(keys) < limit:
        candidates = list(on.runs.find(over, {"_id": 1}).sort("_id", ASCENDING).limit(limit - len(keys)))
        # Asked again: the run may have been reopened, or be another purge's.
        mark = {"$set": {"purging": True}}
        keys += [
            run["_id"] for run in candidates if on.runs.update_one({**over, "_id": run["_id"]}, mark).modified_count
        ]
    for key in keys:
        _delete(on, int(key))
        tails.forget(int(key))
    return len(keys)


def _delete(on: Collections, key: int) -> None:
    last = on.events.find_one(of_run(key), {"_id": 1, "d": 1}, sort=[("_id", DESCENDING)])
    if last is not None and last["d"] != FENCE:
        fence: dict[str, Any] = {"_id": event_id(key, last["_id"]["s"] + 1), "n": 0, "d": FENCE, "b": b""}
        with suppress(DuplicateKeyError):
            on.events.insert_one(fence)
    while some := [
        document["_id"]
        for document in on.events.find(of_run(key), {"_id": 1}).sort("_id", ASCENDING).limit(_EVENTS_AT_ONCE)
    ]:
        on.events.delete_many({"_id": {"$gte": some[0], "$lte": some[-1]}})
    on.inbox.delete_many({"_id.r": Int64(key)})
    on.runs.delete_one({"_id": Int64(key)})
