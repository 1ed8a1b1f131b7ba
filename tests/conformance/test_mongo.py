"""
The MongoDB store keeps the contract.

Owns: the suite's run over `MongoStore` on a real server, each store under a prefix of its own. Must not know the
contract.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pymongo import MongoClient

from fluxo.store import Store
from fluxo.stores.mongo import MongoStore
from fluxo.testing import DurableStoreConformance
from fluxo.testing.conformance.durable import DurableConformance
from fluxo.testing.conformance.waiting import WaitConformance
from tests.conformance.places import NamedPlaces
from tests.servers import mongo_url


class MongoPlaces(NamedPlaces):
    def store_of(self, prefix: str) -> Store:
        return MongoStore(mongo_url(), prefix=prefix)


class TestMongoStore(MongoPlaces, DurableStoreConformance):
    """By URL."""


class TestMongoStoreOnAClient(MongoPlaces, WaitConformance, DurableConformance):
    """A client that was handed in is left open, and serves one store after the other."""

    @pytest.fixture(autouse=True)
    def _client(self) -> Iterator[None]:
        self.client: MongoClient[dict[str, Any]] = MongoClient(mongo_url(), tz_aware=True)
        yield
        assert self.client.admin.command("ping")["ok"] == 1
        self.client.close()

    def store_of(self, prefix: str) -> Store:
        return MongoStore(self.client, prefix=prefix, database="handed_in")
