"""
One attempt of a step: what its body sees, and which event its outcome becomes.

Owns: the scope inside a step body, and the verdict on an outcome (completed, retried, failed). Must not know
threads, loops or the log. Attempts are counted from 1; a retry's delay is drawn once, here, and recorded.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable, Coroutine, Generator, Mapping
from contextlib import AbstractContextManager, nullcontext
from contextvars import Context
from typing import Any, NoReturn

from fluxo.authoring.context import RunContext
from fluxo.authoring.future import FinishedFuture, Future
from fluxo.authoring.step import StepBase
from fluxo.codec.failure import error_of, failure_of
from fluxo.errors import CodecError, LimitExceededError, UsageError
from fluxo.model.events import Event, StepCompleted, StepFailed, StepRetried
from fluxo.replay.command import Command

__all__ = ["Begun", "Finished", "Over", "StepCall", "StepScope", "event_of_error", "event_of_value", "step_scope"]


class StepCall:
    """
    A step with the arguments of one call, as the workflow made it.

    Attributes:
        context: The context variables of the strand that called it; None for the main flow's own.
        submitted: Nobody waits for it yet.
        begun: What is left of the body when its first stretch has run already.
    """

    __slots__ = ("args", "begun", "context", "kwargs", "step", "submitted")

    def __init__(self, step: StepBase, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.step = step
        self.args = args
        self.kwargs = kwargs
        self.context: Context | None = None
        self.submitted = False
        self.begun: Begun | Over | None = None

    def body(self, invoke: Callable[[StepBase, tuple[Any, ...], dict[str, Any]], Any]) -> Any:
        """The coroutine of an async step: a fresh one, or the rest of one that was begun."""
        begun, self.begun = self.begun, None
        return invoke(self.step, self.args, self.kwargs) if begun is None else begun


class Begun:
    """A coroutine that was run to its first suspension, awaited from there on."""

    __slots__ = ("_coro", "_first")

    def __init__(self, coro: Coroutine[Any, Any, Any], first: Any) -> None:
        self._coro = coro
        self._first = first

    def __await__(self) -> Generator[Any, Any, Any]:
        coro, wanted = self._coro, self._first
        try:
            while True:
                try:
                    answer = yield wanted
                except GeneratorExit:
                    coro.close()
                    raise
                except BaseException as error:
                    wanted = coro.throw(error)
                else:
                    wanted = coro.send(answer)
        except StopIteration as stop:
            return stop.value


class Over:
    """The outcome of a coroutine that ended without suspending, to be awaited like the coroutine."""

    __slots__ = ("_error", "_value")

    def __init__(self, value: Any, error: BaseException | None) -> None:
        self._value = value
        self._error = error

    def __await__(self) -> Generator[Any, Any, Any]:
        yield from ()
        if self._error is not None:
            raise self._error
        return self._value


class Finished:
    """What became of an attempt."""

    __slots__ = ("attempt", "command", "error", "value")

    def __init__(self, command: Command, attempt: int, value: Any, error: BaseException | None) -> None:
        self.command = command
        self.attempt = attempt
        self.value = value
        self.error = error


class StepScope:
    """
    What stands in the context variable while a step's body runs: steps are plain calls here.

    Waiting for signals or timers is the workflow's business and refused with the right spelling.
    """

    __slots__ = ("attempt", "name", "position", "run", "sent", "strand")

    def __init__(self, run: Any, name: str, strand: str, position: int, attempt: int) -> None:
        self.run = run
        self.name = name
        self.strand = strand
        self.position = position
        self.attempt = attempt

    def call_step(self, step: StepBase, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return self.run.core.invoke(step, args, kwargs)

    def call_async_step(
        self, step: StepBase, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Coroutine[Any, Any, Any]:
        return self.run.core.invoke(step, args, kwargs)  # type: ignore[no-any-return]

    async def await_step(self, step: StepBase, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        made = self.run.core.invoke(step, args, kwargs)
        return await made if step.is_async else made

    def submit_step(self, step: StepBase, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Future[Any]:
        if step.is_async:
            raise UsageError(f"{step.where}.submit() inside a step has no workflow to be part of: await it")
        try:
            return FinishedFuture(self.run.core.invoke(step, args, kwargs))
        except Exception as error:
            return FinishedFuture(error=error)

    def about_to_block(self, awaitable: str) -> None:
        """A step may block; it waits for nothing of the run."""

    def call_workflow(self, name: str) -> None:
        """A workflow called inside a step is a plain call."""

    def sleep(self, delay_us: int | None, until_us: int | None) -> None:
        self.run.core.pause(self._seconds(delay_us, until_us))

    async def async_sleep(self, delay_us: int | None, until_us: int | None) -> None:
        import asyncio

        await asyncio.sleep(self._seconds(delay_us, until_us))

    def _seconds(self, delay_us: int | None, until_us: int | None) -> float:
        now_us: int = self.run.core.clock.now_us()
        wait_us = (until_us or 0) - now_us if delay_us is None else delay_us
        return max(0, wait_us) / 1_000_000

    def wait_signal(self, names: tuple[str, ...], annotation: Any, timeout_us: int | None) -> NoReturn:
        raise UsageError(f"a step cannot wait for a signal (step {self.name!r}): wait in the workflow")

    def async_wait_signal(self, names: tuple[str, ...], annotation: Any, timeout_us: int | None) -> NoReturn:
        raise UsageError(f"a step cannot wait for a signal (step {self.name!r}): wait in the workflow")

    def wait_futures(self, futures: list[Future[Any]], count: int) -> None:
        """Futures made inside a step are finished."""

    async def async_wait_futures(self, futures: list[Future[Any]], count: int) -> None:
        """Futures made inside a step are finished."""

    def deliver_signal(self, run_id: str, name: str, payload: bytes, key: str) -> None:
        # A body may send several; each keeps its own key over attempts by its place among them.
        self.sent: int = getattr(self, "sent", 0) + 1
        self.run.core.deliver_signal(run_id, name, payload, key if self.sent == 1 else f"{key}/{self.sent}")

    def shield(self) -> AbstractContextManager[None]:
        return nullcontext()

    def now_us(self) -> int:
        now: int = self.run.core.clock.now_us()
        return now

    def random(self) -> random.Random:
        return random.Random(self.run.core.ids.nonce())

    def uuid4(self) -> uuid.UUID:
        return uuid.UUID(int=self.random().getrandbits(128), version=4)

    def info(self) -> RunContext:
        started = self.run.machine.started
        return RunContext(
            run_id=started.run_id,
            workflow=started.workflow,
            version=started.version,
            step=self.name,
            attempt=self.attempt,
            idempotency_key=f"{started.run_id}/1/{self.strand or 'main'}/{self.position}",
        )

    def resource(self, name: str) -> Any:
        return _resource(self.run.core.resources, name)


def step_scope(run: Any, command: Command, attempt: int) -> StepScope:
    """The scope for an attempt of this command."""
    return StepScope(run, command.name, command.scope, command.position, attempt)


def event_of_value(command: Command, attempt: int, value: Any, at_us: int) -> Event:
    """
    The event of an attempt that returned: its value as it will be read back is put on the command.

    A value that cannot be stored fails the step at once; trying again would not change its type.
    """
    step: StepBase = command.call.step
    try:
        body, command.value = step.result.roundtrip(value, step.where)
    except (CodecError, LimitExceededError) as error:
        return _failed(command, attempt, error, at_us)
    return StepCompleted(
        at_us, command.scope, command.position, command.ordinal, command.name, command.site, command.args, attempt, body
    )


def event_of_error(command: Command, attempt: int, error: BaseException, at_us: int, draw: float) -> Event:
    """The event of an attempt that raised: StepRetried if the policy allows another, else StepFailed."""
    step: StepBase = command.call.step
    retry = step.options_.retry
    if not retry.allows(attempt, error):
        return _failed(command, attempt, error, at_us)
    c = command
    retry_at_us = at_us + retry.delay_us(attempt, draw)
    failure = failure_of(error, step.where)
    return StepRetried(at_us, c.scope, c.position, c.ordinal, c.name, c.site, c.args, attempt, retry_at_us, failure)


def _failed(command: Command, attempt: int, error: BaseException, at_us: int) -> StepFailed:
    failure = failure_of(error, f"step {command.name!r}")
    command.error = error_of(failure, command.name)
    c = command
    return StepFailed(at_us, c.scope, c.position, c.ordinal, c.name, c.site, c.args, attempt, failure)


def _resource(resources: Mapping[str, Any], name: str) -> Any:
    try:
        return resources[name]
    except KeyError:
        known = ", ".join(sorted(resources)) or "none"
        raise UsageError(
            f"no resource {name!r}: give it to the engine with resources={{...}} (there are: {known})"
        ) from None
