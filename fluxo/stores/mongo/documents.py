"""
Documents: their fields, and what is derived in them.

Owns: the forms of runs, events and messages. Must not know sessions or queries. A run's document carries where it is
filed (`ready`, `timer`, `owned`, `mail`, `over`), derived by the server in the same update that changes it, so that
each question of a worker is one partial index. An event is one document whose id is (run, seq): the log is the lock.
"""

from __future__ import annotations

from typing import Any, Final

from bson.int64 import Int64
from msgspec.structs import fields

from fluxo.model.run import ENDED, OPEN, RunRecord, RunStatus
from fluxo.store import Append, EventRow, InboxItem, NewRun, WorkerRecord

__all__ = [
    "FENCE",
    "Document",
    "changed",
    "event_document",
    "event_id",
    "inbox_item_of",
    "of_run",
    "row_of",
    "run_document",
    "run_record",
    "worker_of",
]

Document = dict[str, Any]
FENCE: Final = -1
"""The digest of the document that takes the place behind the tail of a run that is being purged."""
_FIELDS: Final = tuple(field.name for field in fields(RunRecord) if field.name != "key")
_NUMBERS: Final = frozenset(
    ("priority", "wake_at_us", "delivered", "consumed", "nonce", "base_seq", "tail_seq", "tail_digest")
) | {"created_at_us", "updated_at_us", "shard"}
_OPEN: Final = sorted(OPEN)
_ENDED: Final = sorted(ENDED)

_IS_OPEN: Final = {"$in": ["$status", _OPEN]}
_IS_UNOWNED: Final = {"$eq": ["$owner", None]}
_HAS_MAIL: Final = {"$gt": ["$delivered", "$consumed"]}
_READY: Final = {"$cond": [{"$eq": ["$status", "pending"]}, {"$eq": ["$wake_at_us", None]}, _HAS_MAIL]}
_WAITS: Final = {"$and": [_IS_OPEN, _IS_UNOWNED, {"$ne": ["$wake_at_us", None]}]}
_FILED: Final = {
    "$set": {
        "ready": {"$and": [_IS_OPEN, _IS_UNOWNED, _READY]},
        "timer": {"$cond": [_WAITS, "$wake_at_us", "$$REMOVE"]},
        "owned": {"$and": [_IS_OPEN, {"$not": [_IS_UNOWNED]}]},
        "mail": {"$and": [_IS_OPEN, {"$not": [_IS_UNOWNED]}, _HAS_MAIL]},
        "over": {"$in": ["$status", _ENDED]},
    }
}


def event_id(key: int, seq: int) -> Document:
    """The id of an event's document."""
    return {"r": Int64(key), "s": seq}


def of_run(key: int, above: int = 0) -> Document:
    """A condition on ids: the events of a run, above a seq."""
    return {"_id": {"$gt": event_id(key, above), "$lt": {"r": Int64(key + 1)}}}


def event_document(key: int, event: EventRow) -> Document:
    """The document of an event."""
    seq, nonce, digest, body = event
    return {"_id": event_id(key, seq), "n": Int64(nonce), "d": Int64(digest), "b": body}


def row_of(document: Document) -> EventRow:
    """The event of a document."""
    return document["_id"]["s"], int(document["n"]), int(document["d"]), bytes(document["b"])


def run_document(key: int, new: NewRun, append: Append, now_us: int, by: str) -> Document:
    """The document of a new run."""
    tail = append.events[-1]
    is_open, is_unowned = new.status in OPEN, new.owner is None
    waits = is_open and is_unowned and new.wake_at_us is not None
    document: Document = {
        "_id": Int64(key),
        "namespace": new.namespace,
        "run_id": new.run_id,
        "workflow": new.workflow,
        "version": new.version,
        "status": new.status.value,
        "queue": new.queue,
        "shard": new.shard,
        "priority": new.priority,
        "wake_at_us": None if new.wake_at_us is None else Int64(new.wake_at_us),
        "delivered": 0,
        "consumed": 0,
        "owner": new.owner,
        "nonce": Int64(new.nonce),
        "base_seq": 0,
        "tail_seq": tail[0],
        "tail_digest": Int64(tail[2]),
        "input_digest": new.input_digest,
        "created_at_us": Int64(now_us),
        "updated_at_us": Int64(now_us),
        "by": by,
        "ready": is_open and is_unowned and new.status is RunStatus.PENDING and new.wake_at_us is None,
        "owned": is_open and not is_unowned,
        "mail": False,
        "over": new.status in ENDED,
    }
    if waits:
        document["timer"] = document["wake_at_us"]
    return document


def changed(by: str, **values: Any) -> list[Document]:
    """The update that gives a run's document these values, and files it anew."""
    literal = {
        name: {"$literal": Int64(value) if name in _NUMBERS and value is not None else value}
        for name, value in values.items()
    }
    return [{"$set": {**literal, "by": {"$literal": by}}}, _FILED]


def run_record(document: Document) -> RunRecord:
    """The run of a document."""
    values = [document[name] for name in _FIELDS]
    record = dict(zip(_FIELDS, values, strict=True))
    for name in _NUMBERS:
        if record[name] is not None:
            record[name] = int(record[name])
    record["status"] = RunStatus(record["status"])
    record["input_digest"] = bytes(record["input_digest"])
    return RunRecord(key=int(document["_id"]), **record)


def inbox_item_of(document: Document) -> InboxItem:
    """The message of a document."""
    return InboxItem(
        document["_id"]["n"],
        document["kind"],
        document["name"],
        document["k"],
        bytes(document["payload"]),
        int(document["at_us"]),
    )


def worker_of(document: Document) -> WorkerRecord:
    """The worker of a document."""
    return WorkerRecord(
        document["_id"],
        document["namespace"],
        document["label"],
        document["host"],
        int(document["pid"]),
        int(document["pid_started"]),
        int(document["beat"]),
    )
