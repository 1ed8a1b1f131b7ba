"""
The PostgreSQL store keeps the contract.

Owns: the suite's run over `PostgresStore` on a real server, each store in a schema of its own. Must not know the
contract.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import create_engine, make_url, text

from fluxo.store import Store
from fluxo.stores.sql import SqlStore
from fluxo.stores.sql.postgres import PostgresStore
from fluxo.testing import DurableStoreConformance
from fluxo.testing.conformance.durable import DurableConformance
from fluxo.testing.conformance.waiting import WaitConformance
from tests.conformance.places import NamedPlaces
from tests.servers import postgres_url


class PostgresPlaces(NamedPlaces):
    version = 18

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
