"""
What code of an async workflow calls: steps, timers, signals, futures. Plain asyncio goes to `ReplayLoop` instead.

Owns: how each call becomes a command with the scope of its task, and which spellings are refused here. Must not know
how a command is carried out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from contextlib import AbstractContextManager
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, NoReturn

from fluxo.authoring.context import active
from fluxo.authoring.future import Future
from fluxo.errors import CodecError, LimitExceededError, UsageError
from fluxo.model.events import StepCompleted
from fluxo.replay.command import Command, call_site
from fluxo.replay.loop import ReplayLoop, RunFuture
from fluxo.runtime.attempt import Begun, Over, StepCall, StepScope

if TYPE_CHECKING:
    import random
    import uuid

    from fluxo.authoring.context import RunContext
    from fluxo.authoring.step import StepBase
    from fluxo.runtime.async_run import AsyncRun

__all__ = ["AsyncFuture", "AsyncScope"]


class AsyncScope:
    """Stands in the context variable while an async workflow's own code runs; see `RunScope`."""

    __slots__ = ("_loop", "_machine", "_run")

    def __init__(self, run: AsyncRun, loop: ReplayLoop) -> None:
        self._run = run
        self._machine = run.machine
        self._loop = loop

    def check(self) -> None:
        """
        Refuse calls that could not be recorded.

        Raises:
            Suspend: the workflow is being dropped.
        """
        if self._machine.blocked is not None or self._loop.closing:
            self._loop.refuse()

    def call_async_step(
        self, step: StepBase, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Coroutine[Any, Any, Any]:
        self.check()
        return self._step(step, args, kwargs, call_site(3))

    def await_step(self, step: StepBase, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Coroutine[Any, Any, Any]:
        self.check()
        return self._step(step, args, kwargs, call_site(3))

    async def _step(self, step: StepBase, args: tuple[Any, ...], kwargs: dict[str, Any], site: str) -> Any:
        machine, loop = self._machine, self._loop
        if machine.blocked is not None or loop.closing:
            loop.refuse()
            await loop.create_waiter()
        scope = machine.root if loop.in_main else loop.scope()
        body = step.encoded(args, kwargs)
        if machine.replaying and not loop.ready:
            event = machine.recorded(scope, step.name, body)
            if event is not None:
                return self._run.decoded(step, event.result)
        elif scope is machine.root and self._is_lone(step):
            value, durable, begun = self._begin_alone(step, args, kwargs, body, site)
            if begun is None:
                if not durable:
                    await self._run.lone
                return value
            await self._completion(begun)
            return self._run.outcome(begun)
        command = machine.issue(scope, "step", step.name, site, body)
        call = command.call = StepCall(step, args, kwargs)
        if scope is not machine.root:
            call.context = copy_context()
        await self._completion(command)
        return self._run.outcome(command)

    def _is_lone(self, step: StepBase) -> bool:
        """Live, nothing else open or ready, nothing to decide before this step, and it may start on this very task."""
        run, agenda = self._run, self._run.agenda
        return (
            step.is_async
            and step.untimed
            and run.plain
            and not run.parked
            and not agenda.stale
            and not agenda.busy
            and not self._machine.replaying
            and not self._machine.outstanding
            and not self._loop.ready
        )

    def _begin_alone(
        self, step: StepBase, args: tuple[Any, ...], kwargs: dict[str, Any], body: bytes | None, site: str
    ) -> tuple[Any, bool, Command | None]:
        """
        The common case, without the machinery: the body begins here, in the driver's host task.

        If it never suspends, its event is committed with no command and no attempt object: (value, whether it is
        durable already, None). Takes the same numbers and writes the same event as the long way, which a body that
        suspends or fails goes on with: (None, False, its command).
        """
        run, machine, root = self._run, self._machine, self._machine.root
        position, ordinal = root.position, machine.issued
        root.position, machine.issued = position + 1, ordinal + 1
        coro = step.fn(*args, **kwargs) if step.bound is None else step.invoke(args, kwargs)
        active.set(StepScope(run, step.name, "", position, 1))
        self._loop.leave(run.host.loop)
        begun: Begun | Over | None = None
        over = False
        value: Any = None
        try:
            begun = Begun(coro, coro.send(None))
        except StopIteration as stop:
            over, value = True, stop.value
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            begun = Over(None, error)
        finally:
            active.set(self)
        if over:
            try:
                result, value = step.result.roundtrip(value, step.where)
            except (CodecError, LimitExceededError):
                pass  # said by the long way, as the step's failure
            else:
                at_us = machine.now_us = run.journal.at_us()
                event = StepCompleted(at_us, "", position, ordinal, step.name, site, body, 1, result)
                durable = True
                try:
                    durable = run.lone.record(event)
                finally:
                    if durable:
                        self._loop.enter()
                return value, durable, None
        self._loop.enter()
        command = Command("", position, ordinal, "step", step.name, site, body)
        call = command.call = StepCall(step, args, kwargs)
        call.begun = Over(value, None) if begun is None else begun
        machine.adopt(command)
        machine.fresh.append(command)
        return None, False, command

    async def _completion(self, command: Command) -> None:
        future = command.waiter = self._loop.create_waiter()
        try:
            await future
        except BaseException:
            if command.event is None:
                self._machine.abandon(command)
                self._run.stop_attempt(command)
            raise

    def submit_step(self, step: StepBase, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Future[Any]:
        self.check()
        body = step.encoded(args, kwargs)
        command = self._machine.issue(self._loop.scope(), "step", step.name, call_site(2), body)
        call = command.call = StepCall(step, args, kwargs)
        call.submitted = True
        call.context = copy_context()
        future = command.waiter = self._loop.create_waiter()
        return AsyncFuture(self._run, command, future)

    async def async_sleep(self, delay_us: int | None, until_us: int | None) -> None:
        self.check()
        machine = self._machine
        args = b"@%d" % (until_us or 0) if delay_us is None else b"%d" % delay_us
        command = machine.issue(self._loop.scope(), "timer", "sleep", self._loop.site(2), args)
        command.due_us = until_us if delay_us is None else machine.now_us + delay_us
        await self._completion(command)

    async def async_wait_signal(
        self, names: tuple[str, ...], annotation: Any, timeout_us: int | None
    ) -> tuple[str, Any]:
        self.check()
        machine = self._machine
        args = b"%s|%s" % (b"" if timeout_us is None else b"%d" % timeout_us, "|".join(names).encode())
        command = machine.issue(self._loop.scope(), "signal", " | ".join(names), self._loop.site(2), args)
        command.call = names
        command.due_us = None if timeout_us is None else machine.now_us + timeout_us
        await self._completion(command)
        return self._run.signal_outcome(command, annotation)

    async def async_wait_futures(self, futures: list[Future[Any]], count: int) -> None:
        self.check()
        pending = [future.future for future in futures if isinstance(future, AsyncFuture)]
        while sum(future.done() for future in pending) < count:
            gate = self._loop.create_waiter()

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

    def now_us(self) -> int:
        return self._machine.now_us

    def random(self) -> random.Random:
        return self._run.random_of(self._loop.scope().path, "random")

    def uuid4(self) -> uuid.UUID:
        return self._run.uuid_of(self._loop.scope().path)

    def info(self) -> RunContext:
        return self._run.info()

    def call_step(self, step: StepBase, args: tuple[Any, ...], kwargs: dict[str, Any]) -> NoReturn:
        raise UsageError(f"sync {step.where} called in an async workflow: spell it await {step.name}.aio(...)")

    def about_to_block(self, awaitable: str) -> NoReturn:
        raise UsageError(f"this call blocks: in an async workflow await {awaitable}")

    def call_workflow(self, name: str) -> NoReturn:
        raise UsageError(f"workflow {name!r} called inside a workflow: child runs do not exist yet; make it a step")

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

    def resource(self, name: str) -> NoReturn:
        raise UsageError(
            f"fluxo.resource({name!r}) is for steps: what it gives is not replayed, so a workflow must not use it"
        )


class AsyncFuture(Future[Any]):
    """A submitted step of an async workflow."""

    __slots__ = ("_run", "command", "future")

    def __init__(self, run: AsyncRun, command: Command, future: RunFuture) -> None:
        self._run = run
        self.command = command
        self.future = future

    def result(self) -> Any:
        if self.command.event is None:
            raise UsageError(f"step {self.command.name!r} is not done: await the future instead of calling .result()")
        return self._run.outcome(self.command)

    def exception(self) -> BaseException | None:
        if self.command.event is None:
            raise UsageError(f"step {self.command.name!r} is not done: await the future before asking for its error")
        try:
            self._run.outcome(self.command)
        except Exception as error:
            return error
        return None

    def done(self) -> bool:
        return self.command.event is not None

    def __await__(self) -> Generator[Any, Any, Any]:
        if self.command.event is None:
            # A waiter of its own: cancelling one await must not end the step for the others.
            yield from asyncio.shield(self.future).__await__()
        return self._run.outcome(self.command)
