"""
Opening a MongoDB: what the server must be, collections, indexes, the version of the layout.

Owns: what is verified before the store says it is open. Must not know the store's methods. Collections are made before
any transaction, and each step may be run by any number of processes at once.
"""

from __future__ import annotations

from typing import Final

from pymongo.errors import CollectionInvalid, OperationFailure, PyMongoError

from fluxo.errors import SchemaVersionError, StoreUnavailableError
from fluxo.stores.mongo.collections import INDEXES, Collections
from fluxo.stores.mongo.transactions import translated

__all__ = ["LAYOUT_VERSION", "prepare"]

LAYOUT_VERSION: Final = 1
MIN_WIRE_VERSION: Final = 13
"""MongoDB 5.0."""
_EXISTS: Final = 48


def prepare(on: Collections) -> None:
    """
    Check the server and make collections and indexes.

    Raises:
        StoreUnavailableError: cannot be reached, too old, or no replica set.
        SchemaVersionError: made by a newer fluxo.
    """
    try:
        hello = on.client.admin.command("hello")
        if hello["maxWireVersion"] < MIN_WIRE_VERSION:
            raise StoreUnavailableError(on.where, "is older than MongoDB 5.0")
        if "setName" not in hello and hello.get("msg") != "isdbgrid":
            raise StoreUnavailableError(
                on.where, "is a standalone server; fluxo needs transactions: make it a replica set, if of one node only"
            )
        for name, indexes in INDEXES.items():
            try:
                on.database.create_collection(f"{on.prefix}_{name}")
            except CollectionInvalid:
                pass
            except OperationFailure as error:
                if error.code != _EXISTS:
                    raise
            if indexes:
                on.database.get_collection(f"{on.prefix}_{name}").create_indexes(indexes)
        on.meta.update_one({"_id": "layout"}, {"$setOnInsert": {"version": LAYOUT_VERSION}}, upsert=True)
        found = on.meta.find_one({"_id": "layout"}) or {"version": LAYOUT_VERSION}
    except PyMongoError as error:
        problem = translated(error, on.where)
        raise (problem or StoreUnavailableError(on.where, f"the connection was lost ({error})"[:500])) from error
    if found["version"] > LAYOUT_VERSION:
        raise SchemaVersionError(
            on.where,
            f"the data has layout {found['version']}, this fluxo knows up to {LAYOUT_VERSION}; install the newer fluxo",
        )
