"""
Identifiers: run ids, worker ids, nonces and seeds.

Owns: their shape and where their randomness comes from (the operating system). Must not know what
they are used for. Run ids are UUID version 7 (RFC 9562): time-ordered, so that a store's index
grows at one end, with 74 random bits, so that they cannot be guessed.
"""

from __future__ import annotations

import os
import threading
import time
from typing import Final, Protocol

__all__ = ["Ids", "SystemIds", "new_nonce", "new_run_id", "new_worker_id"]

_PAGE_BYTES: Final = 4096


class Ids(Protocol):
    """The identifiers port: where an engine gets fresh ones from."""

    def nonce(self) -> int:
        """See `new_nonce`."""
        ...

    def run_id(self) -> str:
        """See `new_run_id`."""
        ...

    def worker_id(self) -> str:
        """See `new_worker_id`."""
        ...


class _Entropy:
    """The operating system's randomness, fetched a page at a time; a forked child fetches its own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.forget()
        os.register_at_fork(after_in_child=self._after_fork)

    def forget(self) -> None:
        self._page = b""
        self._used = 0

    def take(self, size: int) -> bytes:
        """`size` bytes that nobody else gets."""
        with self._lock:
            if self._used + size > len(self._page):
                self._page, self._used = os.urandom(_PAGE_BYTES), 0
            start = self._used
            self._used = start + size
            return self._page[start : start + size]

    def _after_fork(self) -> None:
        self._lock = threading.Lock()
        self.forget()


_random_bytes: Final = _Entropy().take


def new_nonce() -> int:
    """A random 63-bit integer: the append id of one activation of a run."""
    return int.from_bytes(_random_bytes(8)) >> 1


def new_run_id() -> str:
    """A UUID version 7 in its usual form."""
    value = ((time.time_ns() // 1_000_000) << 80) | int.from_bytes(_random_bytes(10))
    value = value & ~(0xF << 76) | (0x7 << 76)
    value = value & ~(0x3 << 62) | (0x2 << 62)
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def new_worker_id() -> str:
    """A fresh random identity of one worker in one process."""
    return _random_bytes(12).hex()


class SystemIds:
    """Identifiers from the operating system's randomness."""

    nonce = staticmethod(new_nonce)
    run_id = staticmethod(new_run_id)
    worker_id = staticmethod(new_worker_id)
