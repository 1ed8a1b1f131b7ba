"""
The database servers of one test run.

Owns: starting each at most once, when the first test asks for it. Must not know stores. They end with this process.
"""

from __future__ import annotations

from functools import cache
from itertools import count

from fluxo.testing.servers import MongoServer, PostgresServer, RedisServer

__all__ = ["SERVERS", "mongo_url", "postgres_url", "redis_url", "url_of_its_own"]

SERVERS = ("postgresql", "redis", "mongodb")
_numbers = count()


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


def url_of_its_own(product: str, at: str | None = None) -> str:
    """A place that no other store of this run uses, on the run's server or on another one."""
    number = next(_numbers)
    if product == "postgresql":
        return f"{at or postgres_url()}?schema=place_{number}"
    if product == "redis":
        return f"{at or redis_url()}?prefix=place_{number}"
    return f"{at or mongo_url()}&prefix=place_{number}"
