"""
Identifiers: run ids, worker ids, nonces and seeds.

Owns: their shape and where their randomness comes from (the operating system). Must not know what
they are used for. Run ids are UUID version 7 (RFC 9562): time-ordered, so that a store's index
grows at one end, with 74 random bits, so that they cannot be guessed.
"""

from __future__ import annotations

import os
import re
import threading
import time
import zlib
from typing import Final

from fluxo.errors import UsageError
from fluxo.limits import NAME_CHARS_MAX, SHARDS

__all__ = ["check_name", "new_nonce", "new_run_id", "new_worker_id", "shard_of"]

_PAGE_BYTES: Final = 4096
_NAME: Final = re.compile(r"[^\x00-\x1f\x7f\s](?:[^\x00-\x1f\x7f]*[^\x00-\x1f\x7f\s])?")


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


def shard_of(run_id: str) -> int:
    """The logical shard of a run, 0 to SHARDS - 1; stable for ever."""
    return zlib.crc32(run_id.encode()) % SHARDS


def check_name(what: str, name: str) -> str:
    """
    Return `name` if it can serve as an identifier, else raise.

    One rule for run ids, workflow, step, signal and queue names, namespaces and keys: 1 to 255
    printable characters, no control characters, no white space at either end.

    Raises:
        UsageError: names `what` and the rule.
    """
    if not isinstance(name, str):
        raise UsageError(f"{what} must be a string, not {type(name).__name__}")
    if len(name) > NAME_CHARS_MAX or not _NAME.fullmatch(name) or not _encodable(name):
        shown = name if len(name) <= 40 else name[:40] + "…"
        raise UsageError(
            f"{what} {shown!r} is not usable: 1 to {NAME_CHARS_MAX} characters, "
            "no control characters, no white space at either end"
        )
    return name


def _encodable(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
