"""
Reading the projection.

Owns: which runs are due, found and counted. Must not know sessions.
"""

from __future__ import annotations

from typing import Any

from bson.int64 import Int64
from pymongo import ASCENDING, DESCENDING

from fluxo.model.run import RunRecord, RunStatus
from fluxo.store import DueQuery, DueRuns, RunPage, RunQuery, StoreStats
from fluxo.stores.mongo.collections import Collections
from fluxo.stores.mongo.documents import Document, run_record

__all__ = ["due", "find", "stats"]

_BEST = [("priority", DESCENDING), ("_id", ASCENDING)]


def due(on: Collections, query: DueQuery, now_us: int) -> DueRuns:
    """Runs that a worker could take now; short reads, each of its own moment: claiming decides."""
    asked: Document = {
        "namespace": query.namespace,
        "queue": {"$in": list(query.queues)},
        "$or": [{"workflow": workflow, "version": version} for workflow, version in query.workflows],
        "purging": {"$exists": False},
    }
    if not query.queues or not query.workflows:
        return DueRuns([], now_us, None)
    later = on.runs.find_one({**asked, "timer": {"$gt": Int64(now_us)}}, {"timer": 1}, sort=[("timer", ASCENDING)])
    next_wake_at_us = None if later is None else int(later["timer"])
    if query.limit <= 0:
        return DueRuns([], now_us, next_wake_at_us)
    kinds: list[Document] = [{"ready": True}, {"timer": {"$lte": Int64(now_us)}}]
    # Owners first: whoever registers and claims in between is in the second list if in the first.
    owners = on.runs.distinct("owner", {"owned": True})
    if owners:
        alive = {document["_id"] for document in on.workers.find({}, {"_id": 1})} - set(query.dead)
        gone = [owner for owner in owners if owner not in alive]
        if gone:
            kinds.append({"owned": True, "owner": {"$in": gone}})
    found: dict[int, RunRecord] = {}
    for kind in kinds:
        for document in on.runs.find({**asked, **kind}).sort(_BEST).limit(query.limit):
            found[document["_id"]] = run_record(document)
    runs = sorted(found.values(), key=lambda run: (-run.priority, run.key))[: query.limit]
    return DueRuns(runs, now_us, next_wake_at_us)


def find(on: Collections, query: RunQuery) -> RunPage:
    """One page of runs, newest first."""
    wanted: dict[str, Any] = {"namespace": query.namespace, "purging": {"$exists": False}}
    if query.status:
        wanted["status"] = {"$in": [status.value for status in query.status]}
    if query.workflow is not None:
        wanted["workflow"] = query.workflow
    if query.queue is not None:
        wanted["queue"] = query.queue
    if query.since_us is not None:
        wanted["created_at_us"] = {"$gte": Int64(query.since_us)}
    if query.before_key is not None:
        wanted["_id"] = {"$lt": Int64(query.before_key)}
    documents = list(on.runs.find(wanted).sort([("_id", DESCENDING)]).limit(query.limit + 1))
    page = [run_record(document) for document in documents[: query.limit]]
    return RunPage(page, page[-1].key if len(documents) > len(page) else None)


def stats(on: Collections, namespace: str) -> StoreStats:
    """Counts of one namespace; every status is named, also where there is none."""
    here = {"$match": {"namespace": namespace, "purging": {"$exists": False}}}
    statuses = on.runs.aggregate([here, {"$group": {"_id": "$status", "count": {"$sum": 1}}}])
    counts = {document["_id"]: document["count"] for document in statuses}
    keys = [document["_id"] for document in on.runs.find(here["$match"], {"_id": 1})]
    events = sum(on.events.count_documents({"_id": {"$gte": {"r": key}, "$lt": {"r": Int64(key + 1)}}}) for key in keys)
    unread = sum(on.inbox.count_documents({"_id.r": key, "seq": None}) for key in keys)
    workers = on.workers.count_documents({"namespace": namespace})
    return StoreStats({status.value: counts.get(status.value, 0) for status in RunStatus}, events, unread, workers)
