"""
The ports of a simulated process.

Owns: the engine's threads, clock, identities and process table, as fibers, virtual time and a seeded generator give
them. Must not know the store. Theory: `fluxo.runtime.ports`.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable

from fluxo.runtime.ports import Event, Lock, LoopRunner, Pool, Ports
from fluxo.testing.simulation.fibers import Scheduler, SimEvent, SimLock, SimProcess
from fluxo.testing.simulation.loop import FiberLoop

__all__ = ["SimClock", "SimIds", "SimProcesses", "SimThreading", "sim_ports"]


class SimClock:
    """
    One process's clock: virtual time, with what is wrong about this machine's.

    Attributes:
        skew_us: How far its wall clock is ahead of the store's.
    """

    __slots__ = ("_scheduler", "skew_us")

    def __init__(self, scheduler: Scheduler, skew_us: int = 0) -> None:
        self._scheduler = scheduler
        self.skew_us = skew_us

    def now_us(self) -> int:
        return self._scheduler.now_us + self.skew_us

    def monotonic_s(self) -> float:
        return self._scheduler.now_us / 1_000_000


class SimIds:
    """Identifiers drawn from a seeded generator."""

    __slots__ = ("_random",)

    def __init__(self, source: random.Random) -> None:
        self._random = source

    def nonce(self) -> int:
        return self._random.getrandbits(63)

    def run_id(self) -> str:
        return f"run-{self._random.getrandbits(48):012x}"

    def worker_id(self) -> str:
        return f"{self._random.getrandbits(48):012x}"


class SimProcesses:
    """The process table of one simulated machine; every process gets a view of it with its own pid."""

    __slots__ = ("_machine", "_pid", "_table")

    def __init__(self, machine: str, pid: int, table: dict[int, SimProcess]) -> None:
        self._machine = machine
        self._pid = pid
        self._table = table

    def host(self) -> str:
        return self._machine

    def pid(self) -> int:
        return self._pid

    def started(self, pid: int) -> int:
        host = self._table.get(pid)
        return pid if host is not None and host.alive else 0


class SimThreading:
    """
    The threads of one simulated process: fibers.

    Attributes:
        loops: The event loops it has made.
    """

    def __init__(self, scheduler: Scheduler, process: SimProcess) -> None:
        self.loops: list[FiberLoop] = []
        self._scheduler = scheduler
        self._process = process

    def lock(self) -> Lock:
        return SimLock(self._scheduler)

    def event(self) -> Event:
        return SimEvent(self._scheduler)

    def ident(self) -> int:
        current = self._scheduler.current
        return 0 if current is None else current.ident

    def stopwatch(self) -> float:
        return self._scheduler.now_us / 1_000_000

    def pool(self, size: int, label: str) -> Pool:
        return _FiberPool(self._scheduler, self._process, size, label)

    def start(self, target: Callable[[], None], label: str) -> Callable[[], None]:
        fiber = self._scheduler.spawn(self._process, target, label)
        return lambda: self._scheduler.join(fiber)

    def loop(self) -> LoopRunner:
        runner = FiberLoop(self._scheduler, self._process, self.ident)
        self.loops.append(runner)
        return runner


class _FiberPool:
    """At most `size` fibers for jobs; further jobs wait in line."""

    def __init__(self, scheduler: Scheduler, process: SimProcess, size: int, label: str) -> None:
        self._scheduler = scheduler
        self._process = process
        self._size = size
        self._label = label
        self._active = 0
        self._jobs: deque[Callable[[], None]] = deque()

    def submit(self, job: Callable[[], None]) -> None:
        self._jobs.append(job)
        if self._active < self._size:
            self._active += 1
            self._scheduler.spawn(self._process, self._serve, self._label)

    def free(self) -> int:
        return self._size - self._active - len(self._jobs)

    def close(self) -> None:
        """Fibers end with their jobs."""

    def _serve(self) -> None:
        try:
            while self._jobs:
                self._jobs.popleft()()
        finally:
            self._active -= 1


def sim_ports(
    scheduler: Scheduler, process: SimProcess, clock: SimClock, processes: SimProcesses, source: random.Random
) -> tuple[Ports, SimThreading]:
    """The ports of one process, drawing from `source`."""
    threads = SimThreading(scheduler, process)
    return Ports(clock, SimIds(source), threads, processes, source.random), threads
