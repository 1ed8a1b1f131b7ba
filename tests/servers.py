"""
The database servers of one test run.

Owns: starting each at most once, when the first test asks for it. Must not know stores. They end with this process.
"""

from __future__ import annotations

import threading
from functools import cache
from itertools import count

import redis

from fluxo.testing.servers import MongoServer, PostgresServer, RedisServer

__all__ = ["SERVERS", "mongo_url", "postgres_url", "redis_cluster_ports", "redis_url", "url_of_its_own"]

SERVERS = ("postgresql", "redis", "mongodb")
_numbers = count()


@cache
def postgres_url(version: int | None = None) -> str:
    """Where the PostgreSQL of this run is; of a version, or whichever there is."""
    server = PostgresServer(version=version)
    server.start()
    return server.url


@cache
def redis_url() -> str:
    """Where the Redis of this run is."""
    server = RedisServer()
    server.start()
    return server.url


@cache
def redis_cluster_ports() -> list[int]:
    """The ports of a cluster of three nodes, which share all slots."""
    nodes = [RedisServer(cluster=True, settings={"cluster-node-timeout": "5000"}) for _ in range(3)]
    for node in nodes:
        node.start()
    slots = 16_384
    clients = [redis.Redis(port=node.port) for node in nodes]
    for n, client in enumerate(clients):
        client.execute_command("CLUSTER", "ADDSLOTS", *range(n * slots // 3, (n + 1) * slots // 3))
        client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", n + 1)
    for client in clients[1:]:
        client.execute_command("CLUSTER", "MEET", "127.0.0.1", nodes[0].port)
    patience = threading.Event()
    for client in clients:
        for _ in range(500):
            if client.cluster("INFO")["cluster_state"] == "ok" and client.cluster("INFO")["cluster_known_nodes"] == "3":
                break
            patience.wait(0.02)
        else:
            raise AssertionError(f"the cluster did not come up: {client.cluster('INFO')}")
        client.close()
    return [node.port for node in nodes]


@cache
def mongo_url() -> str:
    """Where the MongoDB of this run is."""
    server = MongoServer()
    server.start()
    return server.url


def url_of_its_own(product: str, at: str | None = None) -> str:
    """A place that no other store of this run uses, on the run's server or on another one."""
    number = next(_numbers)
    if product == "postgresql":
        return f"{at or postgres_url()}?schema=place_{number}"
    if product == "redis":
        return f"{at or redis_url()}?prefix=place_{number}"
    return f"{at or mongo_url()}&prefix=place_{number}"
