"""
The short way of a lone step in an async workflow: its event is committed with nothing beside it.

Owns: where that commit happens (in place, in the driver, or batch by batch without waking the driver). Must not know
how a step is called or what its event says. With one busy run the commit is made in place, for a bounded streak; with
many, each batch's answer steps the workflow on the spot, standing in for the driver's task, until something else comes
up.
"""

from __future__ import annotations

import asyncio

# Documented as what extensions of asyncio are built on.
from asyncio.tasks import _enter_task, _leave_task  # pyright: ignore[reportPrivateUsage]
from collections.abc import Callable, Generator
from contextvars import Context
from typing import TYPE_CHECKING, Any

from fluxo.errors import LeaseLostError, LimitExceededError, StoreUnavailableError
from fluxo.limits import IN_PLACE_US_MAX
from fluxo.runtime.committer import Request
from fluxo.store import Append, Committed

if TYPE_CHECKING:
    from fluxo.model.events import Event
    from fluxo.runtime.async_run import AsyncRun

__all__ = ["LoneSteps"]


class LoneSteps:
    """
    The lone steps of one run, and what its workflow awaits while one of them is being committed.

    It is awaited like a future, again and again: one object serves all of a run's steps, for only one is under way at a
    time and nobody but the main task ever waits for it.

    Attributes:
        pending: The append that the workflow waits for.
    """

    __slots__ = ("_asyncio_future_blocking", "_request", "_ride", "_run", "_until_us", "_wakeup", "pending")

    def __init__(self, run: AsyncRun) -> None:
        self.pending: Append | None = None
        self._run = run
        self._until_us = run.journal.last_at_us + IN_PLACE_US_MAX
        self._ride: asyncio.Future[None] | None = None
        self._request: Request | None = None
        self._wakeup: Callable[[Any], object] | None = None
        # The protocol by which asyncio's tasks wait for objects that are no futures of its own.
        self._asyncio_future_blocking = False

    def record(self, event: Event) -> bool:
        """
        Commit one event; False when the workflow must await this object until it is durable.

        Raises:
            Suspend: the run is someone else's by now, or its history is full.
        """
        run = self._run
        try:
            append = run.journal.stage_one(event)
        except LimitExceededError as problem:
            raise run.machine.stop(problem) from None
        if run.host.is_quiet(1) and event.at_us < self._until_us:
            try:
                if run.journal.settle(run.core.committer.commit(append)):
                    return True
            except StoreUnavailableError:
                pass  # the driver sends it again, with patience
            except LeaseLostError as lost:
                raise run.machine.stop(lost) from None
        self.pending = append
        return False

    def __await__(self) -> Generator[Any, Any, None]:
        self._asyncio_future_blocking = True
        yield self

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """Asked by the task that waits."""
        return self._run.loop

    def add_done_callback(self, callback: Callable[[Any], object], *, context: Context) -> None:
        """Called by the task that waits; the context is the driver's own, which it shares."""
        self._wakeup = callback

    def result(self) -> None:
        """Asked by the task that has been woken."""

    def cancel(self, msg: Any = None) -> bool:
        """The commit is on its way and cannot be called back: the task is cancelled where it waits next."""
        return False

    async def settle(self) -> None:
        """Called by the driver: carry out the pending append, and those that follow it in the same manner."""
        host = self._run.host
        if host.is_quiet(1):
            await asyncio.sleep(0)  # others on the host's loop had to wait for a whole streak
        else:
            ride = self._ride = host.loop.create_future()
            if self.pending is not None:
                self._request = Request(self.pending, None, host.done, self._answered)
                host.enqueue(self._request)
            try:
                await ride
            finally:
                self._ride = self._request = None
        if self.pending is not None:
            await self._run.send(self.pending)
            self.pending = None
        wakeup, self._wakeup = self._wakeup, None
        if wakeup is not None:
            self._run.loop.call_soon(wakeup, self, context=self._run.home)
        self._until_us = self._run.journal.last_at_us + IN_PLACE_US_MAX

    def _board(self) -> bool:
        """Put the pending append into the next batch, if there is one."""
        request, append = self._request, self.pending
        if append is None or request is None:
            return False
        request.append, request.outcome = append, None
        self._run.host.enqueue(request)
        return True

    def _answered(self, request: Request) -> None:
        """A batch carried the append; anything but a plain success and a next lone step is the driver's."""
        run, ride = self._run, self._ride
        driver = run.driver
        if ride is None or driver is None or ride.done():
            return
        try:
            if type(request.outcome) is Committed:
                run.journal.settle(request.outcome)
                self.pending = None
                run.home.run(self._go_on, driver)
                if self._board():
                    return
        except BaseException as error:
            ride.set_exception(error)
        else:
            ride.set_result(None)

    def _go_on(self, driver: asyncio.Task[Any]) -> None:
        """Step the workflow's main task as its loop would, the host's task being the driver meanwhile."""
        run = self._run
        host_loop, loop = run.host.loop, run.loop
        wakeup, self._wakeup = self._wakeup, None
        _enter_task(host_loop, driver)
        try:
            if wakeup is not None:
                loop.step_main(wakeup, self, host_loop)
        finally:
            _leave_task(host_loop, driver)
