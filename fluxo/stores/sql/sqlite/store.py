"""
The store on a SQLite database.

Owns: the contract's methods as transactions. Must not know connections' settings (`opening`), retries
(`database`) or who wins an append (`append`). A change that may concern another waiting thread rings the bell;
a plain step's append does not. Commits of other processes are found by polling `data_version`.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from sqlite3 import Cursor

from sqlalchemy import URL, Engine, create_engine
from sqlalchemy.pool import NullPool

from fluxo.clock import Clock, SystemClock
from fluxo.errors import ConfigurationError, StoreUnavailableError
from fluxo.limits import SQLITE_BUSY_S, SQLITE_POLL_S
from fluxo.model.run import RunRecord
from fluxo.store import (
    Append,
    Delivered,
    Delivery,
    DueQuery,
    DueRuns,
    EventRow,
    InboxItem,
    Message,
    Outcome,
    Release,
    RunPage,
    RunQuery,
    StoreStats,
    Unknown,
    WorkerRecord,
)
from fluxo.stores.bell import Bell
from fluxo.stores.sql.rows import run_record
from fluxo.stores.sql.sqlite import query as queries
from fluxo.stores.sql.sqlite import statements as sql
from fluxo.stores.sql.sqlite.append import write_batch, write_carefully, write_lone
from fluxo.stores.sql.sqlite.database import Database
from fluxo.stores.sql.sqlite.deliver import deliver
from fluxo.stores.sql.sqlite.opening import Synchronous, create_private, open_database
from fluxo.stores.sql.sqlite.purge import purge

__all__ = ["SqliteStore"]


class SqliteStore:
    """
    The store in one SQLite file.

    Args:
        place: The path of the file, relative to the working directory of this moment, which is created for its owner
            alone when the store is opened; or a SQLAlchemy engine of the sqlite dialect, on a file. An engine is never
            disposed of here; three connections are taken from it for as long as the store is open, and its pool does
            not get them back.
        clock: What the store takes for the time.
        synchronous: "FULL" loses no acknowledged commit to a power cut; "NORMAL" may, and is several times faster.

    Raises:
        ConfigurationError: no path, another dialect, a database in memory, or an unknown `synchronous`.
    """

    def __init__(
        self,
        place: str | os.PathLike[str] | Engine,
        *,
        clock: Clock | None = None,
        synchronous: Synchronous = "FULL",
    ) -> None:
        self._makes_file = not isinstance(place, Engine)
        engine = place if isinstance(place, Engine) else _engine_of(place)
        if engine.dialect.name != "sqlite":
            raise ConfigurationError(f"SqliteStore needs an engine of sqlite, not of {engine.dialect.name}")
        path = engine.url.database or ""
        if path in ("", ":memory:") or "mode=memory" in path:
            raise ConfigurationError(
                "a SQLite database in memory is gone with its connection; use memory://, or sqlite:///path for a file"
            )
        if synchronous not in ("FULL", "NORMAL"):
            raise ConfigurationError(f"synchronous must be 'FULL' or 'NORMAL', not {synchronous!r}")
        self._engine = engine
        self._where = path
        self._synchronous: Synchronous = synchronous
        self._busy_s = SQLITE_BUSY_S
        self._clock: Clock = SystemClock() if clock is None else clock
        self._bell = Bell()
        self._opening = threading.Lock()
        self._database: Database | None = None

    @property
    def _open_database(self) -> Database:
        database = self._database
        if database is None:
            raise StoreUnavailableError(self._where, "the store is not open; call open() first")
        if database.is_inherited:
            raise StoreUnavailableError(
                self._where, "the store was opened before this process was forked; make a new store in this process"
            )
        return database

    def append(self, batch: Sequence[Append]) -> list[Outcome]:
        database = self._open_database
        if 0 < len(batch) <= sql.FIRST_ROWS_MAX and all(append.is_lone for append in batch):
            return write_lone(database, batch)
        now_us = self._clock.now_us()

        def work(cursor: Cursor) -> list[Outcome]:
            outcomes = write_batch(cursor, batch, now_us)
            if outcomes is None:
                cursor.execute("ROLLBACK")
                cursor.execute("BEGIN IMMEDIATE")
                outcomes = write_carefully(cursor, batch, now_us)
            return outcomes

        def unclear(problem: str) -> list[Outcome]:
            return [Unknown(problem)] * len(batch)

        outcomes = database.write(work, unclear)
        if any(append.new is not None or append.projection is not None for append in batch):
            self._bell.ring()
        return outcomes

    def read(self, key: int, after_seq: int, limit: int) -> list[EventRow]:
        return self._open_database.hot.rows(sql.READ, (key, after_seq, limit))

    def tail(self, key: int) -> EventRow | None:
        rows = self._open_database.hot.rows(sql.TAIL, (key,))
        return rows[0] if rows else None

    def due(self, query: DueQuery) -> DueRuns:
        return queries.due(self._open_database.cold, query, self._clock.now_us())

    def register(self, worker: WorkerRecord) -> None:
        row = (worker.worker_id, worker.namespace, worker.label, worker.host, worker.pid, worker.pid_started)
        self._open_database.statement(sql.REGISTER, row)
        self._bell.ring()

    def heartbeat(self, worker_id: str) -> list[tuple[int, int]] | None:
        database = self._open_database
        if database.statement(sql.BEAT, (worker_id,)) == 0:
            return None
        return database.hot.rows(sql.OWNED, (worker_id,))

    def unregister(self, worker_id: str) -> None:
        self._open_database.statement(sql.UNREGISTER, (worker_id,))
        self._bell.ring()

    def workers(self) -> list[WorkerRecord]:
        return [WorkerRecord(*row) for row in self._open_database.cold.rows(sql.WORKERS)]

    def release(self, runs: Sequence[Release]) -> int:
        now_us = self._clock.now_us()
        rows = [(r.status.value, r.wake_at_us, r.consumed, now_us, r.key, r.owner, r.nonce) for r in runs]
        released = self._open_database.write(
            lambda cursor: sum(cursor.execute(sql.RELEASE, row).rowcount for row in rows)
        )
        if released:
            self._bell.ring()
        return released

    def deliver(self, messages: Sequence[Message]) -> list[Delivery]:
        now_us = self._clock.now_us()
        deliveries = self._open_database.write(
            lambda cursor: [deliver(cursor, message, now_us) for message in messages]
        )
        if any(delivery.verdict is Delivered.ACCEPTED for delivery in deliveries):
            self._bell.ring()
        return deliveries

    def inbox(self, key: int, after_n: int) -> list[InboxItem]:
        return [InboxItem(*row) for row in self._open_database.hot.rows(sql.INBOX, (key, after_n))]

    def arrivals(self, owner: str) -> list[tuple[int, int]]:
        return self._open_database.hot.rows(sql.ARRIVALS, (owner,))

    def get(self, namespace: str, run_id: str) -> RunRecord | None:
        rows = self._open_database.hot.rows(sql.RUN, (namespace, run_id))
        return run_record(rows[0]) if rows and not rows[0][-1] else None

    def find(self, query: RunQuery) -> RunPage:
        return queries.find(self._open_database.cold, self._engine.dialect, query)

    def stats(self, namespace: str) -> StoreStats:
        return queries.stats(self._open_database.cold, namespace)

    def purge(self, namespace: str, ended_before_us: int, limit: int) -> int:
        return purge(self._open_database, namespace, ended_before_us, limit)

    def now_us(self) -> int:
        return self._clock.now_us()

    def wait(self, timeout_s: float) -> bool:
        deadline_s = time.monotonic() + timeout_s
        while True:
            left_s = max(deadline_s - time.monotonic(), 0.0)
            poll_s = min(left_s, SQLITE_POLL_S)
            if self._bell.wait(poll_s):
                return True
            database = self._database
            if database is not None and database.changed_elsewhere(poll_s):
                # Every waiting thread has to hear of it, and this is the only one that saw it.
                self._bell.ring()
                return self._bell.wait(0)
            if left_s <= 0:
                return False

    def nudge(self) -> None:
        self._bell.ring()

    def open(self) -> None:
        with self._opening:
            if self._database is None:
                if self._makes_file:
                    create_private(self._where)
                self._database = open_database(self._engine, self._where, self._synchronous, self._busy_s)

    def close(self) -> None:
        with self._opening:
            database, self._database = self._database, None
            if database is not None:
                database.close()
        self._bell.ring()


def _engine_of(path: str | os.PathLike[str]) -> Engine:
    given = os.fspath(path)
    if given.startswith("file:") or "\0" in given:
        raise ConfigurationError("SqliteStore takes the plain path of a file, not a file: URI")
    return create_engine(
        URL.create("sqlite+pysqlite", database=given if given in ("", ":memory:") else os.path.abspath(given)),
        poolclass=NullPool,
        connect_args={"check_same_thread": False, "timeout": 0},
    )
