"""
What code of a sync workflow calls: steps, timers, signals, futures.

Owns: how each call becomes a command, and which spellings are refused here. Must not know how a command is carried out;
it asks the driver to pump until there is an answer.
"""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

from fluxo.authoring.context import active
from fluxo.authoring.future import Future
from fluxo.errors import CodecError, LimitExceededError, UsageError
from fluxo.model.events import StepCompleted
from fluxo.replay.command import Command, call_site
from fluxo.runtime.attempt import StepCall, StepScope, event_of_error, event_of_value

if TYPE_CHECKING:
    import random
    import uuid

    from fluxo.authoring.context import RunContext
    from fluxo.authoring.step import StepBase
    from fluxo.runtime.sync_run import SyncRun

__all__ = ["SyncFuture", "SyncScope"]


class SyncScope:
    """Stands in the context variable while a sync workflow's own code runs; see `RunScope`."""

    __slots__ = ("_machine", "_root", "_run", "_thread")

    def __init__(self, run: SyncRun) -> None:
        self._run = run
        self._machine = run.machine
        self._root = run.machine.root
        self._thread = threading.get_ident()

    def check(self) -> None:
        """
        Refuse calls that could not be recorded.

        Raises:
            Suspend: the workflow is being unwound.
            UsageError: called from another thread than the workflow's.
        """
        if threading.get_ident() != self._thread:
            raise UsageError(
                "a workflow's steps must be called from its own thread: use step.submit(...) to run them in parallel"
            )
        if self._run.unwinding or self._machine.blocked is not None:
            self._run.refuse()

    def call_step(self, step: StepBase, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        run, machine = self._run, self._machine
        if run.unwinding or machine.blocked is not None or threading.get_ident() != self._thread:
            self.check()
        body = step.encoded(args, kwargs)
        if machine.replaying and not run.cancel_due:
            event = machine.recorded(self._root, step.name, body)
            if event is not None:
                return run.decoded(step, event.result)
        elif run.plain and step.untimed and not machine.outstanding and not run.parked and not run.cancel_due:
            agenda = run.agenda
            if not agenda.stale and not agenda.busy:
                return self._call_lone(step, args, kwargs, body)
        command = machine.issue(self._root, "step", step.name, call_site(3), body)
        command.call = StepCall(step, args, kwargs)
        run.until(command, inline=step.untimed)
        return run.outcome(command)

    def _call_lone(self, step: StepBase, args: tuple[Any, ...], kwargs: dict[str, Any], body: bytes | None) -> Any:
        """
        The common case, without the machinery: live, nothing else open, nothing to decide before this step.

        Takes the same numbers and writes the same event as the long way, which a failed attempt goes on with.
        """
        run, machine, root = self._run, self._machine, self._root
        position, ordinal = root.position, machine.issued
        root.position, machine.issued = position + 1, ordinal + 1
        site = call_site(4)
        failed: BaseException | None = None
        value: Any = None
        token = active.set(StepScope(run, step.name, "", position, 1))
        try:
            value = step.fn(*args, **kwargs) if step.bound is None else step.invoke(args, kwargs)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            failed = error
        finally:
            active.reset(token)
        at_us = run.journal.at_us()
        if failed is None:
            try:
                result, value = step.result.roundtrip(value, step.where)
            except (CodecError, LimitExceededError):
                pass  # said below, as the step's failure
            else:
                run.record_lone(StepCompleted(at_us, "", position, ordinal, step.name, site, body, 1, result))
                machine.now_us = at_us
                return value
        command = Command("", position, ordinal, "step", step.name, site, body)
        command.call = StepCall(step, args, kwargs)
        if failed is None:
            run.failed_lone(command, event_of_value(command, 1, value, at_us))
        else:
            run.failed_lone(command, event_of_error(command, 1, failed, at_us, run.core.draw()))
        return run.outcome(command)

    def submit_step(self, step: StepBase, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Future[Any]:
        self.check()
        body = step.encoded(args, kwargs)
        command = self._machine.issue(self._root, "step", step.name, call_site(2), body)
        command.call = StepCall(step, args, kwargs)
        self._run.launch_now()
        return SyncFuture(self, command)

    def sleep(self, delay_us: int | None, until_us: int | None) -> None:
        self.check()
        machine = self._machine
        args = b"@%d" % (until_us or 0) if delay_us is None else b"%d" % delay_us
        command = machine.issue(self._root, "timer", "sleep", call_site(2), args)
        command.due_us = until_us if delay_us is None else machine.now_us + delay_us
        self._run.until(command)

    def wait_signal(self, names: tuple[str, ...], annotation: Any, timeout_us: int | None) -> tuple[str, Any]:
        self.check()
        machine = self._machine
        args = b"%s|%s" % (b"" if timeout_us is None else b"%d" % timeout_us, "|".join(names).encode())
        command = machine.issue(self._root, "signal", " | ".join(names), call_site(2), args)
        command.call = names
        command.due_us = None if timeout_us is None else machine.now_us + timeout_us
        self._run.until(command)
        return self._run.signal_outcome(command, annotation)

    def wait_futures(self, futures: list[Future[Any]], count: int) -> None:
        self.check()
        commands = [future.command for future in futures if isinstance(future, SyncFuture)]
        wanted = max(0, count - (len(futures) - len(commands)))
        self._run.pump(lambda: sum(command.event is not None for command in commands) >= wanted)

    def result_of(self, command: Command) -> Any:
        """Wait for a submitted step and answer or raise its outcome."""
        self.check()
        if command.event is None:
            self._run.pump(lambda: command.event is not None)
        return self._run.outcome(command)

    @contextmanager
    def shield(self) -> Generator[None]:
        self._run.shields += 1
        try:
            yield
        finally:
            self._run.shields -= 1

    def now_us(self) -> int:
        return self._machine.now_us

    def random(self) -> random.Random:
        return self._run.random_of("", "random")

    def uuid4(self) -> uuid.UUID:
        return self._run.uuid_of("")

    def info(self) -> RunContext:
        return self._run.info()

    def call_async_step(self, step: StepBase, args: tuple[Any, ...], kwargs: dict[str, Any]) -> NoReturn:
        raise UsageError(
            f"async {step.where} called in a sync workflow: spell it {step.name}.submit(...).result(), "
            "or make the workflow async"
        )

    def await_step(self, step: StepBase, args: tuple[Any, ...], kwargs: dict[str, Any]) -> NoReturn:
        raise UsageError(f"{step.where}.aio(...) belongs in an async workflow: call {step.name}(...) here")

    def about_to_block(self, awaitable: str) -> None:
        """Blocking is what a sync workflow does."""

    def call_workflow(self, name: str) -> NoReturn:
        raise UsageError(f"workflow {name!r} called inside a workflow: child runs do not exist yet; make it a step")

    def async_sleep(self, delay_us: int | None, until_us: int | None) -> NoReturn:
        raise UsageError("fluxo.aio.sleep belongs in an async workflow: use fluxo.sleep here")

    def async_wait_signal(self, names: tuple[str, ...], annotation: Any, timeout_us: int | None) -> NoReturn:
        raise UsageError("fluxo.aio.wait_signal belongs in an async workflow: use fluxo.wait_signal here")

    def async_wait_futures(self, futures: list[Future[Any]], count: int) -> NoReturn:
        raise UsageError("fluxo.aio.wait belongs in an async workflow: use fluxo.wait_any here")

    def deliver_signal(self, run_id: str, name: str, payload: bytes, key: str) -> NoReturn:
        raise UsageError("signals leave a workflow through fluxo.signal")

    def resource(self, name: str) -> NoReturn:
        raise UsageError(
            f"fluxo.resource({name!r}) is for steps: what it gives is not replayed, so a workflow must not use it"
        )


class SyncFuture(Future[Any]):
    """A submitted step of a sync workflow."""

    __slots__ = ("_scope", "command")

    def __init__(self, scope: SyncScope, command: Command) -> None:
        self._scope = scope
        self.command = command

    def result(self) -> Any:
        return self._scope.result_of(self.command)

    def exception(self) -> BaseException | None:
        try:
            self.result()
        except Exception as error:
            return error
        return None

    def done(self) -> bool:
        return self.command.event is not None

    def __await__(self) -> NoReturn:
        raise UsageError(f"step {self.command.name!r} was submitted in a sync workflow: use .result()")
