"""
An asyncio loop that is a fiber: its waits are the scheduler's, its time is virtual.

Owns: the loop on which simulated engines run async workflows and async steps. Must not know either. Files, sockets and
subprocesses are outside a simulation and are refused by asyncio's own base class; blocking calls handed to an executor
are made on the spot, so that their place in the order is fixed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

from fluxo.runtime.host import Host
from fluxo.testing.simulation.fibers import Scheduler, SimEvent, SimProcess

if TYPE_CHECKING:
    from fluxo.runtime.core import Core

__all__ = ["FiberLoop", "VirtualLoop"]


class _Selector:
    """Where asyncio's loop would wait for sockets: the fiber waits for a call from another, or for the time."""

    __slots__ = ("_wakeup",)

    def __init__(self, wakeup: SimEvent) -> None:
        self._wakeup = wakeup

    def select(self, timeout: float | None = None) -> Sequence[Any]:
        if timeout is None or timeout > 0:
            self._wakeup.wait(timeout)
            self._wakeup.clear()
        return ()


class VirtualLoop(asyncio.BaseEventLoop):
    """asyncio's own loop on virtual time."""

    def __init__(self, scheduler: Scheduler, wakeup: SimEvent) -> None:
        super().__init__()
        self._scheduler = scheduler
        self._wakeup = wakeup
        self._selector = _Selector(wakeup)
        self._clock_resolution = 1e-6
        self.set_debug(False)  # its check that calls come from the loop's thread cannot tell fibers apart

    def time(self) -> float:
        return self._scheduler.now_us / 1_000_000

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        """Made on the spot; asyncio.to_thread comes here, too."""
        outcome = self.create_future()
        try:
            outcome.set_result(func(*args))
        except Exception as error:
            outcome.set_exception(error)
        return outcome

    def _process_events(self, event_list: Sequence[Any]) -> None:
        """There are none."""

    def _write_to_self(self) -> None:
        self._wakeup.set()


class FiberLoop:
    """A `VirtualLoop` that is run by a fiber of its own; a `LoopRunner`."""

    def __init__(self, scheduler: Scheduler, process: SimProcess, ident: Callable[[], int]) -> None:
        self.loop = VirtualLoop(scheduler, SimEvent(scheduler))
        self.core_host: Host | None = None
        self._scheduler = scheduler
        self._process = process
        self._ident = ident
        self._closing = False
        self._fiber = scheduler.spawn(process, self._run, "loop")

    def make_host(self, core: Core) -> Host:
        """The engine's host of this loop."""
        scheduler, standing = self._scheduler, self._scheduler.current
        scheduler.current = self._fiber  # a host belongs to the thread that makes it
        try:
            self.core_host = Host(core, self.loop, self._ident)
        finally:
            scheduler.current = standing
        return self.core_host

    def close(self) -> None:
        """End the fiber; what is left on the loop is dropped with `discard`."""
        self._closing = True
        self.loop.call_soon_threadsafe(lambda: None)
        self._scheduler.join(self._fiber)

    def hush(self) -> None:
        """The process is dead: what its unwinding wakes shall neither run nor complain."""
        self.loop.set_exception_handler(lambda _, __: None)
        loop: Any = self.loop
        for handle in loop._ready:
            handle.cancel()

    def discard(self) -> None:
        """All is unwound: close the loop, with what never ended on it."""
        for task in asyncio.all_tasks(self.loop):
            task._log_destroy_pending = False  # type: ignore[attr-defined]
            coro: Any = task.get_coro()
            with suppress(BaseException):  # what its own unwinding finds refuses to do anything
                copy_context().run(coro.close)
        self.loop.close()

    def _run(self) -> None:
        asyncio._set_running_loop(self.loop)
        loop: Any = self.loop
        loop._thread_id = -1  # asyncio's mark of a loop that runs
        try:
            while self._process.alive and not self._closing:
                loop._run_once()
        finally:
            asyncio._set_running_loop(None)
            loop._thread_id = None
