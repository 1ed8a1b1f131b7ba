"""
Where the demo keeps its log: a file, a database server, or this process's memory.

Owns: what ``--store`` may be, and a throw-away server when the project has to bring one. Must not know orders.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from examples.orders.folder import Folder
from fluxo import MemoryStore

__all__ = ["PRODUCTS", "PlaceError", "placed"]

PRODUCTS = ("sqlite", "postgresql", "redis", "mongodb", "memory")


class PlaceError(Exception):
    """There is no such store, or its server cannot be had."""


@contextmanager
def placed(folder: Folder, store: str) -> Generator[None]:
    """
    Let the folder's runs live in `store`, a name of PRODUCTS or a URL; a server is started for the length of the block.

    Raises:
        PlaceError: another name, or the server is not installed.
    """
    if store == "sqlite":
        yield
    elif store == "memory":
        folder.keep_runs_in(MemoryStore())
        yield
    elif "://" in store:
        folder.keep_runs_in(store)
        yield
    elif store in PRODUCTS:
        yield from _served(folder, store)
    else:
        raise PlaceError(f"--store must be one of {', '.join(PRODUCTS)}, or a URL")


def _served(folder: Folder, product: str) -> Generator[None]:
    from fluxo import ConfigurationError
    from fluxo.testing.servers import MongoServer, PostgresServer, RedisServer

    kinds = {"postgresql": PostgresServer, "redis": RedisServer, "mongodb": MongoServer}
    try:
        server = kinds[product]()
    except ConfigurationError as problem:
        raise PlaceError(str(problem)) from problem
    with server:
        folder.keep_runs_in(server.url)
        yield
