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
from typing import TYPE_CHECKING, Any

from fluxo.errors import LeaseLostError, LimitExceededError, StoreUnavailableError
from fluxo.limits import IN_PLACE_US_MAX
from fluxo.runtime.committer import Request
from fluxo.store import Append, Committed

if TYPE_CHECKING:
    from fluxo.model.events import Event
    from fluxo.replay.loop import RunFuture
    from fluxo.runtime.async_run import AsyncRun

__all__ = ["LoneSteps"]


class LoneSteps:
    """
    The lone steps of one run.

    Attributes:
        pending: The append that the workflow waits for, and the future it waits on.
    """

    __slots__ = ("_ride", "_run", "_until_us", "pending")

    def __init__(self, run: AsyncRun) -> None:
        self.pending: tuple[Append, RunFuture] | None = None
        self._run = run
        self._until_us = run.journal.last_at_us + IN_PLACE_US_MAX
        self._ride: asyncio.Future[None] | None = None

    def record(self, event: Event) -> RunFuture | None:
        """
        Commit one event; what to await, or None when it is durable already.

        Raises:
            Suspend: the run is someone else's by now, or its history is full.
        """
        run = self._run
        try:
            append = run.journal.stage_one(event)
        except LimitExceededError as problem:
            raise run.machine.stop(problem) from None
        if run.host.busy <= 1 and event.at_us < self._until_us:
            try:
                if run.journal.settle(run.core.committer.commit(append)):
                    return None
            except StoreUnavailableError:
                pass  # the driver sends it again, with patience
            except LeaseLostError as lost:
                raise run.machine.stop(lost) from None
        future = run.loop.create_waiter()
        self.pending = (append, future)
        return future

    async def settle(self) -> None:
        """Called by the driver: carry out the pending append, and those that follow it in the same manner."""
        host = self._run.host
        if host.busy <= 1:
            await asyncio.sleep(0)  # others on the host's loop had to wait for a whole streak
        else:
            ride = self._ride = host.loop.create_future()
            self._board()
            await ride
            self._ride = None
        if self.pending is not None:
            append, future = self.pending
            await self._run.send(append)
            self.pending = None
            if not future.done():
                future.set_result(None)
        self._until_us = self._run.journal.last_at_us + IN_PLACE_US_MAX

    def _board(self) -> bool:
        """Put the pending append into the next batch, if there is one."""
        if self.pending is None:
            return False
        self._run.host.commit_for(self.pending[0], self._answered)
        return True

    def _answered(self, request: Request) -> None:
        """A batch carried the append; anything but a plain success and a next lone step is the driver's."""
        run, ride = self._run, self._ride
        driver = run.driver
        if ride is None or driver is None or ride.done():
            return
        try:
            if isinstance(request.outcome, Committed) and self.pending is not None:
                run.journal.settle(request.outcome)
                future, self.pending = self.pending[1], None
                run.home.run(self._go_on, driver, future)
                if self._board():
                    return
        except BaseException as error:
            ride.set_exception(error)
        else:
            ride.set_result(None)

    def _go_on(self, driver: asyncio.Task[Any], future: RunFuture) -> None:
        run = self._run
        _enter_task(run.host.loop, driver)
        try:
            if not future.done():
                future.set_result(None)
            run.loop.run_ready()
        finally:
            _leave_task(run.host.loop, driver)
