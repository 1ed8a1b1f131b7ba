"""
Opening a Redis: durability settings, the number of shards, the version of the layout.

Owns: what is verified before the store says it is open. Must not know the store's methods.
"""

from __future__ import annotations

import logging
from typing import Any, Final

from redis import exceptions

from fluxo.errors import SchemaVersionError, StoreUnavailableError
from fluxo.stores.redis.scripts import translated

__all__ = ["LAYOUT_VERSION", "prepare"]

LAYOUT_VERSION: Final = 1
MIN_VERSION: Final = (6, 2)
_log = logging.getLogger("fluxo.stores")


def prepare(client: Any, where: str, meta_key: str, shards: int, *, allow_loss: bool) -> int:
    """
    Check the server, and agree on the number of shards with whoever was first; answers it.

    Raises:
        StoreUnavailableError: cannot be reached, too old, or its settings would lose what was acknowledged.
        SchemaVersionError: made by a newer fluxo.
    """
    try:
        _check_server(client, where, allow_loss=allow_loss)
        client.hsetnx(meta_key, "version", LAYOUT_VERSION)
        client.hsetnx(meta_key, "shards", shards)
        version, agreed = (int(value) for value in client.hmget(meta_key, "version", "shards"))
    except exceptions.RedisError as error:
        problem = translated(error, where)
        raise (problem or StoreUnavailableError(where, f"the connection was lost ({error})")) from error
    if version > LAYOUT_VERSION:
        raise SchemaVersionError(
            where, f"the data has layout {version}, this fluxo knows up to {LAYOUT_VERSION}; install the newer fluxo"
        )
    return agreed


def _check_server(client: Any, where: str, *, allow_loss: bool) -> None:
    info = _first(client.info("server"))
    version = tuple(int(part) for part in str(info["redis_version"]).split(".")[:2])
    if version < MIN_VERSION:
        raise StoreUnavailableError(where, f"is Redis {info['redis_version']}; fluxo needs 6.2 or later")
    if _first(client.info("replication"))["role"] != "master":
        raise StoreUnavailableError(where, "is a replica; give the URL of the primary")
    try:
        settings = _first(client.config_get("*"))
    except exceptions.ResponseError:
        _log.warning("%s: does not show its settings (CONFIG), so that its durability is not verified", where)
        return
    if settings.get("appendonly") != "yes" and not allow_loss:
        raise StoreUnavailableError(
            where, "has no append-only file: a restart would lose acknowledged events; set appendonly yes"
        )
    if settings.get("maxmemory-policy", "noeviction") != "noeviction" and settings.get("maxmemory", "0") != "0":
        raise StoreUnavailableError(
            where, "deletes keys when memory is full (maxmemory-policy); set it to noeviction, or use another Redis"
        )
    if settings.get("appendfsync") != "always":
        _log.warning("%s: appendfsync is not always: a power cut loses up to two seconds of acknowledged events", where)
    if settings.get("no-appendfsync-on-rewrite") == "yes":
        _log.warning("%s: no-appendfsync-on-rewrite is yes: while it rewrites its file, nothing is flushed", where)


def _first(answer: Any) -> Any:
    """A cluster's client answers per node: {node: answer}."""
    if answer and all(isinstance(value, dict) for value in answer.values()):
        return next(iter(answer.values()))
    return answer
