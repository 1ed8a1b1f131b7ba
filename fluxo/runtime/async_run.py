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
from collections.abc import Callable, Coroutine, Generator, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, NoReturn

from fluxo.authoring.context import active
from fluxo.authoring.future import Future
from fluxo.errors import LeaseLostError, ReplayError, StoreUnavailableError, Suspend, UsageError
from fluxo.model.events import Event
from fluxo.model.run import RunStatus
from fluxo.replay.command import Command, call_site
from fluxo.replay.loop import ReplayLoop, RunFuture, RunTask
from fluxo.runtime.activation import Activation, Finished
from fluxo.runtime.attempt import StepCall, StepScope, event_of_error, event_of_value
from fluxo.store import Projection

if TYPE_CHECKING:
    import random
    import uuid

    from fluxo.authoring.step import StepBase
    from fluxo.authoring.workflow import WorkflowBase
    from fluxo.replay.history import History
    from fluxo.runtime.core import Core
    from fluxo.runtime.host import Host

__all__ = ["AsyncRun"]

_log = logging.getLogger("fluxo.run")


class AsyncRun(Activation):
    """An async workflow on a host loop."""

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
        self._host = host
        self._woken = False
        self._waiter: asyncio.Future[None] | None = None
        self._driver: asyncio.Task[Any] | None = None
        self._inline = False
        self._interrupted = False
        self._tasks: dict[Command, asyncio.Task[Any]] = {}
        self._home = contextvars.Context()
        self._loop = ReplayLoop(self.machine, self._home)
        self._main: RunTask | None = None

    def begin(self) -> None:
        """Start driving; on the host's thread only."""
        self._driver = self._host.spawn(self._drive(), self._home)

    def wake(self) -> None:
        if self._host.on_thread():
            self._wake_now()
        else:
            self._host.call(self._wake_now)

    def _wake_now(self) -> None:
        self._woken = True
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)
        elif self._inline and not self._interrupted and self._cancel_waits():
            self._interrupted = True
            if self._driver is not None:
                self._driver.cancel()

    def _cancel_waits(self) -> bool:
        """Whether a cancellation came while the driver itself is inside a step."""
        if self.machine.cancel is not None:
            return False
        try:
            self._read_inbox()
        except StoreUnavailableError:
            return False
        return any(item.kind == "cancel" for item in self._messages)

    async def _drive(self) -> None:
        self._host.busy += 1
        try:
            await self._run()
        except asyncio.CancelledError:
            # The host loop is being shut down: nothing is recorded, the run goes on elsewhere.
            self.hand_back()
            raise
        finally:
            self._host.busy -= 1
            for task in self._tasks.values():
                task.cancel()
            self.core.on_left(self)
            self._loop.discard()

    async def _run(self) -> None:
        active.set(self)
        machine = self.machine
        try:
            try:
                args, kwargs = self.input()
                coro = self.definition.fn(*args, **kwargs)
                self._main = self._loop.start(coro)
                machine.on_cancel = self._main.cancel
                await self._advance(self._main)
            except ReplayError as problem:
                machine.stop(problem)
            except Suspend:
                if machine.blocked is None:
                    raise
            if machine.blocked is None and not self._main_done():
                return
            await self._conclude()
        except LeaseLostError as lost:
            _log.info("%s", lost)
        except StoreUnavailableError as problem:
            _log.warning("run %s is left as it is: %s", self.run_id, problem)

    def _main_done(self) -> bool:
        return self._main is not None and self._main.done()

    async def _advance(self, main: RunTask) -> None:
        """Step the loop until the workflow is over, blocked or handed back."""
        machine, loop = self.machine, self._loop
        while True:
            if loop.ready:
                loop.run_ready()
            if main.done() or machine.blocked is not None:
                return
            if machine.replaying:
                machine.deliver_next()
                continue
            if machine.fresh:
                self.take_fresh()
            if self.stale or self._messages or self.finished or self._dues or self._deadlines or self._run_due_us is not None:
                events = self.decide()
                if events:
                    await self._record(events, None)
                    continue
            if self.startable:
                if self.core.draining:
                    self.startable.clear()
                else:
                    await self._start()
            elif self.core.draining and not self.running:
                self.hand_back()
                return
            else:
                await self._wait()

    async def _start(self) -> None:
        startable, self.startable = self.startable, []
        if len(startable) == 1 and self._may_run_inline(startable[0]):
            await self._run_inline(startable[0])
            return
        for command in startable:
            if self.is_open(command):
                self._spawn(command)

    def _may_run_inline(self, command: Command) -> bool:
        """A lone async step awaited by the main task: nothing else can happen meanwhile but a cancellation, which is for it."""
        options = command.call.step.options_
        return (
            command.call.step.is_async
            and command.scope == ""
            and not command.call.submitted
            and options.timeout_s is None
            and len(self.machine.outstanding) == 1
            and not self.running
            and self._run_due_us is None
        )

    async def _run_inline(self, command: Command) -> None:
        call: StepCall = command.call
        attempt = command.attempt + 1
        core = self.core
        if core.observers:
            core.call_observers("on_step_started", self.run_id, command.name, attempt)
        core.hit("before_effect")
        active.set(StepScope(self, command, attempt))
        self._inline = True
        event: Event | None = None
        try:
            value = await call.step.invoke(call.args, call.kwargs)
            event = event_of_value(command, attempt, value, self.journal.at_us())
        except (KeyboardInterrupt, SystemExit):
            raise
        except asyncio.CancelledError as error:
            if not self._interrupted:
                if self._driver is not None and self._driver.cancelling():
                    raise
                event = event_of_error(command, attempt, error, self.journal.at_us(), core.draw())
        except BaseException as error:
            event = event_of_error(command, attempt, error, self.journal.at_us(), core.draw())
        finally:
            active.set(self)
            self._inline = False
            if self._interrupted:
                self._interrupted = False
                if self._driver is not None:
                    self._driver.uncancel()
        core.hit("after_effect")
        if event is None:
            self.startable.append(command)  # interrupted by a cancellation that is decided next
        else:
            await self._record([event], None)

    def _spawn(self, command: Command) -> None:
        attempt = self.began(command)
        call: StepCall = command.call
        context = call.context.copy() if call.context is not None else self._home.copy()
        if call.step.is_async:
            context.run(active.set, StepScope(self, command, attempt))
            self._tasks[command] = self._host.spawn(self.attempt_on_loop(command, attempt), context)
        else:
            self.core.step_threads.submit(lambda: context.run(self.attempt_in_thread, command, attempt))

    def settle(self, done: Finished) -> None:
        if self._host.on_thread():
            self._settle(done)
        else:
            self._host.call(self._settle, done)

    def _settle(self, done: Finished) -> None:
        self._tasks.pop(done.command, None)
        self.finished.append(done)
        self._wake_now()

    def attempt_expired(self, command: Command) -> None:
        self._stop_task(command)

    def _stop_task(self, command: Command) -> None:
        task = self._tasks.pop(command, None)
        if task is not None:
            task.cancel()

    async def _wait(self) -> None:
        if self._woken:
            self._woken = False
            return
        if self.should_park():
            if not self.machine.outstanding:
                _log.warning("run %s waits for nothing: its workflow awaits something that no step, timer or signal will set", self.run_id)
            await self._record([self.park_event()], self.projection(RunStatus.WAITING, wake_at_us=self.wake_at_us()))
            return
        wait_s = self.wait_s()
        waiter = self._waiter = self._host.loop.create_future()
        timer = None if wait_s is None else self._host.loop.call_later(wait_s, self._wake_now)
        self._host.busy -= 1
        try:
            await waiter
        finally:
            self._host.busy += 1
            self._waiter = None
            if timer is not None:
                timer.cancel()
        self._woken = False

    async def _record(self, events: Sequence[Event], projection: Projection | None) -> None:
        first = self.journal.seq + 1
        await self._commit(events, projection)
        self.core.hit("after_ack")
        machine, loop, main = self.machine, self._loop, self._main
        for seq, event in enumerate(events, first):
            machine.apply(event, seq)
            if loop.ready:
                loop.run_ready()
            if machine.blocked is not None or (main is not None and main.done()):
                return

    async def _commit(self, events: Sequence[Event], projection: Projection | None) -> None:
        core, host, journal = self.core, self._host, self.journal
        append = self.stage(events, projection)
        tries = 0
        while True:
            try:
                outcome = core.committer.commit(append) if host.busy <= 1 else await host.commit(append)
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
                raise StoreUnavailableError(f"run {self.run_id!r}", "the outcome of its last append is unknown; it is left as it is")
            await asyncio.sleep(core.backoff_s(tries))
        self.committed(events)

    async def _conclude(self) -> None:
        machine, main = self.machine, self._main
        if machine.blocked is None and main is not None:
            value, error = None, None
            if main.cancelled():
                error = asyncio.CancelledError()
            else:
                error = main.exception()
                value = main.result() if error is None else None
            try:
                event, projection = self.ending(value, error)
            except ReplayError as problem:
                machine.stop(problem)
            else:
                await self._commit([event], projection)
                return
        if machine.blocked is not None:
            event, projection = self.blocking(machine.blocked)
            await self._commit([event], projection)

    def is_cancellation(self, error: BaseException) -> bool:
        return isinstance(error, asyncio.CancelledError) and self.machine.cancel is not None

    # What workflow code calls.

    def call_step(self, step: StepBase, args: tuple[Any, ...], kwargs: dict[str, Any]) -> NoReturn:
        raise UsageError(f"sync {step.where} called in an async workflow: spell it await {step.name}.aio(...)")

    def call_async_step(self, step: StepBase, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Coroutine[Any, Any, Any]:
        return self._step(step, args, kwargs, call_site(3))

    def await_step(self, step: StepBase, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Coroutine[Any, Any, Any]:
        return self._step(step, args, kwargs, call_site(3))

    async def _step(self, step: StepBase, args: tuple[Any, ...], kwargs: dict[str, Any], site: str) -> Any:
        machine, loop = self.machine, self._loop
        if machine.blocked is not None or loop.closing:
            raise Suspend("this workflow has been suspended: nothing can be executed here any more")
        scope = loop.scope()
        body = None
        if step.options_.record_args:
            body = step.arguments.encode(step.split(args), kwargs, step.where)
        if machine.replaying and not loop.ready:
            event = machine.recorded(scope, step.name, body)
            if event is not None:
                return self.decoded(step, event.result)  # type: ignore[union-attr]
        command = machine.issue(scope, "step", step.name, site, body)
        call = command.call = StepCall(step, args, kwargs)
        if scope is not machine.root:
            call.context = contextvars.copy_context()
        await self._completion(command)
        return self.outcome(command)

    async def _completion(self, command: Command) -> None:
        future = self._loop.create_future()
        command.wake = lambda: None if future.done() else future.set_result(None)
        try:
            await future
        except BaseException:
            self._give_up(command)
            raise

    def _give_up(self, command: Command) -> None:
        if command.event is None:
            self.machine.abandon(command)
            self._stop_task(command)

    def submit_step(self, step: StepBase, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Future[Any]:
        self._check()
        machine = self.machine
        scope = self._loop.scope()
        body = None
        if step.options_.record_args:
            body = step.arguments.encode(step.split(args), kwargs, step.where)
        command = machine.issue(scope, "step", step.name, call_site(2), body)
        call = command.call = StepCall(step, args, kwargs)
        call.submitted = True
        call.context = contextvars.copy_context()
        return AsyncFuture(self, command, self._loop.create_future())

    def call_workflow(self, name: str) -> NoReturn:
        raise UsageError(f"workflow {name!r} called inside a workflow: child runs do not exist yet; make it a step")

    async def async_sleep(self, delay_us: int | None, until_us: int | None) -> None:
        self._check()
        machine = self.machine
        args = b"%d" % delay_us if delay_us is not None else b"@%d" % (until_us or 0)
        command = machine.issue(self._loop.scope(), "timer", "sleep", call_site(2), args)
        command.due_us = until_us if delay_us is None else machine.now_us + delay_us
        await self._completion(command)

    async def async_wait_signal(
        self, names: tuple[str, ...], annotation: Any, timeout_us: int | None
    ) -> tuple[str, Any]:
        self._check()
        machine = self.machine
        args = b"%s|%s" % (b"" if timeout_us is None else b"%d" % timeout_us, "|".join(names).encode())
        command = machine.issue(self._loop.scope(), "signal", " | ".join(names), call_site(2), args)
        command.call = names
        command.due_us = None if timeout_us is None else machine.now_us + timeout_us
        await self._completion(command)
        return self.signal_outcome(command, annotation)

    async def async_wait_futures(self, futures: list[Future[Any]], count: int) -> None:
        self._check()
        pending = [future.future for future in futures if isinstance(future, AsyncFuture)]
        while sum(future.done() for future in pending) < count:
            gate = self._loop.create_future()

            def open_gate(_: Any, gate: RunFuture = gate) -> None:
                if not gate.done():
                    gate.set_result(None)

            waiting = [future for future in pending if not future.done()]
            for future in waiting:
                future.add_done_callback(open_gate)
            try:
                await gate
            finally:
                for future in waiting:
                    future.remove_done_callback(open_gate)

    def sleep(self, delay_us: int | None, until_us: int | None) -> NoReturn:
        raise UsageError("fluxo.sleep blocks: in an async workflow await asyncio.sleep or fluxo.aio.sleep")

    def wait_signal(self, names: tuple[str, ...], annotation: Any, timeout_us: int | None) -> NoReturn:
        raise UsageError("fluxo.wait_signal blocks: in an async workflow await fluxo.aio.wait_signal")

    def wait_futures(self, futures: list[Future[Any]], count: int) -> NoReturn:
        raise UsageError("this blocks: in an async workflow await fluxo.aio.wait, or the futures themselves")

    def deliver_signal(self, run_id: str, name: str, payload: bytes, key: str) -> NoReturn:
        raise UsageError("signals leave a workflow through fluxo.aio.signal")

    def shield(self) -> AbstractContextManager[None]:
        raise UsageError("fluxo.shield is for sync workflows: in an async one use asyncio.shield")

    def now_us(self) -> int:
        return self.machine.now_us

    def random(self) -> random.Random:
        return self.random_of(self._loop.scope().path, "random")

    def uuid4(self) -> uuid.UUID:
        return self.uuid_of(self._loop.scope().path)

    def resource(self, name: str) -> NoReturn:
        raise UsageError(f"fluxo.resource({name!r}) is for steps: what it gives is not replayed, so a workflow must not use it")

    def _check(self) -> None:
        if self.machine.blocked is not None or self._loop.closing:
            raise Suspend("this workflow has been suspended: nothing can be executed here any more")


class AsyncFuture(Future[Any]):
    """A submitted step of an async workflow."""

    __slots__ = ("command", "future", "run")

    def __init__(self, run: AsyncRun, command: Command, future: RunFuture) -> None:
        self.run = run
        self.command = command
        self.future = future
        command.wake = self._wake

    def _wake(self) -> None:
        if not self.future.done():
            self.future.set_result(None)

    def result(self) -> Any:
        if self.command.event is None:
            raise UsageError(f"step {self.command.name!r} is not done: await the future instead of calling .result()")
        return self.run.outcome(self.command)

    def exception(self) -> BaseException | None:
        try:
            self.result()
        except UsageError:
            raise
        except Exception as error:
            return error
        return None

    def done(self) -> bool:
        return self.command.event is not None

    def __await__(self) -> Generator[Any, Any, Any]:
        if self.command.event is None:
            # A waiter of its own: cancelling one await must not end the step for the others.
            yield from asyncio.shield(self.future).__await__()
        return self.run.outcome(self.command)
