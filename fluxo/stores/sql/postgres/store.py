"""
The store on PostgreSQL.

Owns: the contract's methods as statements and transactions. Must not know settings (`opening`), reconnecting
(`connection`) or who wins an append (`append`). Four connections are held: one writes events, one does all other
writes and short reads, one answers queries that may take longer, one listens.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from sqlalchemy import URL, Engine, create_engine, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.pool import NullPool

from fluxo.clock import Clock
from fluxo.errors import ConfigurationError, StoreUnavailableError
from fluxo.limits import UNHEARD_POLL_S
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
from fluxo.stores.listening import Listener
from fluxo.stores.sql.postgres.append import write
from fluxo.stores.sql.postgres.connection import Channel, Cursor, Lost
from fluxo.stores.sql.postgres.deliver import deliver, key_of_text
from fluxo.stores.sql.postgres.line import NotifyLine, Speaker
from fluxo.stores.sql.postgres.opening import connector, prepare
from fluxo.stores.sql.postgres.purge import purge
from fluxo.stores.sql.postgres.query import due, find, stats
from fluxo.stores.sql.postgres.statements import Statements
from fluxo.stores.sql.rows import run_record

__all__ = ["PostgresStore"]

_GIVEN_TIME = "current_setting('fluxo.now_us')::bigint"
_SERVER_TIME = "(extract(epoch FROM statement_timestamp()) * 1000000)::bigint"


class PostgresStore:
    """
    The store in a PostgreSQL database.

    Args:
        engine: A SQLAlchemy engine of the dialect postgresql+psycopg, or a URL. A given engine is never disposed of;
            four connections are taken from it for as long as the store is open, and its pool does not get them back.
        schema: Where the tables are made and looked for; None for the first schema on the search path. Stores in
            different schemas do not see each other.
        listen: Whether to hear of other processes' changes at once, by LISTEN; else they are looked for twice a second.
        pooled: The URL leads through a pooler that shares sessions between transactions (PgBouncer): nothing is
            prepared, no session is set up, and nothing is listened for.
        clock: What the store takes for the time; the server's clock if None.

    Raises:
        ConfigurationError: no such URL or engine, or a schema that is no plain name.
    """

    def __init__(
        self,
        engine: Engine | URL | str,
        *,
        schema: str | None = None,
        listen: bool = True,
        pooled: bool = False,
        clock: Clock | None = None,
    ) -> None:
        self._engine = engine if isinstance(engine, Engine) else _engine_of(engine)
        dialect = self._engine.dialect
        if dialect.name != "postgresql" or dialect.driver != "psycopg":
            raise ConfigurationError(
                f"PostgresStore needs an engine of postgresql+psycopg://, not of {dialect.name}+{dialect.driver}"
            )
        if schema is not None and not (schema.isidentifier() and len(schema) <= 48):
            raise ConfigurationError("schema= must be a plain name of at most 48 letters, digits and underscores")
        url = self._engine.url
        self._where = f"PostgreSQL database {url.database or 'of its user'} on {url.host or 'this machine'}"
        self._schema = schema
        self._pooled = pooled
        self._clock = clock
        self._bell = Bell()
        self._speaker: Speaker | None = None
        self._listens = listen and not pooled
        self._listener: Listener | None = None
        self._opening = threading.Lock()
        self._connect = connector(self._engine, self._where, pooled=pooled)
        self._sql = Statements(schema, _SERVER_TIME if clock is None else _GIVEN_TIME)
        self._channels: tuple[Channel, Channel, Channel] | None = None

    @property
    def _log(self) -> Channel:
        return self._open_channels[0]

    @property
    def _hot(self) -> Channel:
        return self._open_channels[1]

    @property
    def _cold(self) -> Channel:
        return self._open_channels[2]

    @property
    def _open_channels(self) -> tuple[Channel, Channel, Channel]:
        if self._channels is None:
            raise StoreUnavailableError(self._where, "the store is not open; call open() first")
        return self._channels

    def _changed(self) -> None:
        self._bell.ring()
        if self._speaker is not None:
            self._speaker.tell()

    def append(self, batch: Sequence[Append]) -> list[Outcome]:
        if not batch:
            return []
        try:
            outcomes: list[Outcome] = self._log.once(lambda cursor: write(cursor, self._sql, batch))
        except Lost as error:
            problem = f"the connection to {self._where} was lost during the append ({error.__cause__})"
            outcomes = [Unknown(problem) for _ in batch]
        if any(append.new is not None or append.projection is not None for append in batch):
            self._changed()
        return outcomes

    def read(self, key: int, after_seq: int, limit: int) -> list[EventRow]:
        return self._hot.rows(self._sql.read, (key, after_seq, limit))

    def tail(self, key: int) -> EventRow | None:
        rows = self._hot.rows(self._sql.tail, (key,))
        return rows[0] if rows else None

    def due(self, query: DueQuery) -> DueRuns:
        return due(self._cold, self._sql, query)

    def register(self, worker: WorkerRecord) -> None:
        row = (worker.worker_id, worker.namespace, worker.label, worker.host, worker.pid, worker.pid_started)
        self._hot.changed(self._sql.register, row)
        self._changed()

    def heartbeat(self, worker_id: str) -> list[tuple[int, int]] | None:
        rows = self._hot.rows(self._sql.heartbeat, (worker_id,))
        return [row for row in rows if row[0] is not None] if rows else None

    def unregister(self, worker_id: str) -> None:
        self._hot.changed(self._sql.unregister, (worker_id,))
        self._changed()

    def workers(self) -> list[WorkerRecord]:
        return [WorkerRecord(*row) for row in self._cold.rows(self._sql.workers)]

    def release(self, runs: Sequence[Release]) -> int:
        rows = [
            (r.status.value, r.wake_at_us, r.consumed, r.key, r.owner, r.nonce)
            for r in sorted(runs, key=lambda release: release.key)
        ]
        released = self._hot.transaction(
            lambda cursor: sum(cursor.execute(self._sql.release, row).rowcount for row in rows)
        )
        if released:
            self._changed()
        return released

    def deliver(self, messages: Sequence[Message]) -> list[Delivery]:
        deliveries = self._hot.transaction(lambda cursor: deliver(cursor, self._sql, messages))
        if any(delivery.verdict is Delivered.ACCEPTED for delivery in deliveries):
            self._changed()
        return deliveries

    def inbox(self, key: int, after_n: int) -> list[InboxItem]:
        rows = self._hot.rows(self._sql.inbox, (key, after_n))
        return [
            InboxItem(n, kind, name, key_of_text(text), payload, at_us) for n, kind, name, text, payload, at_us in rows
        ]

    def arrivals(self, owner: str) -> list[tuple[int, int]]:
        return self._hot.rows(self._sql.arrivals, (owner,))

    def get(self, namespace: str, run_id: str) -> RunRecord | None:
        rows = self._hot.rows(self._sql.run, (namespace, run_id))
        return run_record(rows[0]) if rows and not rows[0][-1] else None

    def find(self, query: RunQuery) -> RunPage:
        return find(self._cold, self._sql, query)

    def stats(self, namespace: str) -> StoreStats:
        return stats(self._cold, self._sql, namespace)

    def purge(self, namespace: str, ended_before_us: int, limit: int) -> int:
        return purge(self._cold, self._sql, namespace, ended_before_us, limit)

    def now_us(self) -> int:
        if self._clock is not None:
            return self._clock.now_us()
        now_us: int = self._hot.rows(self._sql.now_us)[0][0]
        return now_us

    def wait(self, timeout_s: float) -> bool:
        if self._listens or timeout_s <= UNHEARD_POLL_S:
            return self._bell.wait(timeout_s)
        # Nobody tells of other processes' changes: whoever waits is sent to look now and then.
        self._bell.wait(UNHEARD_POLL_S)
        return True

    def nudge(self) -> None:
        self._bell.ring()

    def open(self) -> None:
        with self._opening:
            if self._channels is not None:
                return
            before = None if self._clock is None else self._set_time
            channels = tuple(Channel(self._connect, self._where, before) for _ in range(3))
            try:
                for channel in channels:
                    channel.open()
                prepare(channels[0], self._engine, self._where, self._schema)
            except BaseException:
                for channel in channels:
                    channel.close()
                raise
            self._channels = (channels[0], channels[1], channels[2])
            if self._listens:
                self._speaker = speaker = Speaker()
                channel_name = f"fluxo_{self._schema or 'public'}"
                self._listener = Listener(
                    lambda: NotifyLine(self._connect(), channel_name, speaker), self._bell, self._where
                )
                self._listener.start()

    def close(self) -> None:
        with self._opening:
            channels, self._channels = self._channels, None
            if self._listener is not None and self._speaker is not None:
                self._listener.stop()
                self._speaker.close()
                self._listener = self._speaker = None
            for channel in channels or ():
                channel.close()
        self._bell.ring()

    def _set_time(self, cursor: Cursor) -> None:
        """A given clock's time, for the statements of this session."""
        now_us = 0 if self._clock is None else self._clock.now_us()
        cursor.execute("SELECT set_config('fluxo.now_us', %b, false)", (str(now_us),))


def _engine_of(url: URL | str) -> Engine:
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise ConfigurationError("not a PostgreSQL URL; write postgresql://user@host/database") from error
    if parsed.drivername in ("postgres", "postgresql"):
        parsed = parsed.set(drivername="postgresql+psycopg")
    settings = {
        "connect_timeout": "5",
        "application_name": "fluxo",
        "keepalives_idle": "10",
        "keepalives_interval": "5",
        "keepalives_count": "3",
        "tcp_user_timeout": "15000",
    }
    return create_engine(parsed, poolclass=NullPool, connect_args={**settings, **parsed.query})
