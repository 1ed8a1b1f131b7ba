"""
LISTEN and NOTIFY on a connection of their own.

Owns: one channel per schema, and coalescing: however many changes there are, one notification is sent per few
milliseconds, outside of the transactions that made the changes (an append that notifies waits for a lock that all
notifying transactions of the server share). Must not know what changed.
"""

from __future__ import annotations

import select
import socket
import time
from contextlib import suppress
from typing import Final

from fluxo.stores.sql.postgres.connection import Connection

__all__ = ["NotifyLine", "Speaker"]

_PAUSE_S: Final = 0.004


class Speaker:
    """Wakes the listening thread, from any other, when there is something to be told."""

    def __init__(self) -> None:
        self.news = False
        self._far, self.near = socket.socketpair()
        self._far.setblocking(False)
        self.near.setblocking(False)

    def tell(self) -> None:
        """There is news of this process for others."""
        if not self.news:
            self.news = True
            self.poke()

    def poke(self) -> None:
        """Have the listening thread look up."""
        # A full pipe has been poked often enough.
        with suppress(OSError):
            self._far.send(b"\0")

    def close(self) -> None:
        """Let go of the pipe."""
        self._far.close()
        self.near.close()


class NotifyLine:
    """Hears other sessions' notifications, and sends this process's."""

    def __init__(self, connection: Connection, channel: str, speaker: Speaker) -> None:
        self._connection = connection
        self._channel = channel
        self._speaker = speaker
        self._said_s = 0.0
        connection.execute(f'LISTEN "{channel}"'.encode())

    def hear(self, timeout_s: float) -> bool:
        if self._speaker.news:
            self._say()
        server, near = self._connection.fileno(), self._speaker.near.fileno()
        readable, _, _ = select.select([server, near], [], [], timeout_s)
        if near in readable:
            with suppress(BlockingIOError):
                self._speaker.near.recv(4_096)
        if server not in readable:
            return False
        pgconn = self._connection.pgconn
        pgconn.consume_input()
        heard = False
        while (notification := pgconn.notifies()) is not None:
            heard = heard or notification.be_pid != pgconn.backend_pid
        return heard

    def _say(self) -> None:
        left_s = self._said_s + _PAUSE_S - time.monotonic()
        if left_s > 0:
            time.sleep(left_s)
        self._speaker.news = False
        self._connection.execute("SELECT pg_notify(%b, '')", (self._channel,))
        self._said_s = time.monotonic()

    def hang_up(self) -> None:
        self._speaker.poke()

    def close(self) -> None:
        with suppress(Exception):
            if self._speaker.news:
                self._say()
        self._connection.close()
