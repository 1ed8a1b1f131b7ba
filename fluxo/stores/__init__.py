"""
The shipped stores, and opening one by its URL.

Owns: nothing but the names. Must not know the engine. Importing this package loads no driver: a store's
module is imported when such a store is asked for.
"""

from typing import TYPE_CHECKING, Any

from fluxo.stores.memory import MemoryStore
from fluxo.stores.url import open_store

if TYPE_CHECKING:
    from fluxo.stores.mongo import MongoStore
    from fluxo.stores.redis import RedisStore
    from fluxo.stores.sql import PostgresStore, SqliteStore, SqlStore

__all__ = ["MemoryStore", "MongoStore", "PostgresStore", "RedisStore", "SqlStore", "SqliteStore", "open_store"]


def __getattr__(name: str) -> Any:
    if name in ("PostgresStore", "SqlStore", "SqliteStore"):
        import fluxo.stores.sql

        return getattr(fluxo.stores.sql, name)
    if name == "MongoStore":
        from fluxo.stores.mongo import MongoStore

        return MongoStore
    if name == "RedisStore":
        from fluxo.stores.redis import RedisStore

        return RedisStore
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
