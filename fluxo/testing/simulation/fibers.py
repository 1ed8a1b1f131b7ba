"""
Fibers on virtual time: who runs next, and what time it is.

Owns: the one order in which everything happens. Must not know engines or stores. A fiber stands for a thread: a
greenlet, which gives control away only where it would block or where `point` says so. Exactly one runs at a time, the
chooser says which of the ready is next, and when none is ready time jumps to the next timer. So one seed gives one
trace. Theory: DESIGN §6; FoundationDB's simulator is the ancestor.
"""

from __future__ import annotations

import heapq
import sys

# What asyncio gives loop implementers: the running loop belongs to a thread, and many fibers share this one.
from asyncio.events import _get_running_loop, _set_running_loop  # pyright: ignore[reportPrivateUsage]
from collections import deque
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Final, NoReturn

from greenlet import getcurrent, greenlet

from fluxo.testing.errors import SimulationStuckError

__all__ = ["Choose", "Fiber", "Gone", "Scheduler", "SimEvent", "SimLock", "SimProcess", "first"]

Choose = Callable[[int], int]
"""How many are ready → the index of the next."""

_SWITCHES_MAX: Final = 300_000


class Gone(BaseException):
    """The process of this fiber is dead: nothing may be done in it any more."""


class SimProcess:
    """
    What fibers belong to: they stop together and die together.

    Attributes:
        alive: False once it has died; its fibers never run again.
        stopped: Stopped as by SIGSTOP: nothing of it runs, and it does not know.
    """

    __slots__ = ("alive", "name", "stopped")

    def __init__(self, name: str) -> None:
        self.name = name
        self.alive = True
        self.stopped = False


class Fiber:
    """One strand of execution in a process."""

    __slots__ = ("done", "greenlet", "hooks", "ident", "label", "loop", "process")

    def __init__(self, process: SimProcess, label: str, ident: int) -> None:
        self.process = process
        self.label = label
        self.ident = ident
        self.greenlet: greenlet | None = None
        self.loop: Any = None
        self.hooks: Any = (None, None)
        self.done: SimEvent | None = None


class _Wait:
    """One fiber's wait; over once, by whoever comes first: the timer or what is waited for."""

    __slots__ = ("fiber", "over", "woken")

    def __init__(self, fiber: Fiber) -> None:
        self.fiber = fiber
        self.over = False
        self.woken = False


def first(ready: int) -> int:
    """The chooser that takes turns: who has been ready longest is next."""
    return 0


class Scheduler:
    """
    The order of everything, and the time.

    Attributes:
        now_us: Virtual time since the epoch; it moves only when nothing is ready.
        current: The fiber that runs; None for the test itself, whose waits run the others.
        switches: How often a fiber was given control.
        after_switch: Called after each stretch of a fiber; what it raises ends the simulation.
        failures: What came out of fibers, in order; nothing should.
        ended: The simulation is over; what still unwinds must not wait.
    """

    def __init__(self, choose: Choose = first, start_us: int = 0) -> None:
        self.now_us = start_us
        self.choose = choose
        self.current: Fiber | None = None
        self.switches = 0
        self.after_switch: Callable[[], None] | None = None
        self.failures: list[BaseException] = []
        self.ended = False
        self._hub: Any = None
        self._ready: deque[Fiber] = deque()
        self._stopped: deque[Fiber] = deque()
        self._timers: list[tuple[int, int, Callable[[], None]]] = []
        self._numbers = 0
        self._fibers: list[Fiber] = []

    def spawn(self, process: SimProcess, target: Callable[[], None], label: str) -> Fiber:
        """A new fiber of this process, ready to run `target`."""
        self._numbers += 1
        fiber = Fiber(process, label, self._numbers)

        def main() -> None:
            try:
                target()
            except BaseException as error:
                if process.alive:
                    self.failures.append(error)
            finally:
                if fiber.done is not None:
                    fiber.done.set()

        fiber.greenlet = greenlet(main)
        self._fibers.append(fiber)
        self._ready.append(fiber)
        return fiber

    def join(self, fiber: Fiber) -> None:
        """Wait for a fiber's end."""
        if fiber.greenlet is None or fiber.greenlet.dead:
            return
        if fiber.done is None:
            fiber.done = SimEvent(self)
        fiber.done.wait()

    def later(self, due_us: int, action: Callable[[], None]) -> None:
        """Do something at a time, between two stretches of fibers; it must not block."""
        self._numbers += 1
        heapq.heappush(self._timers, (due_us, self._numbers, action))

    def wait(self, waits: list[_Wait] | None, timeout_s: float | None) -> bool:
        """
        Block the current fiber until one of `waits` is woken, at most `timeout_s`; whether it was woken.

        Raises:
            Gone: the fiber's process is dead.
        """
        fiber = self.current
        if self.ended:
            raise Gone
        if fiber is not None and fiber.greenlet is not getcurrent():
            raise Gone
        if fiber is None:
            raise SimulationStuckError("the test itself waited where only a fiber can")
        wait = _Wait(fiber)
        if waits is not None:
            waits.append(wait)
        if timeout_s is not None:
            # Rounded up: who waits for a moment must find that it has come.
            self.later(self.now_us - int(-timeout_s * 1_000_000 // 1), lambda: self._expire(wait))
        self.pass_on(fiber)
        return wait.woken

    def pass_on(self, fiber: Fiber) -> None:
        """Give control away without being ready again; whoever has made arrangements gets it back."""
        if not fiber.process.alive:
            raise Gone
        self._hub.switch()
        if not fiber.process.alive:
            raise Gone

    def leave(self) -> NoReturn:
        """Give control away for good: the current fiber's process has just died under it."""
        self._hub.switch()
        raise Gone

    def give_way(self) -> None:
        """Let others go first, if the chooser says so."""
        fiber = self.current
        if fiber is not None:
            self._ready.append(fiber)
            self.pass_on(fiber)

    def wake(self, wait: _Wait) -> bool:
        """End a wait; False if it is over already, or nobody is left to be woken."""
        if wait.over or not wait.fiber.process.alive:
            return False
        wait.over = wait.woken = True
        self._ready.append(wait.fiber)
        return True

    def _expire(self, wait: _Wait) -> None:
        if not wait.over:
            wait.over = True
            if wait.fiber.process.alive:
                self._ready.append(wait.fiber)

    def run(self, until: Callable[[], bool], limit_us: int | None = None) -> bool:
        """
        Let fibers run until `until` holds; False when time would pass `limit_us`, or nothing is left to happen.

        Raises:
            SimulationStuckError: more turns than any simulation needs: something spins.
            Exception: what `after_switch` found.
        """
        if self.current is not None:
            raise SimulationStuckError("a fiber cannot run the simulation that it is part of")
        self._hub = getcurrent()
        while not until():
            fiber = self._next()
            if fiber is not None:
                self._switch(fiber)
            elif not self._advance(limit_us):
                return False
        return True

    def _next(self) -> Fiber | None:
        ready = self._ready
        while ready:
            index = self.choose(len(ready)) if len(ready) > 1 else 0
            fiber = ready[index]
            del ready[index]
            if not fiber.process.alive:
                continue
            if fiber.process.stopped:
                self._stopped.append(fiber)
                continue
            return fiber
        return None

    def _switch(self, fiber: Fiber) -> None:
        self.switches += 1
        if self.switches > _SWITCHES_MAX:
            raise SimulationStuckError(f"{_SWITCHES_MAX} turns and no end; fiber {fiber.label!r} is next")
        outer, outer_hooks = _get_running_loop(), sys.get_asyncgen_hooks()
        _set_running_loop(fiber.loop)
        sys.set_asyncgen_hooks(*fiber.hooks)
        self.current = fiber
        try:
            strand = fiber.greenlet
            if strand is not None:
                if not strand:
                    # Whoever spawned it may be dead when it ends: control comes back here.
                    strand.parent = self._hub
                strand.switch()
        finally:
            self.current = None
            fiber.loop, fiber.hooks = _get_running_loop(), tuple(sys.get_asyncgen_hooks())
            _set_running_loop(outer)
            sys.set_asyncgen_hooks(*outer_hooks)
        if self.after_switch is not None:
            self.after_switch()

    def _advance(self, limit_us: int | None) -> bool:
        """Move time to the next timer; False if there is none, or not before the limit."""
        timers = self._timers
        if not timers or (limit_us is not None and timers[0][0] > limit_us):
            if limit_us is not None:
                self.now_us = max(self.now_us, limit_us)
            return False
        self.now_us = max(self.now_us, timers[0][0])
        while timers and timers[0][0] <= self.now_us:
            heapq.heappop(timers)[2]()
        return True

    def go_on(self, process: SimProcess) -> None:
        """A stopped process may run again."""
        process.stopped = False
        still = [fiber for fiber in self._stopped if fiber.process is not process]
        self._ready.extend(fiber for fiber in self._stopped if fiber.process is process)
        self._stopped = deque(still)

    def end(self) -> Sequence[BaseException]:
        """
        Nothing runs any more: what is blocked is unwound; what came out of fibers.

        Whoever ends the simulation has marked all processes dead, so that what their unwinding finds refuses to do
        anything. It happens here and not when the collector comes by, which might be within another simulation.
        """
        self.ended = True
        self._ready.clear()
        self._stopped.clear()
        self._timers.clear()
        fibers, self._fibers = self._fibers, []
        for fiber in fibers:
            strand, fiber.greenlet = fiber.greenlet, None
            if strand and not strand.dead:
                strand.throw()
        return self.failures


class SimEvent:
    """`threading.Event` among fibers; the test itself may wait, too, and runs the others meanwhile."""

    __slots__ = ("_flag", "_scheduler", "_waits")

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._flag = False
        self._waits: list[_Wait] = []

    def set(self) -> None:
        self._flag = True
        waits, self._waits = self._waits, []
        for wait in waits:
            self._scheduler.wake(wait)

    def clear(self) -> None:
        self._flag = False

    def is_set(self) -> bool:
        return self._flag

    def wait(self, timeout: float | None = None) -> bool:
        if self._flag:
            return True
        scheduler = self._scheduler
        if scheduler.current is None and not scheduler.ended:
            limit_us = None if timeout is None else scheduler.now_us - int(-timeout * 1_000_000 // 1)
            if not scheduler.run(self.is_set, limit_us) and timeout is None:
                raise SimulationStuckError("nothing is left to happen, and what the test waits for has not come")
            return self._flag
        return scheduler.wait(self._waits, timeout) or self._flag


class SimLock:
    """`threading.Lock` among fibers."""

    __slots__ = ("_held", "_scheduler", "_waits")

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._held = False
        self._waits: list[_Wait] = []

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        if not self._held:
            self._held = True
            return True
        if not blocking:
            return False
        if self._scheduler.current is None:
            raise SimulationStuckError("the test itself wants a lock that a fiber holds")
        # Handed over by `release`, so it is held already when the wait ends.
        return self._scheduler.wait(self._waits, None if timeout < 0 else timeout)

    def release(self) -> None:
        if not self._held:
            raise RuntimeError("release unlocked lock")
        while self._waits:
            if self._scheduler.wake(self._waits.pop(0)):
                return
        self._held = False

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self.release()
