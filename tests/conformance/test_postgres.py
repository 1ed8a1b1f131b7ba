"""
The PostgreSQL store keeps the contract.

Owns: the suite's run over `PostgresStore` on a real server, each store in a schema of its own. Must not know the
contract.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import pytest
from sqlalchemy import create_engine, make_url, text

from fluxo.store import Store
from fluxo.stores.sql import SqlStore
from fluxo.stores.sql.postgres import PostgresStore
from fluxo.testing import DurableStoreConformance
from fluxo.testing.conformance.durable import DurableConformance
from fluxo.testing.conformance.waiting import WaitConformance
from tests.servers import postgres_url

schemas = count()


class PostgresPlaces:
    version = 18

    @pytest.fixture(autouse=True)
    def _schemas(self) -> None:
        self.schema_of: dict[int, str] = {}

    def make_store(self) -> Store:
        return self.store_in(f"conformance_{next(schemas)}")

    def reopen(self, store: Store) -> Store:
        return self.store_in(self.schema_of[id(store)])

    def store_in(self, schema: str) -> Store:
        store = self.store_of(schema)
        self.schema_of[id(store)] = schema
        return store

    def store_of(self, schema: str) -> Store:
        return PostgresStore(postgres_url(self.version), schema=schema)


class TestPostgres18(PostgresPlaces, DurableStoreConformance):
    """The newest version."""


class TestPostgres16(PostgresPlaces, DurableStoreConformance):
    """An older version, as a pooler sees it: nothing prepared, no settings of a session, nothing listened for."""

    version = 16

    def store_of(self, schema: str) -> Store:
        return PostgresStore(postgres_url(self.version), schema=schema, pooled=True)


class TestSqlStoreOnPostgres(PostgresPlaces, WaitConformance, DurableConformance):
    """An engine that was handed in: its pool goes on serving its owner."""

    @pytest.fixture(autouse=True)
    def _engine(self) -> Iterator[None]:
        self.engine = create_engine(make_url(postgres_url(self.version)).set(drivername="postgresql+psycopg"))
        yield
        with self.engine.connect() as connection:
            assert connection.execute(text("SELECT 1")).scalar() == 1
        self.engine.dispose()

    def store_of(self, schema: str) -> Store:
        return SqlStore(self.engine, schema=schema)
