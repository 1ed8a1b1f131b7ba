"""
Opening a SQLite database: the file, the connections, the settings, the schema.

Owns: what is checked before the first write and what is verified before the store says it is open. Must not know
the store's methods. Nothing is written to a file that is not ours; N processes may open an empty file at once.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import sys
from contextlib import suppress
from typing import Any, Final, Literal

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from fluxo.errors import SchemaVersionError, StoreUnavailableError
from fluxo.stores.sql.schema import APPLICATION_ID, SCHEMA_VERSION, ddl
from fluxo.stores.sql.sqlite.database import Database, Reader, retrying
from fluxo.stores.sql.sqlite.errors import translated

__all__ = ["Synchronous", "create_private", "open_database"]

Synchronous = Literal["FULL", "NORMAL"]

_log = logging.getLogger("fluxo.stores")

_SYNCHRONOUS: Final = {"NORMAL": 1, "FULL": 2}
_CACHE_KIB: Final = 1_024
_WAL_KEPT_BYTES: Final = 64 * 1024 * 1024

_warned = False


def create_private(path: str) -> None:
    """
    Create the file for its owner alone if there is none; SQLite gives its -wal and -shm the same mode.

    Raises:
        StoreUnavailableError: the directory is missing or not writable, or the path is a directory.
    """
    directory = os.path.dirname(path)
    if not os.path.isdir(directory):
        raise StoreUnavailableError(path, f"the directory {directory} does not exist; create it or give another path")
    if os.path.isdir(path):
        raise StoreUnavailableError(path, "is a directory; give the path of a file in it")
    try:
        # Only ever a file that did not exist: closing a descriptor of a file that this process has open in SQLite
        # would drop SQLite's locks on it (POSIX).
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | getattr(os, "O_CLOEXEC", 0), 0o600)
    except FileExistsError:
        return
    except OSError as error:
        raise StoreUnavailableError(
            path, f"cannot be created ({error.strerror}); make its directory writable for this user"
        ) from error
    try:
        if hasattr(os, "fchmod"):
            os.fchmod(descriptor, 0o600)
    finally:
        os.close(descriptor)


def open_database(engine: Engine, where: str, synchronous: Synchronous, busy_s: float) -> Database:
    """
    Connect through `engine`, create or check the schema, and verify that commits are durable.

    Raises:
        StoreUnavailableError: cannot be reached or written, or cannot be set to be durable.
        SchemaVersionError: not a fluxo database, or made by a newer fluxo.
    """
    _warn_of_wal_reset()
    connections: list[sqlite3.Connection] = []
    try:
        writer = _connect(engine)
        connections.append(writer)
        retrying(lambda: _check_file(writer, where), busy_s)
        retrying(lambda: _enter_wal(writer, where), busy_s)
        retrying(lambda: _settle(writer, where, synchronous), busy_s)
        retrying(lambda: _create_schema(writer, engine, where), busy_s)
        for _ in range(2):
            connections.append(_connect(engine))
            retrying(lambda: _settle(connections[-1], where, synchronous), busy_s)
        _, hot, cold = connections
        return Database(where, writer, Reader(hot, where, busy_s), Reader(cold, where, busy_s), busy_s)
    except BaseException as error:
        for connection in connections:
            with suppress(sqlite3.Error):
                connection.close()
        if isinstance(error, sqlite3.Error):
            raise translated(error, where) from error
        if isinstance(error, SQLAlchemyError):
            raise StoreUnavailableError(where, f"the engine gave no connection ({error})") from error
        raise


def _connect(engine: Engine) -> sqlite3.Connection:
    pooled = engine.raw_connection()
    connection: Any = pooled.driver_connection
    # From here on it is ours: the pool neither resets nor reuses it.
    pooled.detach()
    connection.isolation_level = None
    connection.row_factory = None
    connection.text_factory = str
    driver_connection: sqlite3.Connection = connection
    driver_connection.execute("PRAGMA busy_timeout = 0")
    return driver_connection


def _check_file(connection: sqlite3.Connection, where: str) -> None:
    """`_check_ours` on one snapshot: another process may be making the schema at this very moment."""
    connection.execute("BEGIN")
    try:
        _check_ours(connection, where)
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _check_ours(connection: sqlite3.Connection, where: str) -> int:
    """The schema version of the file, 0 if it is empty; writes nothing."""
    application_id = _pragma(connection, "application_id")
    version = _pragma(connection, "user_version")
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if application_id == 0 and version == 0 and tables == 0:
        return 0
    if application_id != APPLICATION_ID:
        raise SchemaVersionError(where, "the database belongs to another application; give fluxo a file of its own")
    if version > SCHEMA_VERSION:
        raise SchemaVersionError(
            where,
            f"the database has schema {version}, this fluxo knows up to {SCHEMA_VERSION}; install the newer fluxo",
        )
    row = connection.execute("SELECT schema_version FROM fluxo_meta").fetchone()
    if row is None or row[0] != version:
        raise SchemaVersionError(where, "the database's two schema versions do not agree; restore it from a backup")
    return int(version)


def _enter_wal(connection: sqlite3.Connection, where: str) -> None:
    mode = _pragma(connection, "journal_mode = WAL")
    if mode != "wal":
        # Without the shared memory that WAL needs, as on some network file systems.
        raise StoreUnavailableError(
            where, f"cannot use a write-ahead log (journal_mode is {mode}); put the file on a local disk"
        )


def _settle(connection: sqlite3.Connection, where: str, synchronous: Synchronous) -> None:
    for setting in (
        f"synchronous = {synchronous}",
        "trusted_schema = OFF",
        "temp_store = MEMORY",
        "mmap_size = 0",
        f"cache_size = -{_CACHE_KIB}",
        f"journal_size_limit = {_WAL_KEPT_BYTES}",
    ):
        connection.execute(f"PRAGMA {setting}").fetchall()
    if sys.platform == "darwin":
        # fsync there does not reach the platter.
        connection.execute("PRAGMA fullfsync = ON").fetchall()
        connection.execute("PRAGMA checkpoint_fullfsync = ON").fetchall()
    if _pragma(connection, "synchronous") != _SYNCHRONOUS[synchronous]:
        raise StoreUnavailableError(
            where, f"did not accept synchronous = {synchronous}; without it a power cut loses acknowledged events"
        )


def _create_schema(connection: sqlite3.Connection, engine: Engine, where: str) -> None:
    """Bring the schema up to date; also proves that the file can be written."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Looked at again under the lock: another process may have been first.
        version = _check_ours(connection, where)
        for statement in ddl(engine.dialect, version):
            connection.execute(statement)
        if version < SCHEMA_VERSION:
            connection.execute("INSERT OR REPLACE INTO fluxo_meta VALUES (1, ?)", (SCHEMA_VERSION,))
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        # A read-only database lets a write transaction begin; a statement that may write it refuses.
        connection.execute("DELETE FROM fluxo_meta WHERE 0")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _pragma(connection: sqlite3.Connection, name: str) -> Any:
    return connection.execute(f"PRAGMA {name}").fetchone()[0]


def _warn_of_wal_reset() -> None:
    global _warned
    version = sqlite3.sqlite_version_info
    fixed = version >= (3, 51, 3) or (3, 50, 7) <= version < (3, 51) or (3, 44, 6) <= version < (3, 45)
    if not fixed and not _warned:
        _warned = True
        _log.warning(
            "SQLite %s has the WAL-reset bug: while several connections write one database it can, very rarely, be "
            "damaged. Use SQLite 3.51.3 or later (or 3.50.7, 3.44.6).",
            sqlite3.sqlite_version,
        )
