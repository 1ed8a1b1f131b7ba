"""
Opening a store on a server: what is refused, what is warned of, and what a store does when its server refuses.

Owns: durability settings of Redis, versions of layouts, standalone MongoDB, scripts that are gone, memory that is full.
Must not know the contract.
"""

from __future__ import annotations

import logging
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import psycopg
import pymongo
import pytest
import redis

from fluxo import ConfigurationError, SchemaVersionError, StoreUnavailableError
from fluxo.store import Committed
from fluxo.stores import MongoStore, RedisStore, open_store
from fluxo.testing.conformance.suite import Activation, new_run
from fluxo.testing.servers import MongoServer, RedisServer
from tests.servers import mongo_url, postgres_url, redis_url, url_of_its_own


@pytest.fixture
def loose() -> Iterator[RedisServer]:
    """A Redis of its own, whose settings a test may change."""
    with RedisServer(settings={}) as server:
        yield server


def opened(store: Any) -> None:
    store.open()
    store.close()


@pytest.mark.parametrize(
    "settings, says",
    [
        ({"appendonly": "no"}, "has no append-only file"),
        ({"maxmemory": "100mb", "maxmemory-policy": "allkeys-lru"}, "deletes keys when memory is full"),
    ],
)
def test_a_redis_that_would_forget_is_refused(loose: RedisServer, settings: dict[str, str], says: str) -> None:
    with redis.Redis.from_url(loose.url) as client:
        for name, value in settings.items():
            client.config_set(name, value)
        with pytest.raises(StoreUnavailableError, match=says):
            opened(RedisStore(loose.url))


def test_a_redis_without_a_file_can_be_asked_for(loose: RedisServer) -> None:
    with redis.Redis.from_url(loose.url) as client:
        client.config_set("appendonly", "no")
    opened(RedisStore(loose.url, allow_loss=True))


@pytest.mark.parametrize(
    "name, value, says",
    [
        ("appendfsync", "everysec", "loses up to two seconds"),
        ("no-appendfsync-on-rewrite", "yes", "nothing is flushed"),
    ],
)
def test_a_redis_that_flushes_late_is_warned_of(
    loose: RedisServer, caplog: pytest.LogCaptureFixture, name: str, value: str, says: str
) -> None:
    with redis.Redis.from_url(loose.url) as client:
        client.config_set(name, value)
    with caplog.at_level(logging.WARNING, "fluxo.stores"):
        opened(RedisStore(loose.url))
    assert any(says in record.getMessage() for record in caplog.records)


def test_a_replica_of_redis_is_refused(loose: RedisServer) -> None:
    with redis.Redis.from_url(loose.url) as client:
        client.replicaof("127.0.0.1", 1)
    with pytest.raises(StoreUnavailableError, match="is a replica; give the URL of the primary"):
        opened(RedisStore(loose.url))


def test_scripts_that_the_server_has_lost_are_sent_again(loose: RedisServer) -> None:
    store = RedisStore(loose.url)
    store.open()
    run = Activation.of_new(store, new_run())
    with redis.Redis.from_url(loose.url) as client:
        client.script_flush()
    assert isinstance(run.append(), Committed)
    store.close()


def test_a_redis_whose_memory_is_full_refuses_and_goes_on_when_there_is_room(loose: RedisServer) -> None:
    store = RedisStore(loose.url)
    store.open()
    run = Activation.of_new(store, new_run())
    with redis.Redis.from_url(loose.url) as client:
        client.config_set("maxmemory", "1")
        with pytest.raises(StoreUnavailableError, match="out of memory"):
            run.append()
        client.config_set("maxmemory", "0")
    assert isinstance(run.append(), Committed)
    assert [row[0] for row in run.log()] == [1, 2]
    store.close()


def test_a_client_that_decodes_is_refused() -> None:
    with (
        redis.Redis.from_url(redis_url(), decode_responses=True) as client,
        pytest.raises(ConfigurationError, match="without decode_responses"),
    ):
        RedisStore(client)


def test_a_standalone_mongodb_is_refused() -> None:
    class Standalone(MongoServer):
        def command(self) -> list[str]:
            words = list(super().command())
            at = words.index("--replSet")
            return words[:at] + words[at + 4 :]

        def is_ready(self) -> bool:
            with pymongo.MongoClient("127.0.0.1", self.port, serverSelectionTimeoutMS=200) as client:  # type: ignore[var-annotated]
                try:
                    return bool(client.admin.command("ping")["ok"])
                except pymongo.errors.PyMongoError as error:
                    raise OSError from error

    with (
        Standalone(use_environment=False) as server,
        pytest.raises(StoreUnavailableError, match="make it a replica set, if of one node only"),
    ):
        opened(MongoStore(f"mongodb://127.0.0.1:{server.port}/"))


def newer_postgres(url: str) -> None:
    schema = re.findall(r"schema=(\w+)", url)[0]
    with psycopg.connect(postgres_url(), autocommit=True) as connection:
        connection.execute(f"UPDATE {schema}.fluxo_meta SET schema_version = 99".encode())


def newer_redis(url: str) -> None:
    prefix = re.findall(r"prefix=(\w+)", url)[0]
    with redis.Redis.from_url(redis_url()) as client:
        client.hset(f"{{{prefix}:0}}:meta", "version", "99")


def newer_mongo(url: str) -> None:
    prefix = re.findall(r"prefix=(\w+)", url)[0]
    client: pymongo.MongoClient[dict[str, Any]]
    with pymongo.MongoClient(mongo_url()) as client:
        client["fluxo"][f"{prefix}_meta"].update_one({"_id": "layout"}, {"$set": {"version": 99}})


@pytest.mark.parametrize(
    "product, newer",
    [("postgresql", newer_postgres), ("redis", newer_redis), ("mongodb", newer_mongo)],
    ids=["postgresql", "redis", "mongodb"],
)
def test_what_a_newer_fluxo_made_is_not_touched(product: str, newer: Any) -> None:
    url = url_of_its_own(product)
    opened(open_store(url))
    newer(url)
    with pytest.raises(SchemaVersionError, match="install the newer fluxo"):
        opened(open_store(url))


OPEN = "import sys; from fluxo.stores import open_store; s = open_store(sys.argv[1]); s.open(); s.close()"


@pytest.mark.parametrize("product", ["postgresql", "redis", "mongodb"])
def test_eight_processes_may_open_an_empty_place_at_once(product: str) -> None:
    url = url_of_its_own(product)
    openers = [subprocess.Popen([sys.executable, "-c", OPEN, url], stderr=subprocess.PIPE, text=True) for _ in range(8)]
    told = [opener.communicate(timeout=50)[1] for opener in openers]
    assert [opener.returncode for opener in openers] == [0] * 8, told
    store = open_store(url)
    store.open()
    assert Activation.of_new(store, new_run()).log()
    store.close()


@pytest.mark.parametrize("product", ["postgresql", "redis", "mongodb"])
def test_a_store_that_is_not_open_says_so(product: str) -> None:
    store = open_store(url_of_its_own(product))
    with pytest.raises(StoreUnavailableError, match="not open; call open"):
        store.get("default", "run")
    with pytest.raises(StoreUnavailableError, match="not open; call open"):
        store.append([Activation(store, 64, 1, 1, 1).next()])
