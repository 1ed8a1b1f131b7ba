"""
A server process that belongs to us.

Owns: its folder, port, log and life. Must not know which server it is. It is ended with this process: at exit, and by
the kernel where ``setpriv`` (util-linux) is at hand to ask for that. ``kill`` is SIGKILL and leaves the data, so that
`start` again shows what the server really kept.
"""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from fluxo.errors import ConfigurationError, FluxoInternalError

__all__ = ["Server", "find_program", "free_port", "in_wheel"]

START_S = 60.0
STOP_S = 30.0
LOG_CHARS = 2_000
POLL_S = 0.02
PORT_MAX = 55_000
"""A node of a Redis cluster talks to others on a port ten thousand higher."""


class Server(ABC):
    """
    One server; use it as a context manager, or call `start` and `stop`.

    Attributes:
        product: What people call it.
        environment: The variable whose URL is taken instead of starting anything.
        url: Where it is; the same after a restart.
        owned: Whether it was started here, and may thus be killed.

    Raises:
        ConfigurationError: the server is not installed.
    """

    product: ClassVar[str]
    environment: ClassVar[str]

    def __init__(self, *, use_environment: bool = True) -> None:
        given = os.environ.get(self.environment, "") if use_environment else ""
        self.owned = not given
        self.url = given
        self.folder = Path()
        self.port = 0
        self.process: subprocess.Popen[bytes] | None = None
        self._pause = threading.Event()
        if self.owned:
            self.folder = Path(tempfile.mkdtemp(prefix=f"fluxo-{self.product.lower()}-"))
            atexit.register(self.stop)
            self.port = free_port()
            self.prepare()

    @abstractmethod
    def prepare(self) -> None:
        """Make the data folder and set `url`."""

    @abstractmethod
    def command(self) -> Sequence[str]:
        """What to execute; the process must stay in the foreground."""

    @abstractmethod
    def is_ready(self) -> bool:
        """Whether clients are served; may raise OSError while they are not."""

    def start(self) -> None:
        """
        Start it and wait until it serves clients; nothing happens if it runs, or is not ours.

        Raises:
            FluxoInternalError: it ended at once, or did not come up; shows the end of its log.
        """
        if not self.owned or self.process is not None:
            return
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [*_tied_to_us(), *self.command()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                start_new_session=True,
            )
        for _ in range(round(START_S / POLL_S)):
            if self.process.poll() is not None:
                self.process = None
                raise FluxoInternalError(f"{self.product} ended while it started; its log ends: {self._log_end()}")
            with suppress(OSError):
                if self.is_ready():
                    return
            self._pause.wait(POLL_S)
        raise FluxoInternalError(f"{self.product} did not start within {START_S:g} s; its log ends: {self._log_end()}")

    def kill(self) -> None:
        """SIGKILL to all of its processes, and wait for the end; its data stays."""
        self._end(signal.SIGKILL, group=True)

    def pause(self) -> None:
        """SIGSTOP: connections stay, nothing is answered."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """SIGCONT after `pause`."""
        self._signal(signal.SIGCONT)

    def stop(self) -> None:
        """End it and delete its data; idempotent."""
        if self.owned:
            self._end(signal.SIGKILL, group=True)
            shutil.rmtree(self.folder, ignore_errors=True)
            atexit.unregister(self.stop)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    @property
    def _log(self) -> Path:
        return self.folder / "server.log"

    def _log_end(self) -> str:
        with suppress(OSError):
            return self._log.read_text(errors="replace")[-LOG_CHARS:]
        return "(none)"

    def _signal(self, number: signal.Signals) -> None:
        if self.process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)

    def _end(self, number: signal.Signals, *, group: bool) -> None:
        process, self.process = self.process, None
        if process is None:
            return
        with suppress(ProcessLookupError):
            if group:
                os.killpg(process.pid, number)
            else:
                process.send_signal(number)
        process.wait(STOP_S)


def free_port() -> int:
    """A TCP port of this machine that nothing listens on at this moment, below PORT_MAX."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
        if port < PORT_MAX:
            return port


def in_wheel(package: str, program: str) -> Path | None:
    """A program that an installed package carries, without importing that package."""
    import importlib.util

    spec = importlib.util.find_spec(package)
    for folder in spec.submodule_search_locations or () if spec is not None else ():
        path = Path(folder) / program
        if path.is_file():
            return path
    return None


def find_program(product: str, candidates: Sequence[Path | str | None], cure: str) -> Path:
    """
    The first of `candidates` that is there: a path, or a name to look for on PATH.

    Raises:
        ConfigurationError: none is; `cure` says how to get one.
    """
    for candidate in candidates:
        found = shutil.which(candidate) if candidate is not None else None
        if found is not None:
            return Path(found).resolve()
    raise ConfigurationError(f"no {product} server found; {cure}")


def _tied_to_us() -> list[str]:
    """A prefix that has the kernel kill the server when this process dies, however it dies."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL"] if setpriv is not None else []
