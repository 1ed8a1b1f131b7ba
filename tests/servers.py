"""
The database servers of one test run.

Owns: starting each at most once, when the first test asks for it. Must not know stores. They end with this process.
"""

from __future__ import annotations

from functools import cache

from fluxo.testing.servers import MongoServer, PostgresServer, RedisServer

__all__ = ["mongo_url", "postgres_url", "redis_url"]


@cache
def postgres_url() -> str:
    """Where the PostgreSQL of this run is."""
    server = PostgresServer()
    server.start()
    return server.url


@cache
def redis_url() -> str:
    """Where the Redis of this run is."""
    server = RedisServer()
    server.start()
    return server.url


@cache
def mongo_url() -> str:
    """Where the MongoDB of this run is."""
    server = MongoServer()
    server.start()
    return server.url
