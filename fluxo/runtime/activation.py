"""
One owner's spell with one run: everything the two drivers share.

Owns: what becomes the next fact (messages, finished attempts, due timers), what a run waits for, how it ends, and
the projection that goes with each event. Must not know threads or loops: a driver asks `decide`, commits, and
applies. Theory: PROTOCOL rules 7, 12, 15, 16, 18; order of decisions: messages, attempts, timers.
"""

from __future__ import annotations

import heapq
import logging
import random
import uuid
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fluxo.authoring.context import RunContext, active
from fluxo.authoring.workflow import WorkflowBase
from fluxo.codec.failure import error_of, failure_of
from fluxo.codec.signal import decode_signal
from fluxo.errors import (
    CodecError,
    DecodeError,
    FluxoError,
    HistoryCorruptError,
    LimitExceededError,
    NonDeterminismError,
    RunTimeoutError,
    SignalTimeoutError,
    StepTimeoutError,
    StoreUnavailableError,
    UsageError,
)
from fluxo.limits import PARK_AFTER_S
from fluxo.model.events import (
    CancelRequested,
    Event,
    RunBlocked,
    RunCancelled,
    RunCompleted,
    RunFailed,
    RunWaiting,
    SignalReceived,
    SignalTimedOut,
    StepCompleted,
    StepFailed,
    StepRetried,
    TerminalEvent,
    TimerFired,
)
from fluxo.model.run import RunStatus
from fluxo.replay.command import Command
from fluxo.replay.history import History
from fluxo.replay.machine import Machine
from fluxo.runtime.attempt import StepCall, StepScope, event_of_error, event_of_value
from fluxo.runtime.journal import Journal
from fluxo.store import Append, InboxItem, Projection, Release

if TYPE_CHECKING:
    from fluxo.runtime.core import Core

__all__ = ["Activation", "Finished"]

_log = logging.getLogger("fluxo.run")
_PARK_AFTER_US = int(PARK_AFTER_S * 1_000_000)


class Finished:
    """What became of an attempt."""

    __slots__ = ("attempt", "command", "error", "value")

    def __init__(self, command: Command, attempt: int, value: Any, error: BaseException | None) -> None:
        self.command = command
        self.attempt = attempt
        self.value = value
        self.error = error


class Activation:
    """
    A run in the hands of this worker.

    Attributes:
        startable: Steps whose next attempt may start now.
        running: Attempts under way, by command.
        parked: The log's last event says what the run waits for.
        stale: The inbox may hold something new.
        seen_n: Messages up to this number were looked at (those the row showed at the claim are read first of all).
        ended: The terminal event or RunBlocked, once durable.
    """

    def __init__(
        self, core: Core, definition: WorkflowBase, key: int, nonce: int, history: History, delivered: int
    ) -> None:
        self.core = core
        self.definition = definition
        self.run_id = history.run_id
        self.key = key
        last_at_us = history.last.at_us
        self.journal = Journal(history.run_id, key, nonce, history.tail_seq, history.tail_digest, last_at_us, core.clock)
        self.machine = Machine(history)
        self.startable: list[Command] = []
        self.running: dict[Command, int] = {}
        self.finished: deque[Finished] = deque()
        self.parked = False
        self.stale = history.tail_seq > 1
        self.seen_n = delivered
        self._read_n = 0
        self.ended: TerminalEvent | RunBlocked | None = None
        self._messages: list[InboxItem] = []
        self._signal_waits: list[Command] = []
        self._dues: list[tuple[int, int, Command]] = []
        self._deadlines: list[tuple[float, int, Command, int]] = []
        timeout_us = history.started.timeout_us
        self._run_due_us = None if timeout_us is None else history.reopened_at_us + timeout_us
        self._random: dict[str, random.Random] = {}

    def poke(self) -> None:
        """Something for this run may be in its inbox, or the engine drains; callable from any thread."""
        self.stale = True
        self.wake()

    def wake(self) -> None:
        """Make the driver look again; callable from any thread."""
        raise UsageError("an activation needs a driver")

    def take_fresh(self) -> None:
        """Sort newly issued commands into what must be started, timed or matched."""
        fresh = self.machine.fresh
        if not fresh:
            return
        self.machine.fresh = []
        for command in fresh:
            if command.event is not None or not self.is_open(command):
                continue
            if command.kind == "step":
                if command.retry_at_us is None:
                    self.startable.append(command)
                else:
                    self._push_due(command.retry_at_us, command)
                continue
            if command.kind == "signal":
                self._signal_waits.append(command)
            if command.due_us is not None:
                self._push_due(command.due_us, command)

    def is_open(self, command: Command) -> bool:
        """Whether the workflow still waits for it."""
        return self.machine.outstanding.get((command.scope, command.position)) is command

    def decide(self) -> list[Event]:
        """
        The next facts, if any: one message, or all finished attempts and due timers.

        A message stands alone because what it wakes may give up the wait that the next one is for.
        """
        if self.stale:
            self._read_inbox()
        event = self._next_message() if self._messages else None
        if event is not None:
            return [event]
        events: list[Event] = []
        self._expire_attempts()
        while self.finished:
            done = self.finished.popleft()
            if self.running.get(done.command) == done.attempt:
                del self.running[done.command]
                if self.is_open(done.command):
                    events.append(self.event_of(done))
        if self._dues or self._run_due_us is not None:
            self._add_due(events)
        return events

    def event_of(self, done: Finished) -> Event:
        """The event of a finished attempt."""
        at_us = self.journal.at_us()
        if done.error is None:
            return event_of_value(done.command, done.attempt, done.value, at_us)
        return event_of_error(done.command, done.attempt, done.error, at_us, self.core.draw())

    def stage(self, events: Sequence[Event], projection: Projection | None = None) -> Append:
        """The append for these events, with the projection change and the consumed messages that go with them."""
        consumed: tuple[tuple[int, int], ...] = ()
        for offset, event in enumerate(events, self.journal.seq + 1):
            inbox_n = getattr(event, "inbox_n", 0)
            if inbox_n:
                consumed += ((inbox_n, offset),)
        if projection is None and self.parked:
            projection = self.projection(RunStatus.RUNNING)
        return self.journal.stage(events, projection, consumed)

    def committed(self, events: Sequence[Event]) -> None:
        """Take note that these events are durable."""
        last = events[-1]
        self.parked = isinstance(last, RunWaiting)
        if isinstance(last, RunCompleted | RunFailed | RunCancelled | RunBlocked):
            self.ended = last
        for event in events:
            if isinstance(event, StepRetried):
                command = self.machine.outstanding.get((event.scope, event.position))
                if command is not None:
                    self._push_due(event.retry_at_us, command)
        if self.core.observers:
            self.core.notify(self.run_id, self.definition.name, events)

    def projection(self, status: RunStatus, *, owned: bool = True, wake_at_us: int | None = None) -> Projection:
        """New values of the run's row; `consumed` says how far this owner has looked at the inbox."""
        owner = self.core.owner if owned else None
        return Projection(status, wake_at_us, self.seen_n, owner, self.journal.nonce)

    def wake_at_us(self) -> int | None:
        """When the earliest open timer is due."""
        dues = self._dues
        while dues and not self.is_open(dues[0][2]):
            heapq.heappop(dues)
        due_us = dues[0][0] if dues else None
        if self._run_due_us is not None and self.machine.cancel is None:
            return self._run_due_us if due_us is None else min(due_us, self._run_due_us)
        return due_us

    def wait_s(self) -> float | None:
        """Seconds until a timer or an attempt's deadline is due; None without one."""
        wait_s: float | None = None
        due_us = self.wake_at_us()
        if due_us is not None:
            wait_s = max(0.0, (due_us - self.core.clock.now_us()) / 1_000_000)
        while self._deadlines and self.running.get(self._deadlines[0][2]) != self._deadlines[0][3]:
            heapq.heappop(self._deadlines)
        if self._deadlines:
            left_s = max(0.0, self._deadlines[0][0] - self.core.clock.monotonic_s())
            wait_s = left_s if wait_s is None else min(wait_s, left_s)
        return wait_s

    def should_park(self) -> bool:
        """Whether nothing is under way and the next thing is far off or unknown: then the log must say so."""
        if self.parked or self.running or self.startable:
            return False
        due_us = self.wake_at_us()
        return due_us is None or due_us - self.core.clock.now_us() > _PARK_AFTER_US

    def park_event(self) -> RunWaiting:
        """What the run waits for, as an event."""
        waits = self.machine.waits()
        return RunWaiting(self.journal.at_us(), waits.issued, waits.waits)

    def release(self) -> Release | None:
        """How to hand the run back without an event; a parked run stays waiting for its timers. None if it is not owned."""
        owner = self.core.owner
        if owner is None or self.journal.lost or self.ended is not None:
            return None
        if self.parked:
            return Release(self.key, owner, self.journal.nonce, RunStatus.WAITING, self.wake_at_us(), self.seen_n)
        return Release(self.key, owner, self.journal.nonce)

    def hand_back(self) -> None:
        """Hand the run back now; if the store is away, it will be taken over instead."""
        release = self.release()
        if release is not None:
            try:
                self.core.store.release([release])
            except StoreUnavailableError as problem:
                _log.info("run %s could not be handed back and will be taken over: %s", self.run_id, problem)

    def began(self, command: Command) -> int:
        """Count an attempt as under way; its number."""
        attempt = command.attempt + 1
        self.running[command] = attempt
        timeout_s = command.call.step.options_.timeout_s
        if timeout_s is not None:
            deadline_s = self.core.clock.monotonic_s() + timeout_s
            heapq.heappush(self._deadlines, (deadline_s, command.ordinal, command, attempt))
        if self.core.observers:
            self.core.call_observers("on_step_started", self.run_id, command.name, attempt)
        return attempt

    def attempt_expired(self, command: Command) -> None:
        """Called when an attempt ran out of time; a driver may stop what still runs."""

    def settle(self, done: Finished) -> None:
        """An attempt is over; callable from any thread."""
        raise UsageError("an activation needs a driver")

    def attempt_in_thread(self, command: Command, attempt: int) -> None:
        """The body of a sync step on a pool thread, in the context of its call."""
        call: StepCall = command.call
        active.set(StepScope(self, command, attempt))
        self.core.hit("before_effect")
        value: Any = None
        failed: BaseException | None = None
        try:
            value = call.step.invoke(call.args, call.kwargs)
        except (KeyboardInterrupt, SystemExit):
            _log.warning("step %s of run %s asked for a shutdown in a thread; not recorded", command.name, self.run_id)
            return
        except BaseException as error:
            failed = error
        self.core.hit("after_effect")
        self.settle(Finished(command, attempt, value, failed))

    async def attempt_on_loop(self, command: Command, attempt: int) -> None:
        """The body of an async step in a host task of its own, in the context of its call."""
        call: StepCall = command.call
        self.core.hit("before_effect")
        value: Any = None
        failed: BaseException | None = None
        try:
            value = await call.step.invoke(call.args, call.kwargs)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            # Given up (timed out, cancelled with its wait, host going down): then its outcome is nobody's.
            if self.given_up(command, attempt, error):
                raise
            failed = error
        self.core.hit("after_effect")
        self.settle(Finished(command, attempt, value, failed))

    def given_up(self, command: Command, attempt: int, error: BaseException) -> bool:
        """Whether an attempt was stopped from outside rather than failing by itself."""
        if self.running.get(command) != attempt or not self.is_open(command):
            return True
        return type(error).__name__ == "CancelledError" and self.core.stopped.is_set()

    def ending(self, value: Any, error: BaseException | None) -> tuple[Event, Projection]:
        """
        The terminal event for a workflow that returned `value` or raised `error`.

        Raises:
            NonDeterminismError: the history says it went on.
        """
        machine, at_us = self.machine, self.journal.at_us()
        machine.end()
        if error is None:
            try:
                body = self.definition.result.encode(value, self.definition.where)
                completed = RunCompleted(at_us, machine.issued, body)
                return completed, self.projection(RunStatus.COMPLETED, owned=False)
            except (CodecError, LimitExceededError) as problem:
                error = problem
        if self.is_cancellation(error):
            if machine.cancel is not None and machine.cancel.reason == "timeout":
                timeout_us = machine.started.timeout_us or 0
                error = RunTimeoutError(self.run_id, timeout_us / 1_000_000)
            else:
                return RunCancelled(at_us, False), self.projection(RunStatus.CANCELLED, owned=False)
        cause_seq, cause_issued = machine.cause_of(error)
        failure = failure_of(error, self.definition.where)
        failed = RunFailed(at_us, machine.issued, failure, cause_seq, cause_issued)
        return failed, self.projection(RunStatus.FAILED, owned=False)

    def is_cancellation(self, error: BaseException) -> bool:
        """Whether this is how the run's cancellation leaves the workflow."""
        raise UsageError("an activation needs a driver")

    def blocking(self, problem: FluxoError) -> tuple[Event, Projection]:
        """The event that stops the run until someone acts."""
        reason = {
            NonDeterminismError: "nondeterminism",
            HistoryCorruptError: "corrupt",
            DecodeError: "undecodable",
            LimitExceededError: "limit",
        }.get(type(problem), "error")
        seq = getattr(problem, "seq", self.machine.peek_seq())
        report = str(problem)
        blocked = RunBlocked(self.journal.at_us(), reason, report, seq)
        _log.error("run %s is blocked (%s): %s", self.run_id, reason, report)
        return blocked, self.projection(RunStatus.BLOCKED, owned=False)

    def outcome(self, command: Command) -> Any:
        """
        The value of a completed step, or raise its error; the decoded form of what was written.

        Raises:
            Suspend: it cannot be decoded; the run will be blocked.
        """
        event = command.event
        if isinstance(event, StepCompleted):
            if command.value is None and event.result != b"null":
                command.value = self.decoded(command.call.step, event.result)
            return command.value
        if isinstance(event, StepFailed):
            raise self.error(command, event)
        raise UsageError(f"step {command.name!r} has no outcome yet")

    def decoded(self, step: Any, body: bytes) -> Any:
        """A recorded result as the step's annotation promises it."""
        try:
            return step.result.decode(body, step.where)
        except DecodeError as problem:
            raise self.machine.stop(problem) from problem

    def error(self, command: Command, event: StepFailed) -> BaseException:
        """The error of a failed step, one object however often it is asked for."""
        if command.error is None:
            try:
                command.error = error_of(event.failure, command.name)
            except DecodeError as problem:
                raise self.machine.stop(problem) from problem
        self.machine.raised(command.error, command.seq)
        return command.error

    def signal_outcome(self, command: Command, annotation: Any) -> tuple[str, Any]:
        """Name and payload of the signal that ended a wait, or raise SignalTimeoutError."""
        event = command.event
        if isinstance(event, SignalReceived):
            try:
                where = f"signal {event.signal!r} of run {self.run_id!r}"
                return event.signal, decode_signal(event.payload, annotation, where)
            except DecodeError as problem:
                raise self.machine.stop(problem) from problem
        timeout_us = int(command.args.split(b"|")[0] or 0) if command.args else 0
        raise SignalTimeoutError(command.name, timeout_us / 1_000_000)

    def input(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The workflow's arguments, decoded; the same object on the first execution as on replay."""
        try:
            return self.definition.arguments.decode(self.machine.started.input, self.definition.where)
        except DecodeError as problem:
            raise self.machine.stop(problem) from problem

    def info(self) -> RunContext:
        """Facts about the run, for the workflow's own code."""
        started = self.machine.started
        return RunContext(
            run_id=started.run_id,
            workflow=started.workflow,
            version=started.version,
            replaying=self.machine.replaying,
        )

    def random_of(self, scope: str, use: str) -> random.Random:
        """The seeded source of one strand; two strands cannot disturb each other's numbers."""
        name = f"{self.machine.started.seed}/{scope}/{use}"
        source = self._random.get(name)
        if source is None:
            source = self._random[name] = random.Random(name)
        return source

    def uuid_of(self, scope: str) -> uuid.UUID:
        """The next UUID of one strand."""
        return uuid.UUID(int=self.random_of(scope, "uuid").getrandbits(128), version=4)

    def _push_due(self, due_us: int, command: Command) -> None:
        heapq.heappush(self._dues, (due_us, command.ordinal, command))

    def _read_inbox(self) -> None:
        self.stale = False
        items = self.core.store.inbox(self.key, self._read_n)
        if items:
            self._read_n = items[-1].n
            self.seen_n = max(self.seen_n, self._read_n)
            self._messages += items

    def _next_message(self) -> Event | None:
        self._signal_waits = [command for command in self._signal_waits if self.is_open(command)]
        for index, item in enumerate(self._messages):
            if item.n in self.machine.taken:
                continue
            if item.kind == "cancel":
                if self.machine.cancel is None:
                    del self._messages[index]
                    return CancelRequested(self.journal.at_us(), item.n, "requested")
                continue
            for command in self._signal_waits:
                if item.name in command.call and (command.due_us is None or item.at_us <= command.due_us):
                    del self._messages[index]
                    at_us = self.journal.at_us()
                    c = command
                    return SignalReceived(
                        at_us, c.scope, c.position, c.ordinal, c.name, c.site, c.args, item.n, item.name, item.dedup_key, item.payload
                    )
        return None

    def _expire_attempts(self) -> None:
        if not self._deadlines:
            return
        now_s = self.core.clock.monotonic_s()
        while self._deadlines and self._deadlines[0][0] <= now_s:
            _, _, command, attempt = heapq.heappop(self._deadlines)
            if self.running.get(command) == attempt and not any(done.command is command for done in self.finished):
                error = StepTimeoutError(command.name, command.call.step.options_.timeout_s)
                self.attempt_expired(command)
                self.finished.append(Finished(command, attempt, None, error))

    def _add_due(self, events: list[Event]) -> None:
        now_us = self.core.clock.now_us()
        due_us = self.wake_at_us()
        if due_us is None or due_us > now_us:
            return
        if self._run_due_us is not None and self._run_due_us <= now_us and self.machine.cancel is None:
            self._run_due_us = None
            events.append(CancelRequested(self.journal.at_us(), 0, "timeout"))
            return
        dues = self._dues
        while dues and dues[0][0] <= now_us:
            command = dues[0][2]
            if command.kind == "signal" and self.is_open(command) and self._came_in_time(command):
                return
            heapq.heappop(dues)
            if not self.is_open(command):
                continue
            if command.kind == "step":
                self.startable.append(command)
                continue
            kind = TimerFired if command.kind == "timer" else SignalTimedOut
            c = command
            events.append(kind(self.journal.at_us(), c.scope, c.position, c.ordinal, c.name, c.site, c.args))

    def _came_in_time(self, command: Command) -> bool:
        """Before a signal's deadline passes, look once more: one delivered before it wins however late we are."""
        self._read_inbox()
        due_us = command.due_us or 0
        return any(
            item.kind == "signal" and item.name in command.call and item.at_us <= due_us and item.n not in self.machine.taken
            for item in self._messages
        )
