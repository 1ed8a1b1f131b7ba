"""
The tables of a fluxo database and their versions.

Owns: names, columns, indexes, and the numbered steps that lead from an empty database to the current
schema. Must not know connections. Every name begins with ``fluxo_``. Text ids stand in `fluxo_runs` alone; all
other tables use the integer key, which is never used again. `fluxo_events` has no secondary index, and the
indexes of `fluxo_runs` are partial: a run that its own process starts, never parks and ends touches one of them.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.schema import CreateIndex, CreateTable

__all__ = [
    "APPLICATION_ID",
    "ENDED_SQL",
    "OPEN_SQL",
    "READY_SQL",
    "SCHEMA_VERSION",
    "TIMER_SQL",
    "ddl",
    "metadata",
    "runs",
]

APPLICATION_ID: Final = 0x666C786F
"""`PRAGMA application_id` of a SQLite file that is ours: "flxo"."""

SCHEMA_VERSION: Final = 1

OPEN_SQL: Final = "status IN ('pending', 'running', 'waiting')"
ENDED_SQL: Final = "status IN ('cancelled', 'completed', 'failed')"
READY_SQL: Final = (
    f"owner IS NULL AND {OPEN_SQL} AND CASE status WHEN 'pending' THEN wake_at_us IS NULL ELSE delivered > consumed END"
)
"""Unowned and due whatever the time is."""
TIMER_SQL: Final = f"owner IS NULL AND {OPEN_SQL} AND wake_at_us IS NOT NULL"
"""Unowned and due at a time. Queries repeat these texts word for word, or the planner cannot use the index."""

_OWNED_SQL: Final = "owner IS NOT NULL"
_PURGING_SQL: Final = "purging = 1"
_UNCONSUMED_SQL: Final = "consumed_seq IS NULL"

metadata = MetaData()

_KEY = BigInteger().with_variant(Integer, "sqlite")

meta = Table(
    "fluxo_meta",
    metadata,
    Column("only_row", Integer, primary_key=True, autoincrement=False),
    Column("schema_version", Integer, nullable=False),
)

runs = Table(
    "fluxo_runs",
    metadata,
    Column("key", _KEY, primary_key=True),
    Column("namespace", Text, nullable=False),
    Column("run_id", Text, nullable=False),
    Column("workflow", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("queue", Text, nullable=False),
    Column("shard", Integer, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("wake_at_us", BigInteger),
    Column("delivered", BigInteger, nullable=False),
    Column("consumed", BigInteger, nullable=False),
    Column("owner", Text),
    Column("nonce", BigInteger, nullable=False),
    Column("base_seq", BigInteger, nullable=False),
    Column("tail_seq", BigInteger, nullable=False),
    Column("tail_digest", BigInteger, nullable=False),
    Column("input_digest", LargeBinary, nullable=False),
    Column("created_at_us", BigInteger, nullable=False),
    Column("updated_at_us", BigInteger, nullable=False),
    Column("purging", Integer, nullable=False, server_default=text("0")),
    UniqueConstraint("namespace", "run_id"),
    sqlite_autoincrement=True,
)

Index(
    "fluxo_runs_ready",
    runs.c.namespace,
    runs.c.priority.desc(),
    sqlite_where=text(READY_SQL),
    postgresql_where=text(READY_SQL),
)
Index(
    "fluxo_runs_timers",
    runs.c.namespace,
    runs.c.wake_at_us,
    sqlite_where=text(TIMER_SQL),
    postgresql_where=text(TIMER_SQL),
)
Index("fluxo_runs_owned", runs.c.owner, sqlite_where=text(_OWNED_SQL), postgresql_where=text(_OWNED_SQL))
Index("fluxo_runs_purging", runs.c.purging, sqlite_where=text(_PURGING_SQL), postgresql_where=text(_PURGING_SQL))

Table(
    "fluxo_events",
    metadata,
    Column("run", BigInteger, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("nonce", BigInteger, nullable=False),
    Column("digest", BigInteger, nullable=False),
    Column("body", LargeBinary, nullable=False),
    UniqueConstraint("run", "seq"),
)

inbox = Table(
    "fluxo_inbox",
    metadata,
    Column("run", BigInteger, nullable=False),
    Column("n", BigInteger, nullable=False),
    Column("kind", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("dedup_key", Text, nullable=False),
    Column("payload", LargeBinary),
    Column("at_us", BigInteger, nullable=False),
    Column("consumed_seq", BigInteger),
    UniqueConstraint("run", "dedup_key"),
)

Index(
    "fluxo_inbox_unconsumed",
    inbox.c.run,
    inbox.c.n,
    sqlite_where=text(_UNCONSUMED_SQL),
    postgresql_where=text(_UNCONSUMED_SQL),
)

Table(
    "fluxo_workers",
    metadata,
    Column("worker_id", Text, primary_key=True),
    Column("namespace", Text, nullable=False),
    Column("label", Text, nullable=False),
    Column("host", Text, nullable=False),
    Column("pid", BigInteger, nullable=False),
    Column("pid_started", BigInteger, nullable=False),
    Column("beat", BigInteger, nullable=False),
)


def ddl(dialect: Dialect, from_version: int, of: MetaData = metadata) -> list[str]:
    """
    The statements that lead from `from_version` (0: nothing there) to SCHEMA_VERSION.

    Each may be run again: what stands already is left as it is.
    """
    if from_version >= SCHEMA_VERSION:
        return []
    statements: list[str] = []
    for table in of.sorted_tables:
        statements.append(str(CreateTable(table, if_not_exists=True).compile(dialect=dialect)))
        # The order of a table's index set is not fixed; that of the DDL should be.
        indexes = sorted(table.indexes, key=lambda index: str(index.name))
        statements += [str(CreateIndex(index, if_not_exists=True).compile(dialect=dialect)) for index in indexes]
    return statements
