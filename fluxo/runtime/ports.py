"""
The ports of an engine: everything that it takes from the machine it runs on, but for its store.

Owns: what the engine may ask for (time, identities, chance, threads, waiting, the process table), and the machine's
own answers. Must not know what is done with them. Theory: DESIGN §6: with other answers a whole cluster runs in one
thread on virtual time, ordered by one seed, executing the very same code; so nothing else in `runtime` or `engine` may
start a thread, block, read a clock or draw a number.
"""

from __future__ import annotations

import random
import threading
from _thread import allocate_lock
from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

from fluxo.clock import Clock, SystemClock
from fluxo.ids import Ids, SystemIds
from fluxo.runtime.processes import Processes, SystemProcesses
from fluxo.runtime.threads import Threads

if TYPE_CHECKING:
    from fluxo.runtime.core import Core
    from fluxo.runtime.host import Host

__all__ = ["Event", "Lock", "LoopRunner", "Pool", "Ports", "SystemThreading", "Threading"]


class Lock(Protocol):
    """Mutual exclusion, as `threading.Lock`; whoever holds it may be another than who releases it."""

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool: ...
    def release(self) -> None: ...
    def __enter__(self) -> bool: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...


class Event(Protocol):
    """A flag that can be waited for, as `threading.Event`."""

    def set(self) -> None: ...
    def clear(self) -> None: ...
    def is_set(self) -> bool: ...
    def wait(self, timeout: float | None = None) -> bool: ...


class Pool(Protocol):
    """Threads for jobs; see `Threads`."""

    def submit(self, job: Callable[[], None]) -> None: ...
    def free(self) -> int: ...
    def close(self) -> None: ...


class LoopRunner(Protocol):
    """An event loop that is being run by somebody else than the caller."""

    def make_host(self, core: Core) -> Host: ...
    def close(self) -> None: ...


class Threading(Protocol):
    """
    Threads, and what they wait on.

    Attributes:
        lock, event: New ones.
        ident: Tells the caller's thread from others.
        stopwatch: Seconds, for how long something took.
    """

    @property
    def lock(self) -> Callable[[], Lock]: ...
    @property
    def event(self) -> Callable[[], Event]: ...
    @property
    def ident(self) -> Callable[[], int]: ...
    @property
    def stopwatch(self) -> Callable[[], float]: ...

    def pool(self, size: int, label: str) -> Pool:
        """At most `size` threads for jobs."""
        ...

    def start(self, target: Callable[[], None], label: str) -> Callable[[], None]:
        """Run `target` on a thread of its own; what is returned waits for its end."""
        ...

    def loop(self) -> LoopRunner:
        """A new event loop on a thread of its own."""
        ...


class SystemThreading:
    """The threads of this process; all of them daemons, since a crash at any moment is what the log is for."""

    lock = staticmethod(allocate_lock)
    event = staticmethod(threading.Event)
    ident = staticmethod(threading.get_ident)
    stopwatch = staticmethod(perf_counter)

    def pool(self, size: int, label: str) -> Pool:
        return Threads(size, label)

    def start(self, target: Callable[[], None], label: str) -> Callable[[], None]:
        thread = threading.Thread(target=target, name=label, daemon=True)
        thread.start()
        return thread.join

    def loop(self) -> LoopRunner:
        # Imported where it is needed: asyncio costs a program that never awaits more than the rest of fluxo together.
        from fluxo.runtime.host import LoopThread

        return LoopThread()


@dataclass(frozen=True, slots=True)
class Ports:
    """
    What one engine stands on.

    Attributes:
        draw: The next number in [0, 1) for jitter; never recorded but by its effect.
    """

    clock: Clock = field(default_factory=SystemClock)
    ids: Ids = field(default_factory=SystemIds)
    threads: Threading = field(default_factory=SystemThreading)
    processes: Processes = field(default_factory=SystemProcesses)
    draw: Callable[[], float] = field(default_factory=lambda: random.Random().random)
