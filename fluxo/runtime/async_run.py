"""
The driver of async workflows: a host task that steps the run's own deterministic loop.

Owns: awaiting steps, host tasks for parallel attempts, waiting. Must not know the replay rules beyond `Machine` and
`ReplayLoop`. The workflow's main task shares the driver's context, so that a lone step can run inside the driver's
task with the workflow's context variables; everything parallel gets host tasks of its own.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fluxo.authoring.context import active
from fluxo.errors import LeaseLostError, ReplayError, StoreUnavailableError, Suspend
from fluxo.limits import SHUTDOWN_PAUSE_S
from fluxo.model.events import Event
from fluxo.model.run import RunStatus
from fluxo.replay.command import Command
from fluxo.replay.loop import ReplayLoop, RunTask
from fluxo.runtime.activation import Activation
from fluxo.runtime.async_scope import AsyncScope
from fluxo.runtime.attempt import Finished, StepCall, event_of_error, event_of_value, step_scope
from fluxo.runtime.committer import answer
from fluxo.runtime.ending import blocking, ending
from fluxo.runtime.lone import LoneSteps
from fluxo.store import Append, Projection

if TYPE_CHECKING:
    from fluxo.authoring.workflow import WorkflowBase
    from fluxo.replay.history import History
    from fluxo.runtime.core import Core
    from fluxo.runtime.host import Host

__all__ = ["AsyncRun"]

_log = logging.getLogger("fluxo.run")


class AsyncRun(Activation):
    """
    An async workflow on a host loop.

    Attributes:
        host: The loop it lives on.
        loop, home: Its own deterministic loop, and the context its main task shares with the driver.
        driver: The host task that steps the loop.
        lone: The short way of steps with nothing beside them.
    """

    def __init__(
        self,
        core: Core,
        definition: WorkflowBase,
        key: int,
        nonce: int,
        history: History,
        delivered: int,
        host: Host,
    ) -> None:
        super().__init__(core, definition, key, nonce, history, delivered)
        self.host = host
        self._woken = False
        self._waiter: asyncio.Future[None] | None = None
        self.driver: asyncio.Task[Any] | None = None
        self._inline = False
        self._interrupted = False
        self._tasks: dict[Command, asyncio.Task[Any]] = {}
        self.home = contextvars.Context()
        # typeshed marks every method of the base abstract; those a workflow must not use stay unimplemented.
        self.loop = ReplayLoop(self.machine, self.home)  # type: ignore[abstract]
        self.loop.guard = core.guard
        self._main: RunTask | None = None
        self.lone = LoneSteps(self)
        self._scope = AsyncScope(self, self.loop)

    def begin(self) -> None:
        """Start driving; on the host's thread only."""
        # Counted from here, not from its first step: a run that is about to begin is company for the others' commits.
        self.host.busy += 1
        self.driver = self.host.spawn(self._drive(), self.home)
        self.driver.add_done_callback(self._over)

    def _over(self, _: asyncio.Task[Any]) -> None:
        self.host.busy -= 1

    def wake(self) -> None:
        if self.host.on_thread():
            self._wake_now()
        else:
            self.host.call(self._wake_now)

    def _wake_now(self) -> None:
        self._woken = True
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)
        elif self._inline and not self._interrupted and self._cancel_waits():
            self._interrupted = True
            if self.driver is not None:
                self.driver.cancel()

    def _cancel_waits(self) -> bool:
        """Whether a cancellation came while the driver itself is inside a step."""
        try:
            self.agenda.read_inbox()
        except StoreUnavailableError:
            return False
        return self.agenda.cancel_waits()

    async def _drive(self) -> None:
        try:
            await self._run()
        except asyncio.CancelledError:
            # The host loop is being shut down: nothing is recorded, the run goes on elsewhere.
            self.hand_back()
            raise
        except (KeyboardInterrupt, SystemExit):
            self.hand_back(SHUTDOWN_PAUSE_S)
            raise
        finally:
            for task in self._tasks.values():
                task.cancel()
            self.core.on_left(self)
            self._dismantle()

    def _dismantle(self) -> None:
        """Drop the workflow and untie what ties this activation together, so that it goes without the collector."""
        self.loop.discard()
        self._main = self.driver = None
        self.machine.on_cancel = None
        self.agenda.on_expired = None
        del self.home, self._scope, self.lone

    async def _run(self) -> None:
        active.set(self._scope)
        machine = self.machine
        try:
            try:
                args, kwargs = self.input()
                coro = self.definition.fn(*args, **kwargs)
                self._main = self.loop.start(coro)
                machine.on_cancel = self._main.cancel
                await self._advance(self._main)
            except ReplayError as problem:
                machine.stop(problem)
            except Suspend:
                if machine.blocked is None:
                    raise
            if self.journal.lost or (machine.blocked is None and not (self._main and self._main.done())):
                return
            await self._conclude()
        except LeaseLostError as lost:
            _log.info("%s", lost)
        except StoreUnavailableError as problem:
            _log.warning("run %s is left as it is: %s", self.run_id, problem)

    async def _advance(self, main: RunTask) -> None:
        """Step the loop until the workflow is over, blocked or handed back."""
        machine, loop = self.machine, self.loop
        while True:
            if loop.ready:
                loop.run_ready()
            if main.done() or machine.blocked is not None:
                return
            if self.lone.pending is not None:
                await self.lone.settle()
                continue
            if machine.replaying:
                machine.deliver_next()
                continue
            if self.leaving or self.journal.lost:
                self.hand_back(SHUTDOWN_PAUSE_S)
                return
            if not await self._advance_live():
                return

    async def _advance_live(self) -> bool:
        """One live turn: the next facts, else attempts, else a wait; False when the run was handed back."""
        agenda = self.agenda
        if self.machine.fresh:
            agenda.take_fresh()
        if agenda.stale or agenda.busy:
            events = agenda.decide()
            if events:
                await self._record(events, None)
                return True
        if agenda.startable:
            if self.core.draining:
                agenda.drop_unbegun()
            await self._start()
        elif self.core.draining and not agenda.running:
            self.hand_back()
            return False
        else:
            await self._wait()
        return True

    async def _start(self) -> None:
        startable, self.agenda.startable = self.agenda.startable, []
        if len(startable) == 1 and self._may_run_inline(startable[0]):
            await self._run_inline(startable[0])
            return
        for command in startable:
            if self.agenda.is_open(command):
                self._spawn(command)

    def _may_run_inline(self, command: Command) -> bool:
        """A lone async step awaited by the main task: only a cancellation can come meanwhile, and it is for it."""
        options = command.call.step.options_
        return (
            command.call.step.is_async
            and command.scope == ""
            and not command.call.submitted
            and options.timeout_s is None
            and len(self.machine.outstanding) == 1
            and not self.agenda.running
            and not self.agenda.has_timeout
        )

    async def _run_inline(self, command: Command) -> None:
        call: StepCall = command.call
        attempt = command.attempt + 1
        core = self.core
        if core.observers:
            core.call_observers("on_step_started", self.run_id, command.name, attempt)
        core.hit("before_effect")
        active.set(step_scope(self, command, attempt))
        self._inline = True
        event: Event | None = None
        try:
            value = await call.body(core.invoke)
            event = event_of_value(command, attempt, value, self.journal.at_us())
        except (KeyboardInterrupt, SystemExit, GeneratorExit):
            # A shutdown, or the host's loop was closed under us: no outcome of the step.
            raise
        except asyncio.CancelledError as error:
            if not self._interrupted:
                if self.driver is not None and self.driver.cancelling():
                    raise
                event = event_of_error(command, attempt, error, self.journal.at_us(), core.draw())
        except BaseException as error:
            event = event_of_error(command, attempt, error, self.journal.at_us(), core.draw())
        finally:
            active.set(self._scope)
            self._inline = False
            if self._interrupted:
                self._interrupted = False
                if self.driver is not None:
                    self.driver.uncancel()
        core.hit("after_effect")
        if event is None:
            self.agenda.startable.append(command)  # interrupted by a cancellation that is decided next
        else:
            await self._record([event], None)

    def _spawn(self, command: Command) -> None:
        attempt = self.began(command)
        call: StepCall = command.call
        context = call.context.copy() if call.context is not None else self.home.copy()
        if call.step.is_async:
            context.run(active.set, step_scope(self, command, attempt))
            self._tasks[command] = self.host.spawn(self.attempt_on_loop(command, attempt), context)
        else:
            self.core.step_threads.submit(lambda: context.run(self.attempt_in_thread, command, attempt))

    def settle(self, done: Finished) -> None:
        if self.host.on_thread():
            self._settle(done)
        else:
            self.host.call(self._settle, done)

    def _settle(self, done: Finished) -> None:
        self._tasks.pop(done.command, None)
        self.agenda.finished.append(done)
        self._wake_now()

    def stop_attempt(self, command: Command) -> None:
        task = self._tasks.pop(command, None)
        if task is not None:
            task.cancel()

    async def _wait(self) -> None:
        if self._woken:
            self._woken = False
            return
        if self.should_park():
            if not self.machine.outstanding:
                _log.warning(
                    "run %s waits for nothing: its workflow awaits something that no step, timer or signal will set",
                    self.run_id,
                )
            await self._record(
                [self.park_event()], self.projection(RunStatus.WAITING, wake_at_us=self.agenda.wake_at_us())
            )
            return
        wait_s = self.agenda.wait_s()
        waiter = self._waiter = self.host.loop.create_future()
        timer = None if wait_s is None else self.host.loop.call_later(wait_s, self._wake_now)
        self.host.busy -= 1
        try:
            await waiter
        finally:
            self.host.busy += 1
            self._waiter = None
            if timer is not None:
                timer.cancel()
        self._woken = False

    async def _record(self, events: Sequence[Event], projection: Projection | None) -> None:
        first = self.journal.seq + 1
        await self._commit(events, projection)
        self.core.hit("after_ack")
        machine, loop, main = self.machine, self.loop, self._main
        for seq, event in enumerate(events, first):
            machine.apply(event, seq)
            if loop.ready:
                loop.run_ready()
            if machine.blocked is not None or (main is not None and main.done()):
                return

    async def _commit(self, events: Sequence[Event], projection: Projection | None) -> None:
        await self.send(self.stage(events, projection))
        self.committed(events)

    async def send(self, append: Append) -> None:
        """Send a staged append until the store has answered it for good."""
        core, host, journal = self.core, self.host, self.journal
        tries = 0
        while True:
            try:
                outcome = core.committer.commit(append) if host.is_quiet(1) else answer(await host.commit(append))
            except StoreUnavailableError as error:
                tries += 1
                if core.stopped.is_set():
                    raise
                await asyncio.sleep(core.store_failed(self.run_id, tries, error))
                continue
            core.hit("after_commit")
            if journal.settle(outcome):
                break
            tries += 1
            if core.stopped.is_set():
                raise StoreUnavailableError(
                    f"run {self.run_id!r}", "the outcome of its last append is unknown; it is left as it is"
                )
            await asyncio.sleep(core.backoff_s(tries))

    async def _conclude(self) -> None:
        machine, main = self.machine, self._main
        if machine.blocked is None and main is not None:
            value: Any = None
            error: BaseException | None = None
            if main.cancelled():
                error = asyncio.CancelledError()
            else:
                error = main.exception()
                value = main.result() if error is None else None
            try:
                event, projection = ending(self, value, error)
            except ReplayError as problem:
                machine.stop(problem)
            else:
                await self._commit([event], projection)
                return
        if machine.blocked is not None:
            event, projection = blocking(self, machine.blocked)
            await self._commit([event], projection)

    def is_cancellation(self, error: BaseException) -> bool:
        return isinstance(error, asyncio.CancelledError) and self.machine.cancel is not None
