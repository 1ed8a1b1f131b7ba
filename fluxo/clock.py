"""
The clock port: where the engine gets its time from.

Owns: the `Clock` protocol and the system clock. Must not know runs or stores. Every other module
takes a clock as an argument; none reads the wall clock itself (a lint keeps it so), which is what
lets a whole cluster run on virtual time.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

__all__ = ["EPOCH", "Clock", "SystemClock", "from_us", "to_us"]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_US = timedelta(microseconds=1)


class Clock(Protocol):
    """Time as the engine sees it."""

    def now_us(self) -> int:
        """Wall-clock time, microseconds since the epoch. May jump."""
        ...

    def monotonic_s(self) -> float:
        """Seconds of a clock that never goes backwards; only differences mean something."""
        ...


class SystemClock:
    """The operating system's clocks."""

    def now_us(self) -> int:
        return time.time_ns() // 1000

    def monotonic_s(self) -> float:
        return time.monotonic()


def from_us(at_us: int) -> datetime:
    """An aware UTC datetime from microseconds since the epoch, exactly."""
    return EPOCH + timedelta(microseconds=at_us)


def to_us(at: datetime) -> int:
    """Microseconds since the epoch of an aware datetime, exactly."""
    return (at - EPOCH) // _US
