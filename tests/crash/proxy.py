"""
A wire that can be cut.

Owns: a TCP proxy in this process that passes bytes on and, once armed, cuts every connection after so many of them in
one direction. Must not know protocols.
"""

from __future__ import annotations

import socket
import threading
from contextlib import suppress

__all__ = ["Proxy"]


class Proxy:
    """
    Passes bytes between clients and one server of this machine.

    Attributes:
        port: Where clients connect.
        passed: Bytes passed since the last `arm` or `disarm`, by direction ("there", "back").
    """

    def __init__(self, server_port: int) -> None:
        self._server = ("127.0.0.1", server_port)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._lock = threading.Lock()
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._cut: tuple[str, int] | None = None
        self.passed = {"there": 0, "back": 0}
        threading.Thread(target=self._accept, daemon=True).start()

    def arm(self, direction: str, after_bytes: int) -> None:
        """Cut everything, once, when this many more bytes have passed in this direction; those that follow are lost."""
        with self._lock:
            self.passed = {"there": 0, "back": 0}
            self._cut = (direction, after_bytes)

    def disarm(self) -> None:
        """Pass everything again; new connections too."""
        with self._lock:
            self.passed = {"there": 0, "back": 0}
            self._cut = None

    def close(self) -> None:
        """Cut everything for good."""
        self._listening.close()
        self._cut_all()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                server = socket.create_connection(self._server)
                with self._lock:
                    self._pairs.append((client, server))
                for direction, source, sink in (("there", client, server), ("back", server, client)):
                    threading.Thread(target=self._pass, args=(direction, source, sink), daemon=True).start()

    def _pass(self, direction: str, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65_536):
                with self._lock:
                    cut = self._cut
                    room = len(data)
                    if cut is not None and cut[0] == direction:
                        room = max(cut[1] - self.passed[direction], 0)
                        if room < len(data):
                            self._cut = None
                    self.passed[direction] += len(data)
                sink.sendall(data[:room])
                if room < len(data):
                    self._cut_all()
                    return
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _cut_all(self) -> None:
        with self._lock:
            pairs, self._pairs = self._pairs, []
        for pair in pairs:
            for end in pair:
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
                end.close()
