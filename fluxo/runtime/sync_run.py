"""
The driver of sync workflows: the workflow's own thread is the driver.

Owns: inline steps, submitted steps on pool threads, blocking until a command's event is delivered, unwinding. Must
not know the replay rules beyond `Machine`. A call that cannot be answered delivers events one by one until it
can; so what a future's `done()` says depends on the log alone.
"""

from __future__ import annotations

import contextvars
import logging
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

from fluxo.authoring.context import active
from fluxo.authoring.future import Future
from fluxo.errors import (
    Cancelled,
    FluxoError,
    LeaseLostError,
    ReplayError,
    StoreUnavailableError,
    Suspend,
    UsageError,
)
from fluxo.limits import THREAD_WAIT_S
from fluxo.model.events import Event
from fluxo.model.run import RunStatus
from fluxo.replay.command import Command, call_site
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

__all__ = ["SyncRun"]

_log = logging.getLogger("fluxo.run")
_DONE = object()


class SyncRun(Activation):
    """
    A sync workflow in a thread.

    Attributes:
        keeps_thread: The thread belongs to a caller who waits for the result anyway (`engine.run`), so a
            long wait does not unwind.
        on_loop: Runs an async step on the engine's loop and answers through the callback given.
    """

    keeps_thread = False
    on_loop: Callable[[SyncRun, Command, int, contextvars.Context], Callable[[], None]] | None = None

    def __init__(
        self, core: Core, definition: WorkflowBase, key: int, nonce: int, history: History, delivered: int
    ) -> None:
        super().__init__(core, definition, key, nonce, history, delivered)
        self._wakeup = threading.Condition()
        self._woken = False
        self._unwinding = False
        self._cancel_due = False
        self._shields = 0
        self._thread = 0
        self._stops: dict[Command, Callable[[], None]] = {}
        self.machine.on_cancel = self._cancel_arrived

    def execute(self) -> None:
        """Drive the run until it ends, leaves its thread, or is lost. Raises only a shutdown of the process."""
        self._thread = threading.get_ident()
        try:
            contextvars.Context().run(self._body)
        finally:
            self.core.on_left(self)

    def wake(self) -> None:
        with self._wakeup:
            self._woken = True
            self._wakeup.notify()

    def _body(self) -> None:
        active.set(self)
        value: Any = None
        error: BaseException | None = None
        try:
            args, kwargs = self.input()
            value = self.definition.fn(*args, **kwargs)
        except (KeyboardInterrupt, SystemExit):
            # A shutdown of the worker, not an outcome: the run goes back as it is.
            self._unwinding = True
            self.hand_back()
            raise
        except Suspend as suspend:
            if not self._unwinding and self.machine.blocked is None:
                error = suspend
        except FluxoError as problem:
            error = problem
        except BaseException as problem:
            error = problem
        self._close(value, error)

    def _close(self, value: Any, error: BaseException | None) -> None:
        machine = self.machine
        for stop in self._stops.values():
            stop()
        if self.journal.lost:
            return
        try:
            if machine.blocked is not None:
                if not self._unwinding:
                    self._warn_swallowed(error)
                self._conclude(*self.blocking(machine.blocked))
            elif self._unwinding:
                if value is not None or (error is not None and not isinstance(error, Suspend)):
                    self._warn_swallowed(error)
            else:
                self._conclude(*self.ending(value, error))
        except (ReplayError, LeaseLostError) as problem:
            if not self.journal.lost:
                self._conclude(*self.blocking(problem))
        except StoreUnavailableError as problem:
            _log.warning("run %s is left as it is: %s", self.run_id, problem)

    def _conclude(self, event: Event, projection: Projection) -> None:
        try:
            self._commit([event], projection)
        except LeaseLostError:
            _log.info("run %s was taken over before it could end here", self.run_id)

    def _warn_swallowed(self, error: BaseException | None) -> None:
        _log.warning(
            "workflow %s of run %s swallowed fluxo's suspension (a bare `except:` or `except BaseException:` around a "
            "wait); what it did afterwards (%s) is discarded: let BaseException pass",
            self.definition.name,
            self.run_id,
            "returned" if error is None else type(error).__name__,
        )

    def is_cancellation(self, error: BaseException) -> bool:
        return isinstance(error, Cancelled)

    # What workflow code calls.

    def call_step(self, step: StepBase, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        machine = self.machine
        if self._unwinding or machine.blocked is not None or threading.get_ident() != self._thread:
            self._refuse()
        body = None
        if step.options_.record_args:
            body = step.arguments.encode(step.split(args), kwargs, step.where)
        if machine.replaying and not self._cancel_due:
            event = machine.recorded(machine.root, step.name, body)
            if event is not None:
                return self.decoded(step, event.result)  # type: ignore[union-attr]
        command = machine.issue(machine.root, "step", step.name, call_site(3), body)
        command.call = StepCall(step, args, kwargs)
        self._until(command, inline=step.options_.timeout_s is None)
        return self.outcome(command)

    def call_async_step(self, step: StepBase, args: tuple[Any, ...], kwargs: dict[str, Any]) -> NoReturn:
        raise UsageError(
            f"async {step.where} called in a sync workflow: spell it {step.name}.submit(...).result(), "
            "or make the workflow async"
        )

    def await_step(self, step: StepBase, args: tuple[Any, ...], kwargs: dict[str, Any]) -> NoReturn:
        raise UsageError(f"{step.where}.aio(...) belongs in an async workflow: call {step.name}(...) here")

    def submit_step(self, step: StepBase, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Future[Any]:
        self._check()
        body = None
        if step.options_.record_args:
            body = step.arguments.encode(step.split(args), kwargs, step.where)
        machine = self.machine
        command = machine.issue(machine.root, "step", step.name, call_site(2), body)
        command.call = StepCall(step, args, kwargs)
        if not machine.replaying:
            self._launch(None)
        return SyncFuture(self, command)

    def call_workflow(self, name: str) -> None:
        raise UsageError(_NO_CHILDREN.format(name=name))

    def sleep(self, delay_us: int | None, until_us: int | None) -> None:
        self._check()
        machine = self.machine
        args = b"%d" % delay_us if delay_us is not None else b"@%d" % (until_us or 0)
        command = machine.issue(machine.root, "timer", "sleep", call_site(2), args)
        command.due_us = until_us if delay_us is None else machine.now_us + delay_us
        self._until(command)

    def wait_signal(self, names: tuple[str, ...], annotation: Any, timeout_us: int | None) -> tuple[str, Any]:
        self._check()
        machine = self.machine
        args = b"%s|%s" % (b"" if timeout_us is None else b"%d" % timeout_us, "|".join(names).encode())
        command = machine.issue(machine.root, "signal", " | ".join(names), call_site(2), args)
        command.call = names
        command.due_us = None if timeout_us is None else machine.now_us + timeout_us
        self._until(command)
        return self.signal_outcome(command, annotation)

    def wait_futures(self, futures: list[Future[Any]], count: int) -> None:
        self._check()
        commands = [future.command for future in futures if isinstance(future, SyncFuture)]
        wanted = max(0, count - (len(futures) - len(commands)))
        self._pump(lambda: sum(command.event is not None for command in commands) >= wanted, None, False)

    def async_sleep(self, delay_us: int | None, until_us: int | None) -> NoReturn:
        raise UsageError("fluxo.aio.sleep belongs in an async workflow: use fluxo.sleep here")

    def async_wait_signal(self, names: tuple[str, ...], annotation: Any, timeout_us: int | None) -> NoReturn:
        raise UsageError("fluxo.aio.wait_signal belongs in an async workflow: use fluxo.wait_signal here")

    def async_wait_futures(self, futures: list[Future[Any]], count: int) -> NoReturn:
        raise UsageError("fluxo.aio.wait belongs in an async workflow: use fluxo.wait_any here")

    def deliver_signal(self, run_id: str, name: str, payload: bytes, key: str) -> NoReturn:
        raise UsageError("signals leave a workflow through fluxo.signal")

    @contextmanager
    def shield(self) -> Iterator[None]:
        self._shields += 1
        try:
            yield
        finally:
            self._shields -= 1

    def now_us(self) -> int:
        return self.machine.now_us

    def random(self) -> random.Random:
        return self.random_of("", "random")

    def uuid4(self) -> uuid.UUID:
        return self.uuid_of("")

    def resource(self, name: str) -> NoReturn:
        raise UsageError(f"fluxo.resource({name!r}) is for steps: what it gives is not replayed, so a workflow must not use it")

    # Driving.

    def _check(self) -> None:
        if self._unwinding or self.machine.blocked is not None or threading.get_ident() != self._thread:
            self._refuse()

    def _refuse(self) -> NoReturn:
        if threading.get_ident() != self._thread:
            raise UsageError("a workflow's steps must be called from its own thread: use step.submit(...) to run them in parallel")
        raise Suspend("this workflow has been suspended: nothing can be executed here any more")

    def _until(self, command: Command, *, inline: bool = False) -> None:
        self._pump(lambda: command.event is not None, command, inline)

    def _pump(self, done: Callable[[], bool], command: Command | None, inline: bool) -> None:
        """Deliver events until `done`; carry out what is open once the history is used up."""
        machine = self.machine
        while True:
            if self._cancel_due and not self._shields:
                self._cancel_due = False
                if command is not None:
                    machine.abandon(command)
                raise Cancelled("this run is being cancelled")
            if done():
                return
            try:
                if machine.replaying:
                    machine.deliver_next()
                else:
                    self._advance(command if inline else None)
            except ReplayError as problem:
                raise machine.stop(problem) from None
            except LeaseLostError as problem:
                self._unwinding = True
                raise Suspend(str(problem)) from None
            except StoreUnavailableError as problem:
                self._unwinding = True
                raise Suspend(str(problem)) from None

    def _advance(self, inline: Command | None) -> None:
        """One live turn: the next facts, else the inline step, else a wait."""
        if self.core.draining and not self.running:
            self._drained()
        self._launch(inline)
        if self.stale or self._messages or self.finished or self._dues or self._deadlines or self._run_due_us is not None:
            events = self.decide()
            if events:
                self._record(events)
                return
        if inline is not None and inline in self.startable:
            self.startable.remove(inline)
            self._run_inline(inline)
        elif not self.startable:
            self._wait()

    def _run_inline(self, command: Command) -> None:
        call: StepCall = command.call
        attempt = command.attempt + 1
        core = self.core
        if core.observers:
            core.call_observers("on_step_started", self.run_id, command.name, attempt)
        core.hit("before_effect")
        token = active.set(StepScope(self, command, attempt))
        try:
            value = call.step.invoke(call.args, call.kwargs)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            event = event_of_error(command, attempt, error, self.journal.at_us(), core.draw())
        else:
            event = event_of_value(command, attempt, value, self.journal.at_us())
        finally:
            active.reset(token)
        core.hit("after_effect")
        self._record([event])

    def _launch(self, inline: Command | None) -> None:
        """Start what can start on pool threads, but for the step that the workflow's thread will run itself."""
        if self.machine.fresh:
            self.take_fresh()
        if not self.startable or (len(self.startable) == 1 and self.startable[0] is inline):
            return
        waiting, self.startable = self.startable, [c for c in self.startable if c is inline]
        for command in waiting:
            if command is not inline and self.is_open(command):
                self._start(command)

    def _start(self, command: Command) -> None:
        attempt = self.began(command)
        context = contextvars.copy_context()
        step: StepBase = command.call.step
        if step.is_async:
            if self.on_loop is None:
                raise UsageError(f"async {step.where} needs an engine with a loop")
            self._stops[command] = self.on_loop(self, command, attempt, context)
            return
        self.core.step_threads.submit(lambda: context.run(self.attempt_in_thread, command, attempt))

    def settle(self, done: Finished) -> None:
        self.finished.append(done)
        self.wake()

    def attempt_expired(self, command: Command) -> None:
        stop = self._stops.pop(command, None)
        if stop is not None:
            stop()

    def _wait(self) -> None:
        with self._wakeup:
            if self._woken:
                self._woken = False
                return
        if self.should_park():
            event = self.park_event()
            self._record([event], self.projection(RunStatus.WAITING, wake_at_us=self.wake_at_us()))
            return
        wait_s = self.wait_s()
        patience_s = None
        if self.parked and not self.keeps_thread:
            patience_s = THREAD_WAIT_S
        with self._wakeup:
            if not self._woken:
                limit_s = min((s for s in (wait_s, patience_s) if s is not None), default=None)
                self._wakeup.wait(limit_s)
            woken, self._woken = self._woken, False
        if not woken and patience_s is not None and (wait_s is None or wait_s > patience_s):
            self._leave()

    def _leave(self) -> NoReturn:
        """Give the thread back: the run is parked in the log, and whoever claims it next replays it."""
        self._unwinding = True
        self.hand_back()
        raise Suspend("waiting; the run goes on from its log when it is due")

    def _drained(self) -> NoReturn:
        """The engine drains: leave the run to whoever comes next."""
        self._unwinding = True
        self.hand_back()
        raise Suspend("the engine is closing; the run goes on elsewhere")

    def _record(self, events: Sequence[Event], projection: Projection | None = None) -> None:
        first = self.journal.seq + 1
        self._commit(events, projection)
        self.core.hit("after_ack")
        for seq, event in enumerate(events, first):
            self.machine.apply(event, seq)

    def _commit(self, events: Sequence[Event], projection: Projection | None = None) -> None:
        core, journal = self.core, self.journal
        append = self.stage(events, projection)
        tries = 0
        while True:
            try:
                outcome = core.committer.commit(append)
            except StoreUnavailableError as error:
                tries += 1
                if core.pause(core.store_failed(self.run_id, tries, error)):
                    raise
                continue
            core.hit("after_commit")
            if journal.settle(outcome):
                break
            tries += 1
            if core.pause(core.backoff_s(tries)):
                raise StoreUnavailableError(f"run {self.run_id!r}", "the outcome of its last append is unknown; it is left as it is")
        self.committed(events)

    def _cancel_arrived(self) -> None:
        self._cancel_due = True


_NO_CHILDREN = "workflow {name!r} called inside a workflow: child runs do not exist yet; make it a step, or start it with fluxo.signal"


class SyncFuture(Future[Any]):
    """A submitted step of a sync workflow."""

    __slots__ = ("command", "run")

    def __init__(self, run: SyncRun, command: Command) -> None:
        self.run = run
        self.command = command

    def result(self) -> Any:
        run = self.run
        run._check()
        if self.command.event is None:
            command = self.command
            run._pump(lambda: command.event is not None, None, False)
        return run.outcome(self.command)

    def exception(self) -> BaseException | None:
        try:
            self.result()
        except Exception as error:
            return error
        return None

    def done(self) -> bool:
        return self.command.event is not None

    def __await__(self) -> Generator[Any, Any, Any]:
        raise UsageError(f"step {self.command.name!r} was submitted in a sync workflow: use .result()")
        yield
