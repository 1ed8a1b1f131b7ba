"""
The Redis store keeps the contract.

Owns: the suite's run over `RedisStore` on a real server, each store under a prefix of its own. Must not know the
contract.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis
from redis.cluster import ClusterNode, RedisCluster

from fluxo.store import Store
from fluxo.stores.redis import RedisStore
from fluxo.testing import DurableStoreConformance
from tests.conformance.places import NamedPlaces
from tests.servers import redis_cluster_ports, redis_url


class TestRedisStore(NamedPlaces, DurableStoreConformance):
    def store_of(self, prefix: str) -> Store:
        return RedisStore(redis_url(), prefix=prefix)


class TestRedisStoreOnAClient(TestRedisStore):
    """A client that was handed in is left open, and serves one store after the other."""

    @pytest.fixture(autouse=True)
    def _client(self) -> Iterator[None]:
        self.client = redis.Redis.from_url(redis_url())
        yield
        assert self.client.ping()
        self.client.close()

    def store_of(self, prefix: str) -> Store:
        return RedisStore(self.client, prefix=prefix)


class TestRedisStoreOnACluster(TestRedisStore):
    """Three nodes: each shard's keys lie on one of them."""

    @pytest.fixture(autouse=True)
    def _cluster(self) -> Iterator[None]:
        self.cluster = RedisCluster(startup_nodes=[ClusterNode("127.0.0.1", port) for port in redis_cluster_ports()])
        yield
        self.cluster.close()

    def store_of(self, prefix: str) -> Store:
        return RedisStore(self.cluster, prefix=prefix)
