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
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from fluxo.authoring.context import active
from fluxo.errors import (
    Cancelled,
    LeaseLostError,
    LimitExceededError,
    ReplayError,
    StoreUnavailableError,
    Suspend,
    UsageError,
)
from fluxo.limits import SHUTDOWN_PAUSE_S, SWALLOWED_SUSPENSIONS_MAX, THREAD_WAIT_S
from fluxo.model.events import Event
from fluxo.model.run import RunStatus
from fluxo.replay.command import Command
from fluxo.runtime.activation import Activation
from fluxo.runtime.attempt import Finished, StepCall, event_of_error, event_of_value, step_scope
from fluxo.runtime.ending import blocking, ending
from fluxo.runtime.sync_scope import SyncScope
from fluxo.store import Append, Projection

if TYPE_CHECKING:
    from fluxo.authoring.step import StepBase
    from fluxo.authoring.workflow import WorkflowBase
    from fluxo.replay.history import History
    from fluxo.runtime.core import Core
    from fluxo.runtime.guard import Guard

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
        self._woken = core.threads.event()
        self.unwinding = False
        self.cancel_due = False
        self.shields = 0
        self._refusals = 0
        self._stops: dict[Command, Callable[[], None]] = {}
        self._undelivered: deque[tuple[Event, int]] = deque()
        self.machine.on_cancel = self._cancel_arrived

    def execute(self) -> None:
        """Drive the run until it ends, leaves its thread, or is lost. Raises only a shutdown of the process."""
        try:
            contextvars.Context().run(self._body)
        finally:
            self.core.on_left(self)

    def wake(self) -> None:
        self._woken.set()

    def _body(self) -> None:
        active.set(SyncScope(self))
        value: Any = None
        error: BaseException | None = None
        try:
            args, kwargs = self.input()
            guard = self.core.guard
            value = self.definition.fn(*args, **kwargs) if guard is None else self._watched(guard, args, kwargs)
        except (KeyboardInterrupt, SystemExit):
            # A shutdown of the worker, not an outcome: the run goes back as it is.
            self.unwinding = True
            self.hand_back(SHUTDOWN_PAUSE_S)
            raise
        except BaseException as problem:
            error = problem
        self._close(value, error)

    def _watched(self, guard: Guard, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The workflow's function under the guard's eyes."""
        from fluxo.runtime.guard import guarded

        with guarded(guard):
            return self.definition.fn(*args, **kwargs)

    def _close(self, value: Any, error: BaseException | None) -> None:
        machine = self.machine
        for stop in self._stops.values():
            stop()
        if self.journal.lost:
            return
        suspended = self.unwinding or machine.blocked is not None
        if suspended and not isinstance(error, Suspend):
            self._warn_swallowed(error)
        try:
            if machine.blocked is not None:
                self._conclude(*blocking(self, machine.blocked))
            elif not suspended:
                self._conclude(*ending(self, value, error))
        except (ReplayError, LeaseLostError) as problem:
            if not self.journal.lost:
                machine.stop(problem)
                self._conclude(*blocking(self, problem))
        except StoreUnavailableError as problem:
            _log.warning("run %s is left as it is: %s", self.run_id, problem)

    def refuse(self) -> NoReturn:
        """
        This activation is over: the workflow must neither execute nor wait for anything.

        A loop around a bare ``except:`` would spin for ever; after SWALLOWED_SUSPENSIONS_MAX turns its thread rests.

        Raises:
            Suspend: to leave it.
        """
        self._refusals += 1
        if self._refusals > SWALLOWED_SUSPENSIONS_MAX:
            _log.error(
                "workflow %s of run %s swallows fluxo's suspension in a loop (a bare `except:` or `except "
                "BaseException:`): its thread is lost; let BaseException pass",
                self.definition.name,
                self.run_id,
            )
            self._close(None, Suspend())
            self.core.on_left(self)
            self.core.threads.event().wait()
        raise Suspend("this workflow has been suspended: nothing can be executed here any more")

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

    def until(self, command: Command, *, inline: bool = False) -> None:
        """Deliver events until the command has its own, executing it here if `inline`; a cancellation gives it up."""
        self.pump(lambda: command.event is not None, command, inline=inline)

    def launch_now(self) -> None:
        """Start submitted steps at once, unless the history may hold their events."""
        if not self.machine.replaying:
            self._launch(None)

    def pump(self, done: Callable[[], bool], command: Command | None = None, *, inline: bool = False) -> None:
        """
        Deliver events until `done`; carry out what is open once the history is used up.

        Raises:
            Cancelled: the run is being cancelled; once, at the current wait.
            Suspend: this activation is over.
        """
        machine = self.machine
        while True:
            if self.cancel_due and not self.shields:
                self.cancel_due = False
                if command is not None:
                    machine.abandon(command)
                raise Cancelled("this run is being cancelled")
            if done():
                return
            if machine.replaying:
                self._guard(machine.deliver_next)
            else:
                self._guard(lambda: self._advance(command if inline else None))

    def _advance(self, inline: Command | None) -> None:
        """One live turn: a durable fact, else the next facts, else the inline step, else a wait."""
        if self._undelivered:
            self.machine.apply(*self._undelivered.popleft())
            return
        if self.journal.lost:
            raise LeaseLostError(self.run_id)
        if self.leaving or (self.core.draining and not self.agenda.running):
            self._drained()
        self._launch(inline)
        if self.agenda.stale or self.agenda.busy:
            events = self.agenda.decide()
            if events:
                self._record(events)
                return
        if inline is not None and inline in self.agenda.startable:
            self.agenda.startable.remove(inline)
            self._run_inline(inline)
        elif not self.agenda.startable:
            self._wait()

    def _run_inline(self, command: Command) -> None:
        call: StepCall = command.call
        attempt = command.attempt + 1
        core = self.core
        if core.observers:
            core.call_observers("on_step_started", self.run_id, command.name, attempt)
        core.hit("before_effect")
        token = active.set(step_scope(self, command, attempt))
        try:
            value = core.invoke(call.step, call.args, call.kwargs)
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

    def failed_lone(self, command: Command, event: Event) -> None:
        """The first attempt of a lone step failed: go on with it as an ordinary open command."""
        self.machine.adopt(command)
        self._guard(lambda: self._record([event]))
        self.until(command, inline=True)

    def _launch(self, inline: Command | None) -> None:
        """Start what can start on pool threads, but for the step that the workflow's thread will run itself."""
        if self.machine.fresh:
            self.agenda.take_fresh()
        if not self.agenda.startable or (len(self.agenda.startable) == 1 and self.agenda.startable[0] is inline):
            return
        waiting, self.agenda.startable = self.agenda.startable, [c for c in self.agenda.startable if c is inline]
        for command in waiting:
            if command is not inline and self.agenda.is_open(command):
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
        self.agenda.finished.append(done)
        self.wake()

    def stop_attempt(self, command: Command) -> None:
        stop = self._stops.pop(command, None)
        if stop is not None:
            stop()

    def _wait(self) -> None:
        if self._woken.is_set():
            self._woken.clear()
            return
        if self.should_park():
            event = self.park_event()
            self._record([event], self.projection(RunStatus.WAITING, wake_at_us=self.agenda.wake_at_us()))
            return
        wait_s = self.agenda.wait_s()
        patience_s = None
        if self.parked and not self.keeps_thread:
            patience_s = THREAD_WAIT_S
        limit_s = min(s for s in (wait_s, patience_s, threading.TIMEOUT_MAX) if s is not None)
        # Cleared before anything is looked at: what was set by then is seen, and what comes later sets it again.
        woken = self._woken.wait(limit_s)
        self._woken.clear()
        if not woken and patience_s is not None and (wait_s is None or wait_s > patience_s):
            self._leave()

    def _leave(self) -> NoReturn:
        """Give the thread back: the run is parked in the log, and whoever claims it next replays it."""
        self.unwinding = True
        self.hand_back()
        raise Suspend("waiting; the run goes on from its log when it is due")

    def _drained(self) -> NoReturn:
        """The engine drains, or a step asked for a shutdown: leave the run to whoever comes next."""
        self.unwinding = True
        self.hand_back(SHUTDOWN_PAUSE_S if self.leaving else 0.0)
        raise Suspend("handed back; the run goes on elsewhere")

    def _record(self, events: Sequence[Event], projection: Projection | None = None) -> None:
        """Make facts durable; they reach the workflow one by one, as on replay, whatever was committed together."""
        first = self.journal.seq + 1
        self._commit(events, projection)
        self.core.hit("after_ack")
        self._undelivered.extend(zip(events, range(first, first + len(events)), strict=True))

    def record_lone(self, event: Event) -> None:
        """
        Commit one event with nothing beside it.

        Raises:
            Suspend: the run is someone else's by now, its history is full, or the store is away and the engine
                has stopped.
        """
        try:
            append = self.journal.stage_one(event)
        except LimitExceededError as problem:
            raise self.machine.stop(problem) from None
        try:
            if self.journal.settle(self.core.committer.commit(append)):
                return
        except StoreUnavailableError:
            pass  # sent again below, with patience
        except LeaseLostError as lost:
            self.unwinding = True
            raise Suspend(str(lost)) from None
        self._guard(lambda: self._send(append))

    def _guard(self, action: Callable[[], None]) -> None:
        """Turn what ends this activation into what may pass through user code."""
        try:
            action()
        except ReplayError as problem:
            raise self.machine.stop(problem) from None
        except (LeaseLostError, StoreUnavailableError) as problem:
            self.unwinding = True
            raise Suspend(str(problem)) from None

    def _commit(self, events: Sequence[Event], projection: Projection | None = None) -> None:
        self._send(self.stage(events, projection))
        self.committed(events)

    def _send(self, append: Append) -> None:
        """Send a staged append until the store has answered it for good."""
        core, journal = self.core, self.journal
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
                raise StoreUnavailableError(
                    f"run {self.run_id!r}", "the outcome of its last append is unknown; it is left as it is"
                )

    def _cancel_arrived(self) -> None:
        self.cancel_due = True
