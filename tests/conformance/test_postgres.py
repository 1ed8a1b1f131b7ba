"""
The PostgreSQL store keeps the contract.

Owns: the suite's run over `PostgresStore` on a real server, each store in a schema of its own. Must not know the
contract.
"""

from __future__ import annotations

from itertools import count

import pytest

from fluxo.store import Store
from fluxo.stores.sql.postgres import PostgresStore
from fluxo.testing import DurableStoreConformance
from tests.servers import postgres_url

schemas = count()


class TestPostgresStore(DurableStoreConformance):
    @pytest.fixture(autouse=True)
    def _schemas(self) -> None:
        self.schema_of: dict[int, str] = {}

    def make_store(self) -> Store:
        return self.store_in(f"conformance_{next(schemas)}")

    def reopen(self, store: Store) -> Store:
        return self.store_in(self.schema_of[id(store)])

    def store_in(self, schema: str) -> Store:
        store = PostgresStore(postgres_url(), schema=schema)
        self.schema_of[id(store)] = schema
        return store
