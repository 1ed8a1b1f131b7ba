"""
What goes wrong in a simulation, and when.

Owns: the points at which a process may die, stop or give way, and the faults of a store. Must not know how they are
carried out. A point stands before and after every call of the store and at every named failpoint, so that between any
two of them nothing happens that anybody outside the process could see. Theory: reliability.md §3 and §4.
"""

from __future__ import annotations

import random
from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

__all__ = ["CrashAt", "Fault", "Faults", "Storm", "StormRates", "Verdict"]


class Verdict(Enum):
    """What happens to a process at a point."""

    GO = "go"
    CRASH = "crash"
    STOP = "stop"
    GIVE_WAY = "give way"


class Fault(Enum):
    """What happens to a call of the store."""

    NONE = "none"
    ERROR_BEFORE = "error before"
    ERROR_AFTER = "executed, then error"


class Faults(Protocol):
    """Decides; asked in the one order in which everything happens, so a seeded one decides alike each time."""

    def at(self, process: str, point: str) -> Verdict:
        """A process has come to a point."""
        ...

    def on_call(self, process: str, method: str) -> Fault:
        """A process calls the store."""
        ...

    def stop_s(self) -> float:
        """How long a process that was stopped stays so."""
        ...

    def delay_s(self) -> float:
        """How long a call of the store takes."""
        ...

    def hints(self) -> Collection[float]:
        """When a notification arrives: empty for a lost one, several for one that is repeated; in seconds from now."""
        ...


class CrashAt:
    """
    A crash at the n-th point, for each n given; no other fault.

    Attributes:
        points: The names of all points so far, in order; a crash at point n strikes as it is passed.
        crashes: Where it struck.
    """

    def __init__(self, *indexes: int) -> None:
        self.points: list[str] = []
        self.crashes: list[str] = []
        self._indexes = frozenset(indexes)

    def at(self, process: str, point: str) -> Verdict:
        index = len(self.points)
        self.points.append(point)
        if index in self._indexes:
            self.crashes.append(point)
            return Verdict.CRASH
        return Verdict.GO

    def on_call(self, process: str, method: str) -> Fault:
        return Fault.NONE

    def stop_s(self) -> float:
        return 0.0

    def delay_s(self) -> float:
        return 0.0

    def hints(self) -> Collection[float]:
        return (0.0,)


@dataclass(frozen=True, slots=True)
class StormRates:
    """
    How often what happens, as a fraction of its occasions; `budget` bounds crashes and stops together.

    An outage refuses the next calls of everybody, five to forty of them: the store is being restarted.
    """

    crash: float = 0.01
    stop: float = 0.005
    give_way: float = 0.1
    error_before: float = 0.01
    error_after: float = 0.01
    slow: float = 0.02
    hint_lost: float = 0.2
    hint_repeated: float = 0.1
    outage: float = 0.0
    budget: int = 6


class Storm:
    """
    Everything at random, until the budget is used up or `calm` is set; then the cluster must come to rest.

    Attributes:
        calm: No more faults; only give-ways, which are no fault.
        seen: How often what happened: fault or verdict → times.
    """

    def __init__(self, source: random.Random, rates: StormRates, *, lease_s: float) -> None:
        self.calm = False
        self.seen: dict[str, int] = {}
        self._random = source
        self._rates = rates
        self._left = rates.budget
        self._outage = 0
        self._lease_s = lease_s

    def at(self, process: str, point: str) -> Verdict:
        rates, draw = self._rates, self._random.random()
        if self._left > 0 and not self.calm:
            if draw < rates.crash:
                self._left -= 1
                return self._note(Verdict.CRASH)
            if draw < rates.crash + rates.stop:
                self._left -= 1
                return self._note(Verdict.STOP)
        if draw > 1 - rates.give_way:
            return Verdict.GIVE_WAY
        return Verdict.GO

    def on_call(self, process: str, method: str) -> Fault:
        rates, draw = self._rates, self._random.random()
        if self.calm:
            return Fault.NONE
        if self._outage > 0:
            self._outage -= 1
            return Fault.ERROR_BEFORE
        if self._random.random() < rates.outage:
            self._outage = self._random.randrange(5, 40)
            self._count("outage")
            return Fault.ERROR_BEFORE
        if draw < rates.error_before:
            self._count("error before")
            return Fault.ERROR_BEFORE
        if draw < rates.error_before + rates.error_after:
            self._count("executed, then error")
            return Fault.ERROR_AFTER
        return Fault.NONE

    def stop_s(self) -> float:
        """Sometimes shorter than the lease, mostly longer: then somebody takes over, and a zombie comes back."""
        return self._random.uniform(0.1, 4.0) * self._lease_s

    def delay_s(self) -> float:
        if self.calm or self._random.random() >= self._rates.slow:
            return 0.0
        self._count("slow call")
        return self._random.uniform(0.0, 0.5) * self._lease_s

    def hints(self) -> Collection[float]:
        draw = self._random.random()
        if self.calm:
            return (0.0,)
        if draw < self._rates.hint_lost:
            self._count("hint lost")
            return ()
        late_s = self._random.choice((0.0, 0.0, 0.001, 0.2))
        if draw < self._rates.hint_lost + self._rates.hint_repeated:
            self._count("hint repeated")
            return (late_s, late_s + 0.05)
        return (late_s,)

    def _note(self, verdict: Verdict) -> Verdict:
        self._count(verdict.value)
        return verdict

    def _count(self, what: str) -> None:
        self.seen[what] = self.seen.get(what, 0) + 1
