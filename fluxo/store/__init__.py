"""
The store contract: what the engine asks of a database, and nothing about any database.

Owns: the `Store` protocol with its promises, and the request and answer structs. Must not know
events' contents (bodies are opaque bytes here), drivers, or the engine.
"""

from fluxo.store.protocol import Store
from fluxo.store.requests import (
    Append,
    Committed,
    Conflict,
    Delivered,
    Delivery,
    DueQuery,
    DueRuns,
    EventRow,
    Existing,
    InboxItem,
    Message,
    NewRun,
    Outcome,
    Projection,
    Release,
    RunPage,
    RunQuery,
    StoreStats,
    Unknown,
    WorkerRecord,
)

__all__ = [
    "Append",
    "Committed",
    "Conflict",
    "Delivered",
    "Delivery",
    "DueQuery",
    "DueRuns",
    "EventRow",
    "Existing",
    "InboxItem",
    "Message",
    "NewRun",
    "Outcome",
    "Projection",
    "Release",
    "RunPage",
    "RunQuery",
    "Store",
    "StoreStats",
    "Unknown",
    "WorkerRecord",
]
