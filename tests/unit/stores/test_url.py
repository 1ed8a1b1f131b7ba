"""
Opening a store by its URL.

Owns: what each URL leads to and what its errors say. Must not know how stores work.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import fluxo.stores
from fluxo.errors import ConfigurationError, StoreUnavailableError
from fluxo.stores import MemoryStore, open_store
from fluxo.stores.sql import PostgresStore, SqliteStore

ROOT = Path(__file__).parents[3]


class FixedClock:
    def now_us(self) -> int:
        return 42

    def monotonic_s(self) -> float:
        return 0.0


def test_memory_is_a_store_of_its_own_each_time() -> None:
    first, second = open_store("memory://"), open_store("memory://")
    assert isinstance(first, MemoryStore)
    assert first is not second


def test_the_scheme_may_be_written_in_capitals() -> None:
    assert isinstance(open_store("Memory://"), MemoryStore)


def test_a_store_keeps_the_clock_it_is_given() -> None:
    assert open_store("memory://", FixedClock()).now_us() == 42
    assert open_store("sqlite:///file.db", FixedClock()).now_us() == 42


def test_three_slashes_begin_a_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = open_store("sqlite:///orders.db")
    monkeypatch.chdir("/")
    store.open()
    store.close()
    assert (tmp_path / "orders.db").is_file(), "relative to where the store was made, not opened"


def test_four_slashes_begin_an_absolute_path(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path}/orders.db")
    store.open()
    store.close()
    assert (tmp_path / "orders.db").is_file()


def test_a_path_may_be_percent_encoded(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path}/my%20orders%3F.db")
    store.open()
    store.close()
    assert (tmp_path / "my orders?.db").is_file()


def test_opening_by_url_touches_nothing_yet(tmp_path: Path) -> None:
    assert isinstance(open_store(f"sqlite:///{tmp_path}/missing/orders.db"), SqliteStore)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "url, says",
    [
        ("", "must begin with one of memory://"),
        ("orders.db", "a bare path needs sqlite:/// before it"),
        ("sqlite://", "use memory://"),
        ("sqlite:///", "use memory://"),
        ("sqlite:///:memory:", "use memory://"),
        ("sqlite:///file:orders.db", "not a file: URI"),
        ("sqlite://orders.db", "names no host"),
        ("sqlite:///orders.db?mode=ro", "takes no parameters"),
        ("sqlite+aiosqlite:///orders.db", "Python's own sqlite3"),
        ("memory://orders", "takes no path"),
        ("postgresql+asyncpg://host/db", "through psycopg 3"),
        ("postgresql://host:port/db", "not a URL of PostgreSQL"),
        ("postgresql://host/db?listen=perhaps", "listen= in a store URL must be true or false"),
        ("postgresql://host/db?schema=a&schema=b", "schema= may stand once"),
        ("postgresql://host/db?schema=no-name", "must be a plain name"),
        ("redis://host:port", "not a URL of Redis"),
        ("mongodb://host:port/db", "not a URL of MongoDB"),
        ("mongodb://host/db?prefix=no-name", "must be a plain name"),
        ("redis://host/0?prefix=a&prefix=b", "prefix= may stand once"),
        ("redis://host/0?prefix=no-name", "must be a plain name"),
        ("redis://host/0?decode_responses=true", "without decode_responses"),
        ("mysql://host/db", "no store has the scheme 'mysql'; known are memory://"),
    ],
)
def test_a_url_that_names_no_store_is_refused_with_the_cure(url: str, says: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        open_store(url)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://ann:hunter2@host:x/db",
        "postgresql+asyncpg://ann:hunter2@host/db",
        "postgresql://ann:hunter2@host/db?listen=perhaps",
        "redis://ann:hunter2@host:x/0",
        "mongodb://ann:hunter2@host:x/db",
        "mysql://ann:hunter2@host/db",
        "sqlite://ann:hunter2@host/db",
        "memory://ann:hunter2@host",
        "ann:hunter2",
        "ann:hunter2@host://db",
    ],
)
def test_a_password_never_appears_in_an_error(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        open_store(url)
    assert "hunter2" not in str(caught.value)
    assert "ann" not in str(caught.value)


def test_a_url_of_postgresql_touches_nothing_yet() -> None:
    store = open_store("postgres://ann:hunter2@host.invalid/db?schema=orders&listen=false&sslmode=require")
    assert isinstance(store, PostgresStore)
    with pytest.raises(StoreUnavailableError, match=r"database db on host\.invalid: cannot be reached") as caught:
        store.open()
    assert "hunter2" not in str(caught.value)


def test_the_sql_stores_are_found_beside_the_others() -> None:
    assert {name: getattr(fluxo.stores, name).__name__ for name in fluxo.stores.__all__} == {
        "MemoryStore": "MemoryStore",
        "MongoStore": "MongoStore",
        "PostgresStore": "PostgresStore",
        "RedisStore": "RedisStore",
        "SqlStore": "SqlStore",
        "SqliteStore": "SqliteStore",
        "open_store": "open_store",
    }
    assert sorted(dir(fluxo.stores)) == sorted(fluxo.stores.__all__)
    assert not hasattr(fluxo.stores, "MysqlStore")


@pytest.mark.parametrize("module", ["fluxo.stores", "fluxo.stores.url", "fluxo.testing"])
def test_no_driver_is_loaded_before_its_scheme_is_asked_for(module: str) -> None:
    drivers = ["sqlite3", "sqlalchemy", "psycopg", "redis", "pymongo", "asyncio", "pytest", "hypothesis"]
    code = f"import sys, {module}; print([name for name in {drivers} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
    assert result.stdout.strip() == "[]"
