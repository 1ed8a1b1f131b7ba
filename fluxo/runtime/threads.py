"""
Worker threads of one engine.

Owns: when a thread is started, re-used and left to end. Must not know what runs on it. Threads are daemons: an
abandoned attempt (a step that outlived its timeout) must not keep the process from ending, and a crash at
any moment is what the log is for.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable

__all__ = ["Threads"]

_log = logging.getLogger("fluxo.engine")
_IDLE_S = 10.0


class Threads:
    """At most `size` threads; further jobs wait in line, first come first served."""

    def __init__(self, size: int, label: str) -> None:
        self._size = size
        self._label = label
        self._lock = threading.Lock()
        self._work = threading.Condition(self._lock)
        self._jobs: deque[Callable[[], None]] = deque()
        self._threads = 0
        self._idle = 0
        self._closed = False

    def submit(self, job: Callable[[], None]) -> None:
        """Run `job` on a thread as soon as one is free."""
        with self._lock:
            self._jobs.append(job)
            if self._idle >= len(self._jobs):
                self._work.notify()
                return
            if self._threads >= self._size:
                return
            self._threads += 1
            number = self._threads
        threading.Thread(target=self._serve, name=f"{self._label}-{number}", daemon=True).start()

    def free(self) -> int:
        """Jobs that could begin at once; negative when some stand in line."""
        return self._size - self._threads + self._idle - len(self._jobs)

    def close(self) -> None:
        """Let idle threads end; jobs under way finish."""
        with self._lock:
            self._closed = True
            self._work.notify_all()

    def _serve(self) -> None:
        while True:
            with self._lock:
                while not self._jobs:
                    if self._closed or self._threads > self._size:
                        self._threads -= 1
                        return
                    self._idle += 1
                    notified = self._work.wait(_IDLE_S)
                    self._idle -= 1
                    if not notified and not self._jobs:
                        self._threads -= 1
                        return
                job = self._jobs.popleft()
            try:
                job()
            except BaseException:
                # A job reports its own outcome; what still comes out here is a bug, and the thread must live on.
                _log.exception("a job of %s raised", self._label)
            del job
