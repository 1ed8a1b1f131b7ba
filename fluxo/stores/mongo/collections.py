"""
The collections of one store.

Owns: names, indexes, and how durable a write to them is. Must not know documents' meaning.
"""

from __future__ import annotations

from typing import Any, Final

from pymongo import ASCENDING, DESCENDING, IndexModel, MongoClient
from pymongo.collection import Collection
from pymongo.read_concern import ReadConcern
from pymongo.read_preferences import ReadPreference

from fluxo.stores.mongo.transactions import DURABLE

__all__ = ["INDEXES", "Collections"]

INDEXES: Final = {
    "runs": [
        IndexModel([("namespace", ASCENDING), ("run_id", ASCENDING)], name="run_id", unique=True),
        IndexModel(
            [("namespace", ASCENDING), ("priority", DESCENDING), ("_id", ASCENDING)],
            name="ready",
            partialFilterExpression={"ready": True},
        ),
        IndexModel(
            [("namespace", ASCENDING), ("timer", ASCENDING)],
            name="timers",
            partialFilterExpression={"timer": {"$exists": True}},
        ),
        IndexModel([("owner", ASCENDING)], name="owned", partialFilterExpression={"owned": True}),
        IndexModel(
            [("namespace", ASCENDING), ("updated_at_us", ASCENDING)],
            name="over",
            partialFilterExpression={"over": True},
        ),
        IndexModel([("purging", ASCENDING)], name="purging", partialFilterExpression={"purging": True}),
    ],
    "inbox": [
        IndexModel([("_id.r", ASCENDING), ("k", ASCENDING)], name="dedup_key", unique=True),
        IndexModel([("_id.r", ASCENDING), ("_id.n", ASCENDING)], name="unread", partialFilterExpression={"seq": None}),
    ],
    "events": [],
    "workers": [],
}


class Collections:
    """Handles of the collections, with majority reads from the primary and durable writes."""

    def __init__(self, client: MongoClient[dict[str, Any]], database: str, prefix: str, where: str) -> None:
        self.client = client
        self.where = where
        self.prefix = prefix
        self.database = client.get_database(
            database,
            read_preference=ReadPreference.PRIMARY,
            write_concern=DURABLE,
            read_concern=ReadConcern("majority"),
        )
        self.runs = self._named("runs")
        self.events = self._named("events")
        self.inbox = self._named("inbox")
        self.workers = self._named("workers")
        self.meta = self._named("meta")

    def _named(self, name: str) -> Collection[dict[str, Any]]:
        return self.database.get_collection(f"{self.prefix}_{name}")
