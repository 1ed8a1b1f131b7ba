"""
Opening a SQLite database.

Owns: which files are taken, which are refused untouched, and what is set and verified. Must not repeat the
conformance suite.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import types
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine

from fluxo.errors import ConfigurationError, SchemaVersionError, StoreUnavailableError
from fluxo.stores.sql import SqliteStore, SqlStore
from fluxo.stores.sql.schema import APPLICATION_ID, SCHEMA_VERSION
from fluxo.stores.sql.sqlite import opening
from fluxo.testing.conformance.suite import Activation, new_run
from tests.unit.stores.faulty import Faults

GOLDEN = Path(__file__).parent / "schema_1.sql"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "orders.db"


def made(path: Path) -> Path:
    """A database of ours with one run in it."""
    with closing(SqliteStore(path)) as store:
        store.open()
        Activation.of_new(store, new_run())
    return path


def changed(path: Path, *statements: str) -> Path:
    with closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()
    return path


def refused(path: Path, error: type[Exception]) -> str:
    """The message with which the store refuses the file, which must stay as it is."""
    before = path.read_bytes()
    store = SqliteStore(path)
    with pytest.raises(error) as caught:
        store.open()
    store.close()
    assert path.read_bytes() == before, "a refused file must not be written"
    assert [found.name for found in path.parent.iterdir()] == [path.name]
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_a_new_file_is_ours_and_of_this_schema(path: Path) -> None:
    made(path)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
        assert connection.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)
        assert connection.execute("SELECT * FROM fluxo_meta").fetchall() == [(1, SCHEMA_VERSION)]
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_schema_1_is_what_it_always_was(path: Path) -> None:
    # Databases of this schema exist: whoever changes it adds a numbered step instead.
    made(path)
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT sql FROM sqlite_master WHERE sql NOT NULL ORDER BY name").fetchall()
    lines = [" ".join(line.split()) for (sql,) in rows for line in sql.splitlines()]
    assert "\n".join(lines) + "\n" == GOLDEN.read_text("utf-8")


def test_an_existing_empty_file_is_taken_with_the_mode_it_has(path: Path) -> None:
    path.touch()
    path.chmod(0o640)
    made(path)
    assert path.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777])
def test_a_new_file_is_its_owners_alone_whatever_the_umask(path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        with closing(SqliteStore(path)) as store:
            store.open()
            Activation.of_new(store, new_run())
            modes = {found.name: found.stat().st_mode & 0o777 for found in path.parent.iterdir()}
    finally:
        os.umask(before)
    assert modes == {"orders.db": 0o600, "orders.db-wal": 0o600, "orders.db-shm": 0o600}


def test_closing_leaves_nothing_but_the_file(path: Path) -> None:
    made(path)
    assert [found.name for found in path.parent.iterdir()] == ["orders.db"]


def test_a_file_that_is_no_database_is_refused(path: Path) -> None:
    path.write_text("not a database, but long enough to be taken for one" * 100)
    assert "not a SQLite database" in refused(path, SchemaVersionError)


def test_a_database_of_another_application_is_refused(path: Path) -> None:
    changed(path, "CREATE TABLE theirs (x)")
    assert "belongs to another application" in refused(path, SchemaVersionError)


@pytest.mark.parametrize("pragma", ["application_id = 7", "user_version = 7"])
def test_an_empty_database_that_somebody_marked_is_refused(path: Path, pragma: str) -> None:
    changed(path, f"PRAGMA {pragma}")
    assert "belongs to another application" in refused(path, SchemaVersionError)


def test_a_newer_schema_is_refused(path: Path) -> None:
    changed(made(path), f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    assert "install the newer fluxo" in refused(path, SchemaVersionError)


def test_schema_versions_that_do_not_agree_are_refused(path: Path) -> None:
    changed(made(path), "UPDATE fluxo_meta SET schema_version = 99")
    assert "do not agree" in refused(path, SchemaVersionError)


def test_a_database_without_its_version_row_is_refused(path: Path) -> None:
    changed(made(path), "DELETE FROM fluxo_meta")
    assert "do not agree" in refused(path, SchemaVersionError)


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailableError) as caught:
        SqliteStore(tmp_path / "missing" / "orders.db").open()
    assert f"the directory {tmp_path}/missing does not exist; create it" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_directory_is_not_a_file(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailableError, match="is a directory; give the path of a file in it"):
        SqliteStore(tmp_path).open()


def test_a_path_that_cannot_be_created_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailableError, match="cannot be created"):
        SqliteStore(tmp_path / ("x" * 300)).open()


@pytest.mark.parametrize("journal_mode", ["WAL", "DELETE"])
def test_a_read_only_database_is_refused(path: Path, journal_mode: str) -> None:
    changed(made(path), f"PRAGMA journal_mode = {journal_mode}")
    engine = create_engine(f"sqlite:///file:{path}?mode=ro&uri=true")
    store = SqlStore(engine)
    with pytest.raises(StoreUnavailableError, match="is read-only; make the file and its directory writable"):
        store.open()
    engine.dispose()


@pytest.mark.parametrize("given", ["", ":memory:", "file:orders.db", "nul\0"])
def test_what_is_no_path_of_a_file_is_refused_at_once(given: str) -> None:
    with pytest.raises(ConfigurationError):
        SqliteStore(given)


def test_an_unknown_synchronous_is_refused_at_once(path: Path) -> None:
    off: Any = "OFF"
    with pytest.raises(ConfigurationError, match="'FULL' or 'NORMAL', not 'OFF'"):
        SqliteStore(path, synchronous=off)


@pytest.fixture
def faults() -> Faults:
    return Faults()


@pytest.mark.parametrize("synchronous, value", [("FULL", 2), ("NORMAL", 1)])
def test_every_connection_has_the_settings_that_were_promised(
    faults: Faults, path: Path, synchronous: Any, value: int
) -> None:
    engine = faults.engine(path)
    with closing(SqlStore(engine, synchronous=synchronous)) as store:
        store.open()
        assert len(faults.connections) == 3
        for connection in faults.connections:
            settings = {
                name: connection.execute(f"PRAGMA {name}").fetchone()[0]
                for name in ("synchronous", "busy_timeout", "trusted_schema", "mmap_size", "journal_mode")
            }
            assert settings == {
                "synchronous": value,
                "busy_timeout": 0,
                "trusted_schema": 0,
                "mmap_size": 0,
                "journal_mode": "wal",
            }
    engine.dispose()


def test_a_database_that_will_not_be_durable_is_refused(path: Path) -> None:
    class Careless(sqlite3.Connection):
        def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
            return super().execute("SELECT 1" if sql == "PRAGMA synchronous = FULL" else sql, parameters)

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            super().execute("PRAGMA synchronous = NORMAL")

    engine = create_engine(f"sqlite:///{path}", connect_args={"factory": Careless})
    with pytest.raises(StoreUnavailableError, match="did not accept synchronous = FULL"):
        SqlStore(engine).open()
    engine.dispose()


def test_a_database_that_cannot_have_a_write_ahead_log_is_refused(path: Path) -> None:
    class WithoutWal(sqlite3.Connection):
        def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
            return super().execute("SELECT 'delete'" if sql == "PRAGMA journal_mode = WAL" else sql, parameters)

    engine = create_engine(f"sqlite:///{path}", connect_args={"factory": WithoutWal})
    with pytest.raises(StoreUnavailableError, match="put the file on a local disk"):
        SqlStore(engine).open()
    engine.dispose()


def test_a_store_that_failed_to_open_can_be_opened_later(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "later" / "orders.db")
    with pytest.raises(StoreUnavailableError):
        store.open()
    (tmp_path / "later").mkdir()
    store.open()
    store.close()
    assert (tmp_path / "later" / "orders.db").is_file()


def test_an_engine_that_was_handed_in_stays_usable(path: Path) -> None:
    engine = create_engine(f"sqlite:///{path}")
    with closing(SqlStore(engine)) as store:
        store.open()
        Activation.of_new(store, new_run())
        with engine.connect() as connection:
            assert connection.exec_driver_sql("SELECT count(*) FROM fluxo_runs").scalar() == 1
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM fluxo_runs").scalar() == 1
    engine.dispose()


def test_an_engine_that_leads_nowhere_is_unavailable(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path}/missing/orders.db")
    with pytest.raises(StoreUnavailableError, match="cannot be opened; check that its directory exists"):
        SqlStore(engine).open()
    engine.dispose()


def test_an_engine_without_a_connection_to_spare_is_unavailable(path: Path) -> None:
    engine = create_engine(f"sqlite:///{path}", pool_size=1, max_overflow=0, pool_timeout=0)
    with engine.connect(), pytest.raises(StoreUnavailableError, match="the engine gave no connection"):
        SqlStore(engine).open()
    engine.dispose()


def test_an_engine_of_another_dialect_is_refused() -> None:
    engine: Any = types.SimpleNamespace(dialect=types.SimpleNamespace(name="oracle"))
    with pytest.raises(ConfigurationError, match="the dialects sqlite and postgresql in this version, not oracle"):
        SqlStore(engine)
    with pytest.raises(ConfigurationError, match="needs an engine of sqlite, not of postgresql"):
        SqliteStore(create_engine("postgresql+psycopg://localhost/any"))


def test_an_engine_in_memory_is_refused() -> None:
    engine = create_engine("sqlite://")
    with pytest.raises(ConfigurationError, match="use memory://"):
        SqlStore(engine)
    engine.dispose()


@pytest.fixture
def not_warned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "_warned", False)


@pytest.mark.usefixtures("not_warned")
@pytest.mark.parametrize(
    "version, warnings",
    [
        ((3, 40, 1), 1),
        ((3, 44, 5), 1),
        ((3, 44, 6), 0),
        ((3, 45, 0), 1),
        ((3, 50, 6), 1),
        ((3, 50, 7), 0),
        ((3, 51, 2), 1),
        ((3, 51, 3), 0),
        ((3, 52, 0), 0),
    ],
)
def test_the_wal_reset_bug_is_warned_of_once(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    version: tuple[int, int, int],
    warnings: int,
) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", version)
    with caplog.at_level(logging.WARNING, "fluxo.stores"):
        for name in "ab":
            made(tmp_path / name)
    assert len(caplog.records) == warnings
    assert all("Use SQLite 3.51.3 or later" in record.getMessage() for record in caplog.records)
