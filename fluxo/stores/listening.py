"""
Hearing from other processes that a store has changed.

Owns: the one thread per store that listens, connects anew after a loss, and rings the bell. Must not know how a store
tells: that is its `Line`. What is heard is a hint; whoever hears nothing finds the change when it looks.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable
from typing import Final, Protocol

from fluxo.stores.bell import Bell

__all__ = ["Line", "Listener"]

_HEAR_S: Final = 30.0
_STOP_S: Final = 0.2
_PAUSE_S: Final = (0.05, 0.5)
_PAUSE_MAX_S: Final = 5.0
_jitter = random.SystemRandom().uniform  # the process-wide generator is the user's, and forks share its state
_log = logging.getLogger("fluxo.stores")


class Line(Protocol):
    """A connection on which news arrives; used by one thread, but for `hang_up`."""

    def hear(self, timeout_s: float) -> bool:
        """
        Wait for news at most this long; False if there was none.

        Raises:
            Exception: the line is dead.
        """
        ...

    def hang_up(self) -> None:
        """Make a `hear` that is under way return soon; called by other threads."""
        ...

    def close(self) -> None:
        """Let go of the connection."""
        ...


class Listener:
    """Listens from `start` until `stop`, through losses of the line."""

    def __init__(self, connect: Callable[[], Line], bell: Bell, where: str) -> None:
        self._connect = connect
        self._bell = bell
        self._where = where
        self._stopped = threading.Event()
        self._line: Line | None = None
        self._thread = threading.Thread(target=self._listen, name="fluxo-listener", daemon=True)

    def start(self) -> None:
        """Begin; the first connection is made in the background."""
        self._thread.start()

    def stop(self) -> None:
        """End, and wait a moment for the thread: a line that cannot be woken ends soon, alone."""
        self._stopped.set()
        line = self._line
        if line is not None:
            line.hang_up()
        self._thread.join(_STOP_S)

    def _listen(self) -> None:
        pause_s = 0.0
        while not self._stopped.wait(pause_s):
            try:
                self._line = line = self._connect()
            except Exception as error:
                pause_s = self._longer(pause_s, error)
                continue
            # Whatever happened while nobody listened is news.
            self._bell.ring()
            try:
                while not self._stopped.is_set():
                    if line.hear(_HEAR_S):
                        self._bell.ring()
                    pause_s = 0.0
            except Exception as error:
                pause_s = self._longer(pause_s, error)
            finally:
                self._line = None
                line.close()

    def _longer(self, pause_s: float, error: Exception) -> float:
        # At most once per loss is worth a line; the rest is what the store's callers are told.
        if not pause_s:
            _log.info("%s: not listening for changes now (%s); trying again", self._where, type(error).__name__)
        return min(2 * pause_s + _jitter(*_PAUSE_S), _PAUSE_MAX_S)
