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

__all__ = ["EPOCH", "Clock", "StoreClock", "SystemClock", "from_us", "to_us"]

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


class StoreClock:
    """
    The store's time, as well as this machine can know it: what all workers agree on, whatever their own clocks say.

    Until the store has been heard it is the machine's wall clock. From then on it is what the store said, carried on by
    the machine's monotonic clock, so that a wall clock that is wrong or jumps moves no timer. Never ahead of the store:
    what was said is taken to have been true when the answer came, so a timer is late by that much and never early
    (PROTOCOL rule 10; reliability.md I11).
    """

    __slots__ = ("_ahead_us", "_clock")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ahead_us: int | None = None

    def now_us(self) -> int:
        if self._ahead_us is None:
            return self._clock.now_us()
        return round(self._clock.monotonic_s() * 1_000_000) + self._ahead_us

    def monotonic_s(self) -> float:
        return self._clock.monotonic_s()

    def heard(self, store_us: int, asked_s: float) -> None:
        """The store's clock showed `store_us` some time between `asked_s`, by `monotonic_s`, and now."""
        least_us = store_us - round(self._clock.monotonic_s() * 1_000_000)
        most_us = store_us - round(asked_s * 1_000_000)
        standing_us = self._ahead_us
        # The greatest of the lower bounds is the best of them, until one is disproved: then a clock has been set.
        if standing_us is None or standing_us > most_us:
            self._ahead_us = least_us
        else:
            self._ahead_us = max(standing_us, least_us)


def from_us(at_us: int) -> datetime:
    """An aware UTC datetime from microseconds since the epoch, exactly."""
    return EPOCH + timedelta(microseconds=at_us)


def to_us(at: datetime) -> int:
    """Microseconds since the epoch of an aware datetime, exactly."""
    return (at - EPOCH) // _US
