"""
The MongoDB store keeps the contract.

Owns: the suite's run over `MongoStore` on a real server, each store under a prefix of its own. Must not know the
contract.
"""

from __future__ import annotations

from itertools import count

import pytest

from fluxo.store import Store
from fluxo.stores.mongo import MongoStore
from fluxo.testing import DurableStoreConformance
from tests.servers import mongo_url

prefixes = count()


class TestMongoStore(DurableStoreConformance):
    @pytest.fixture(autouse=True)
    def _prefixes(self) -> None:
        self.prefix_of: dict[int, str] = {}

    def make_store(self) -> Store:
        return self.store_under(f"conformance_{next(prefixes)}")

    def reopen(self, store: Store) -> Store:
        return self.store_under(self.prefix_of[id(store)])

    def store_under(self, prefix: str) -> Store:
        store = MongoStore(mongo_url(), prefix=prefix)
        self.prefix_of[id(store)] = prefix
        return store
