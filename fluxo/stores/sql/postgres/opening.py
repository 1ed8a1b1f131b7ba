"""
Opening a PostgreSQL database: the settings of a connection, the checks, the schema.

Owns: what is verified before the store says it is open. Must not know the store's methods. Any number of processes
may open an empty database at once: a lock of the server lets one make the schema, and each statement of it may be run
again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final, cast

import psycopg
from psycopg.types.numeric import Int8BinaryDumper
from psycopg.types.string import StrBinaryDumper
from sqlalchemy import Engine, MetaData
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from fluxo.errors import SchemaVersionError, StoreUnavailableError
from fluxo.stores.sql.postgres.connection import Channel, Connection, Cursor
from fluxo.stores.sql.schema import SCHEMA_VERSION, ddl, metadata

__all__ = ["MIN_SERVER_VERSION", "connector", "prepare"]

MIN_SERVER_VERSION: Final = 130_000
_LOCK: Final = 0x666C_786F
"""Of `pg_advisory_xact_lock`: "flxo". Taken for the transaction, so that it works through a pooler too."""
_SESSION: Final = {
    "synchronous_commit": "on",
    "statement_timeout": "30s",
    "lock_timeout": "5s",
    "idle_in_transaction_session_timeout": "10s",
    "default_transaction_isolation": "read committed",
    "jit": "off",
    # The only plans that stay right while an empty table grows to millions of rows under a prepared statement.
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
}
_log = logging.getLogger("fluxo.stores")


def connector(engine: Engine, where: str, *, pooled: bool) -> Callable[[], Connection]:
    """
    What makes a connection: taken from `engine`, out of its pool for good, set up for us.

    `pooled`: behind a pooler that gives each transaction another session, settings and prepared statements of a
    session mean nothing.
    """

    def connect() -> Connection:
        try:
            taken = engine.raw_connection()
            connection: Any = taken.driver_connection
            taken.detach()
            if not isinstance(connection, psycopg.Connection):
                raise StoreUnavailableError(where, "the engine's driver must be psycopg 3: postgresql+psycopg://…")
            return _settled(cast("Connection", connection), pooled=pooled)
        except (SQLAlchemyError, psycopg.Error) as error:
            reason = str(error.orig if isinstance(error, DBAPIError) else error).strip().partition("\n")[0]
            raise StoreUnavailableError(where, f"cannot be reached ({reason or 'no reason given'})") from error

    return connect


def _settled(connection: Connection, *, pooled: bool) -> Connection:
    connection.rollback()
    connection.autocommit = True
    connection.prepare_threshold = None if pooled else 2
    # One type per kind of value, so that one statement is prepared and not one per width of a number.
    connection.adapters.register_dumper(int, Int8BinaryDumper)
    connection.adapters.register_dumper(str, StrBinaryDumper)
    if not pooled:
        settings = ", ".join(f"set_config('{name}', '{value}', false)" for name, value in _SESSION.items())
        connection.execute(f"SELECT {settings}".encode())
    return connection


def prepare(channel: Channel, engine: Engine, where: str, schema: str | None) -> None:
    """
    Check the server and bring the schema up to date.

    Raises:
        StoreUnavailableError: a standby, too old, or this user may not make tables.
        SchemaVersionError: made by a newer fluxo.
    """

    def work(cursor: Cursor) -> list[str]:
        warnings = _check_server(cursor, where)
        cursor.execute("SELECT pg_advisory_xact_lock(%b)", (_LOCK,))
        if schema is not None and not _one(cursor, "SELECT to_regnamespace(%b)::text", (f'"{schema}"',)):
            cursor.execute(f'CREATE SCHEMA IF NOT EXISTS "{schema}"')
        prefix = "" if schema is None else f'"{schema}".'
        version = _version(cursor, prefix, where)
        for statement in ddl(engine.dialect, version, _metadata_in(schema)):
            cursor.execute(statement)
        if version < SCHEMA_VERSION:
            cursor.execute(
                f"INSERT INTO {prefix}fluxo_meta (only_row, schema_version) VALUES (1, %b) "
                "ON CONFLICT (only_row) DO UPDATE SET schema_version = excluded.schema_version",
                (SCHEMA_VERSION,),
            )
        return warnings

    for warning in channel.transaction(work):
        _log.warning("%s: %s", where, warning)


def _metadata_in(schema: str | None) -> MetaData:
    if schema is None:
        return metadata
    copy = MetaData()
    for table in metadata.sorted_tables:
        table.to_metadata(copy, schema=schema)
    return copy


def _check_server(cursor: Cursor, where: str) -> list[str]:
    version = int(_one(cursor, "SELECT current_setting('server_version_num')"))
    if version < MIN_SERVER_VERSION:
        raise StoreUnavailableError(where, f"is PostgreSQL {version // 10_000}; fluxo needs 13 or later")
    if _one(cursor, "SELECT pg_is_in_recovery()"):
        raise StoreUnavailableError(where, "is a standby; give the URL of the primary")
    if _one(cursor, "SELECT current_setting('synchronous_commit')") == "off":
        raise StoreUnavailableError(
            where, "has synchronous_commit = off: a crash would lose acknowledged events; set it on for this user"
        )
    unsafe = [name for name in ("fsync", "full_page_writes") if _one(cursor, f"SHOW {name}") == "off"]
    return [f"{name} is off: a power cut can damage the whole database" for name in unsafe]


def _version(cursor: Cursor, prefix: str, where: str) -> int:
    if _one(cursor, "SELECT to_regclass(%b)::text", (f"{prefix}fluxo_meta",)) is None:
        return 0
    version = int(_one(cursor, f"SELECT coalesce(max(schema_version), 0) FROM {prefix}fluxo_meta"))
    if version > SCHEMA_VERSION:
        raise SchemaVersionError(
            where,
            f"the database has schema {version}, this fluxo knows up to {SCHEMA_VERSION}; install the newer fluxo",
        )
    return version


def _one(cursor: Cursor, statement: str, parameters: tuple[Any, ...] = ()) -> Any:
    row = cursor.execute(statement, parameters).fetchone()
    return None if row is None else row[0]
