"""
The store on MongoDB.

Owns: the contract's methods. Must not know documents' fields (`documents`), sessions and errors (`transactions`) or who
wins an append (`append`). A run's integer key is its creation time in microseconds times SHARDS, plus its shard.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from itertools import count
from typing import Any, Final, TypeVar

from bson.int64 import Int64
from pymongo import ASCENDING, DESCENDING, MongoClient
from pymongo.errors import ConfigurationError as MongoConfigurationError
from pymongo.errors import DuplicateKeyError, InvalidName, InvalidURI

from fluxo.clock import Clock
from fluxo.errors import ConfigurationError, StoreUnavailableError
from fluxo.ids import new_worker_id
from fluxo.limits import SHARDS
from fluxo.model.run import OPEN, RunRecord
from fluxo.store import (
    Append,
    Delivered,
    Delivery,
    DueQuery,
    DueRuns,
    EventRow,
    InboxItem,
    Message,
    NewRun,
    Outcome,
    Release,
    RunPage,
    RunQuery,
    StoreStats,
    WorkerRecord,
)
from fluxo.stores.bell import Bell
from fluxo.stores.listening import Listener
from fluxo.stores.mongo.append import Appender, Tails
from fluxo.stores.mongo.collections import Collections
from fluxo.stores.mongo.deliver import deliver
from fluxo.stores.mongo.documents import (
    changed,
    inbox_item_of,
    of_run,
    row_of,
    run_record,
    worker_of,
)
from fluxo.stores.mongo.line import ChangeLine
from fluxo.stores.mongo.opening import prepare
from fluxo.stores.mongo.purge import purge
from fluxo.stores.mongo.query import due, find, stats
from fluxo.stores.mongo.transactions import ContendedError, Lost, Sessions, asked, end_those_of_the_dead, transact

__all__ = ["MongoStore"]

T = TypeVar("T")
_OPEN: Final = sorted(OPEN)
_HEARD_S: Final = 10.0
_DELIVER_TRIES: Final = 3
_DELIVERED_AT_ONCE_MAX: Final = 500


class MongoStore:
    """
    The store in a MongoDB database; the server must be a replica set, if of one node only.

    Args:
        client: A `pymongo.MongoClient`, which is never closed here, or a URL.
        database: Its name; by default that of the URL, or else "fluxo".
        prefix: What the name of every collection begins with; stores with different prefixes do not see each other.
        clock: What the store takes for the time; the server's clock if None.

    Raises:
        ConfigurationError: no such URL, or a name that is not plain.
    """

    def __init__(
        self,
        client: MongoClient[dict[str, Any]] | str,
        *,
        database: str | None = None,
        prefix: str = "fluxo",
        clock: Clock | None = None,
    ) -> None:
        if not (prefix.isidentifier() and prefix.isascii() and len(prefix) <= 48):
            raise ConfigurationError("prefix= must be a plain name of at most 48 letters, digits and underscores")
        self._client = client
        self._database = database
        if isinstance(client, str) and client.startswith("mongodb://"):
            # Only looked at: nothing is connected, and what is opened later is another client.
            with _client_of(client, connect=False) as parsed:
                self._database = database or _default_database(parsed)
        self._prefix = prefix
        self._where = f"MongoDB database {self._database or 'fluxo'}"
        self._clock = clock
        self._teller = new_worker_id()
        self._marks = count()
        self._bell = Bell()
        self._time = _ServerTime(self._hello_us)
        self._keys = _Keys(self._now_us)
        self._opening = threading.Lock()
        self._listener: Listener | None = None
        self._appender: Appender | None = None
        self._pid = 0
        self._worker_id: str | None = None

    def append(self, batch: Sequence[Append]) -> list[Outcome]:
        appender = self._opened()
        outcomes = appender.write(batch) if batch else []
        if any(append.new is not None or append.projection is not None for append in batch):
            self._bell.ring()
        return outcomes

    def read(self, key: int, after_seq: int, limit: int) -> list[EventRow]:
        if limit <= 0:
            return []
        wanted = {**of_run(key, after_seq), "d": {"$gte": 0}}
        found = self._ask(lambda: list(self._on.events.find(wanted).sort("_id", ASCENDING).limit(limit)))
        return [row_of(document) for document in found]

    def tail(self, key: int) -> EventRow | None:
        wanted = {**of_run(key), "d": {"$gte": 0}}
        found = self._ask(lambda: self._on.events.find_one(wanted, sort=[("_id", DESCENDING)]))
        if found is None:
            return None
        row = row_of(found)
        self._opened().tails.saw(key, row[0], row[2])
        return row

    def due(self, query: DueQuery) -> DueRuns:
        return self._ask(lambda: due(self._on, query, self._now_us()))

    def _tell_sessions(self, ids: list[Any]) -> None:
        if self._worker_id is not None:
            self._on.workers.update_one({"_id": self._worker_id}, {"$set": {"sessions": ids}})

    def register(self, worker: WorkerRecord) -> None:
        document = {
            "namespace": worker.namespace,
            "label": worker.label,
            "host": worker.host,
            "pid": Int64(worker.pid),
            "pid_started": Int64(worker.pid_started),
            "beat": 0,
            "sessions": self._opened().sessions.ids,
        }
        self._worker_id = worker.worker_id
        here = {"_id": worker.worker_id}
        self._ask(lambda: self._on.workers.replace_one(here, document, upsert=True))
        self._bell.ring()

    def heartbeat(self, worker_id: str) -> list[tuple[int, int]] | None:
        beaten = self._ask(lambda: self._on.workers.update_one({"_id": worker_id}, {"$inc": {"beat": 1}}))
        if beaten.matched_count == 0:
            return None
        owned = {"owner": worker_id, "owned": True}
        found = self._ask(lambda: list(self._on.runs.find(owned, {"nonce": 1}).sort("_id", ASCENDING)))
        return [(int(run["_id"]), int(run["nonce"])) for run in found]

    def unregister(self, worker_id: str) -> None:
        if worker_id != self._worker_id:
            # Struck off by another: it has died, and what it has left open would stand in the way of its heirs.
            gone = self._ask(lambda: self._on.workers.find_one({"_id": worker_id}))
            if gone is not None:
                self._ask(lambda: end_those_of_the_dead(self._on.client, gone["sessions"]))
        self._ask(lambda: self._on.workers.delete_one({"_id": worker_id}))
        self._bell.ring()

    def workers(self) -> list[WorkerRecord]:
        return self._ask(lambda: [worker_of(found) for found in self._on.workers.find().sort("_id", ASCENDING)])

    def release(self, runs: Sequence[Release]) -> int:
        released = sum(self._release(release) for release in runs)
        if released:
            self._bell.ring()
        return released

    def _release(self, release: Release) -> int:
        mine = {
            "_id": Int64(release.key),
            "owner": release.owner,
            "nonce": Int64(release.nonce),
            "status": {"$in": _OPEN},
        }
        values: dict[str, Any] = {
            "owner": None,
            "status": release.status.value,
            "wake_at_us": release.wake_at_us,
            "updated_at_us": self._now_us(),
        }
        if release.consumed is not None:
            values["consumed"] = release.consumed
        update = changed(self._mark(), **values)
        return self._ask(lambda: self._on.runs.update_one(mine, update).matched_count)

    def deliver(self, messages: Sequence[Message]) -> list[Delivery]:
        self._opened()
        deliveries: list[Delivery] = []
        for first in range(0, len(messages), _DELIVERED_AT_ONCE_MAX):
            deliveries += self._deliver(messages[first : first + _DELIVERED_AT_ONCE_MAX])
        if any(delivery.verdict is Delivered.ACCEPTED for delivery in deliveries):
            self._bell.ring()
        return deliveries

    def _deliver(self, messages: Sequence[Message]) -> list[Delivery]:
        for _ in range(_DELIVER_TRIES):
            try:
                return transact(
                    self._opened().sessions,
                    self._where,
                    lambda session: deliver(session, self._on, messages, self._now_us(), self._mark),
                )
            except (ContendedError, DuplicateKeyError, Lost):
                # Somebody else's message came first, or this one is there already: look again.
                continue
        raise StoreUnavailableError(
            self._where, "too many deliver to one run at once, or the commit's outcome is unknown"
        )

    def inbox(self, key: int, after_n: int) -> list[InboxItem]:
        unread = {"_id.r": Int64(key), "_id.n": {"$gt": after_n}, "seq": None}
        found = self._ask(lambda: list(self._on.inbox.find(unread).sort("_id.n", ASCENDING)))
        return [inbox_item_of(document) for document in found]

    def arrivals(self, owner: str) -> list[tuple[int, int]]:
        mail = {"owner": owner, "owned": True, "mail": True}
        found = self._ask(lambda: list(self._on.runs.find(mail, {"delivered": 1}).sort("_id", ASCENDING)))
        return [(int(run["_id"]), int(run["delivered"])) for run in found]

    def get(self, namespace: str, run_id: str) -> RunRecord | None:
        name = {"namespace": namespace, "run_id": run_id, "purging": {"$exists": False}}
        found = self._ask(lambda: self._on.runs.find_one(name))
        return None if found is None else run_record(found)

    def find(self, query: RunQuery) -> RunPage:
        return self._ask(lambda: find(self._on, query))

    def stats(self, namespace: str) -> StoreStats:
        """Counts; those of events and messages are summed run by run, each at its own moment."""
        return self._ask(lambda: stats(self._on, namespace))

    def purge(self, namespace: str, ended_before_us: int, limit: int) -> int:
        return self._ask(lambda: purge(self._on, self._opened().tails, namespace, ended_before_us, limit))

    def now_us(self) -> int:
        return self._ask(self._now_us)

    def wait(self, timeout_s: float) -> bool:
        return self._bell.wait(timeout_s)

    def nudge(self) -> None:
        self._bell.ring()

    def open(self) -> None:
        with self._opening:
            if self._appender is not None:
                return
            client = _client_of(self._client) if isinstance(self._client, str) else self._client
            on = Collections(client, self._database or _default_database(client), self._prefix, self._where)
            try:
                prepare(on)
            except BaseException:
                self._let_go(client)
                raise
            tails = Tails(time.monotonic if self._clock is None else self._clock.monotonic_s)
            sessions = Sessions(client, self._tell_sessions)
            self._appender = Appender(on, self._now_us, self._keys.new, self._mark, tails, sessions)
            self._pid = os.getpid()
            self._listener = Listener(lambda: ChangeLine(on, self._teller), self._bell, self._where)
            self._listener.start()

    def close(self) -> None:
        with self._opening:
            appender, self._appender = self._appender, None
            listener, self._listener = self._listener, None
            if appender is not None and listener is not None and self._pid == os.getpid():
                listener.stop()
                self._let_go(appender.on.client)
        self._bell.ring()

    def _let_go(self, client: MongoClient[dict[str, Any]]) -> None:
        """Close a client that was made here."""
        if isinstance(self._client, str):
            client.close()

    def _opened(self) -> Appender:
        if self._appender is None:
            raise StoreUnavailableError(self._where, "the store is not open; call open() first")
        if self._pid != os.getpid():
            raise StoreUnavailableError(
                self._where, "the store was opened before this process was forked; make a new store in this process"
            )
        return self._appender

    @property
    def _on(self) -> Collections:
        return self._opened().on

    def _ask(self, work: Callable[[], T]) -> T:
        self._opened()
        return asked(work, self._where)

    def _mark(self) -> str:
        """Who writes, and for the how-manieth time: a change stream shows a field only where it changes."""
        return f"{self._teller}:{next(self._marks)}"

    def _now_us(self) -> int:
        return self._time.now_us() if self._clock is None else self._clock.now_us()

    def _hello_us(self) -> int:
        at: datetime = self._on.client.admin.command("hello")["localTime"]
        return round(at.timestamp() * 1000) * 1000


class _ServerTime:
    """The server's clock, heard now and then and carried on by this machine's monotonic one; never backwards."""

    def __init__(self, hear_us: Callable[[], int]) -> None:
        self._hear_us = hear_us
        self._lock = threading.Lock()
        self._ahead_us = 0
        self._heard_s = float("-inf")
        self._last_us = 0

    def now_us(self) -> int:
        with self._lock:
            if time.monotonic() - self._heard_s > _HEARD_S:
                heard_us = self._hear_us()
                self._heard_s = time.monotonic()
                # The answer was true when it came, at the earliest: never ahead of the server.
                self._ahead_us = heard_us - round(self._heard_s * 1_000_000)
            self._last_us = max(self._last_us, round(time.monotonic() * 1_000_000) + self._ahead_us)
            return self._last_us


class _Keys:
    """Keys of new runs: they grow in one process, and never repeat but by a collision, which the unique id refuses."""

    def __init__(self, now_us: Callable[[], int]) -> None:
        self._now_us = now_us
        self._lock = threading.Lock()
        self._last_us = 0

    def new(self, new: NewRun) -> int:
        now_us = self._now_us()
        with self._lock:
            self._last_us = max(self._last_us + 1, now_us)
            return self._last_us * SHARDS + new.shard


def _client_of(url: str, *, connect: bool = True) -> MongoClient[dict[str, Any]]:
    try:
        return MongoClient(
            url,
            appname="fluxo",
            tz_aware=True,
            connect=connect,
            connectTimeoutMS=5_000,
            serverSelectionTimeoutMS=5_000,
            socketTimeoutMS=30_000,
        )
    except (InvalidURI, MongoConfigurationError, ValueError) as error:
        raise ConfigurationError("not a URL of MongoDB; write mongodb://host:27017/database?replicaSet=name") from error


def _default_database(client: MongoClient[dict[str, Any]]) -> str:
    try:
        return client.get_default_database("fluxo").name
    except (MongoConfigurationError, InvalidName) as error:
        raise ConfigurationError("not a name for a database of MongoDB") from error
