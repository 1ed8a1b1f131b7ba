"""
How threads of one process learn that a store has changed.

Owns: a counter of changes and the waiting for it. Must not know what changed: a ring is a hint.
"""

from __future__ import annotations

import threading

__all__ = ["Bell"]


class Bell:
    """
    Counts rings; each waiting thread is told once of all rings since it was last told.

    A ring before a thread's first wait is news to that thread, and none is lost between two waits.
    """

    __slots__ = ("_changed", "_heard", "_rings")

    def __init__(self) -> None:
        self._changed = threading.Condition(threading.Lock())
        self._rings = 0
        self._heard = threading.local()

    def ring(self) -> None:
        """Make every waiting thread's wait, or its next one, return True."""
        with self._changed:
            self._rings += 1
            self._changed.notify_all()

    def wait(self, timeout_s: float) -> bool:
        """Block until a ring that this thread has not been told of, at most `timeout_s` seconds."""
        heard: int = getattr(self._heard, "rings", 0)
        with self._changed:
            if self._rings == heard and timeout_s > 0:
                self._changed.wait_for(lambda: self._rings != heard, timeout_s)
            self._heard.rings = self._rings
            return self._rings != heard
