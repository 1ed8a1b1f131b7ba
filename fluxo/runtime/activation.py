"""
One owner's spell with one run: everything the two drivers share.

Owns: what becomes the next fact (messages, finished attempts, due timers), what a run waits for, how it ends, and
the projection that goes with each event. Must not know threads or loops: a driver asks `decide`, commits, and
applies. Theory: PROTOCOL rules 7, 12, 15, 16, 18; order of decisions: messages, attempts, timers.
"""

from __future__ import annotations

import logging
import random
import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fluxo.authoring.context import RunContext, active
from fluxo.authoring.workflow import WorkflowBase
from fluxo.codec.failure import error_of
from fluxo.codec.signal import decode_signal
from fluxo.errors import (
    DecodeError,
    SignalTimeoutError,
    StoreUnavailableError,
    UsageError,
)
from fluxo.limits import PARK_AFTER_S
from fluxo.model.events import (
    Event,
    RunBlocked,
    RunCancelled,
    RunCompleted,
    RunFailed,
    RunWaiting,
    SignalReceived,
    StepCompleted,
    StepFailed,
    StepRetried,
    TerminalEvent,
)
from fluxo.model.run import RunStatus
from fluxo.replay.command import Command
from fluxo.replay.history import History
from fluxo.replay.machine import Machine
from fluxo.runtime.agenda import Agenda
from fluxo.runtime.attempt import Finished, StepCall, step_scope
from fluxo.runtime.journal import Journal
from fluxo.store import Append, Projection, Release

if TYPE_CHECKING:
    from fluxo.runtime.core import Core

__all__ = ["Activation", "Finished"]

_log = logging.getLogger("fluxo.run")
_PARK_AFTER_US = int(PARK_AFTER_S * 1_000_000)


class Activation:
    """
    A run in the hands of this worker.

    Attributes:
        journal, machine, agenda: The end of its log, its replay, its open business.
        plain: Nobody observes single attempts here.
        parked: The log's last event says what the run waits for.
        ended: The terminal event or RunBlocked, once durable.
        leaving: A step beside the workflow asked for a shutdown: the run goes back as it is.
    """

    def __init__(
        self, core: Core, definition: WorkflowBase, key: int, nonce: int, history: History, delivered: int
    ) -> None:
        self.core = core
        self.definition = definition
        self.run_id = history.run_id
        self.key = key
        last_at_us = history.last.at_us
        self.journal = Journal(
            history.run_id, key, nonce, history.tail_seq, history.tail_digest, last_at_us, core.clock
        )
        self.machine = Machine(history)
        self.plain = not core.observers and core.failpoint is None and core.stand_in is None
        self.parked = False
        self.leaving = False
        self.ended: TerminalEvent | RunBlocked | None = None
        timeout_us = history.started.timeout_us
        run_due_us = None if timeout_us is None else history.reopened_at_us + timeout_us
        fresh = history.tail_seq == 1
        self.agenda = Agenda(core, self.machine, self.journal, delivered, run_due_us, fresh=fresh)
        self.agenda.on_expired = self.stop_attempt
        self._random: dict[str, random.Random] = {}

    def poke(self) -> None:
        """Something for this run may be in its inbox, or the engine drains; callable from any thread."""
        self.agenda.stale = True
        self.wake()

    def drop(self) -> None:
        """The run is someone else's by now: leave it, nothing more may be appended; callable from any thread."""
        self.journal.lost = True
        self.wake()

    def wake(self) -> None:
        """Make the driver look again; callable from any thread."""
        raise UsageError("an activation needs a driver")

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
                self.agenda.retry(event)
        if self.core.observers:
            self.core.notify(self.run_id, self.definition.name, events)

    def projection(self, status: RunStatus, *, owned: bool = True, wake_at_us: int | None = None) -> Projection:
        """New values of the run's row; `consumed` says how far this owner has looked at the inbox."""
        owner = self.core.owner if owned else None
        return Projection(status, wake_at_us, self.agenda.seen_n, owner, self.journal.nonce)

    def should_park(self) -> bool:
        """Whether nothing is under way and the next thing is far off or unknown: then the log must say so."""
        if self.parked or self.agenda.running or self.agenda.startable:
            return False
        due_us = self.agenda.wake_at_us()
        return due_us is None or due_us - self.core.clock.now_us() > _PARK_AFTER_US

    def park_event(self) -> RunWaiting:
        """What the run waits for, as an event."""
        waits = self.machine.waits()
        return RunWaiting(self.journal.at_us(), waits.issued, waits.waits)

    def release(self, pause_s: float = 0.0) -> Release | None:
        """
        How to hand the run back without an event; None if it is not owned.

        A parked run stays waiting; any other is due at once, or after `pause_s`.
        """
        owner = self.core.owner
        if owner is None or self.journal.lost or self.ended is not None:
            return None
        if self.parked:
            return Release(
                self.key, owner, self.journal.nonce, RunStatus.WAITING, self.agenda.wake_at_us(), self.agenda.seen_n
            )
        due_us = self.core.clock.now_us() + round(pause_s * 1_000_000) if pause_s else None
        return Release(self.key, owner, self.journal.nonce, wake_at_us=due_us)

    def hand_back(self, pause_s: float = 0.0) -> None:
        """Hand the run back now; if the store is away, it will be taken over instead."""
        release = self.release(pause_s)
        if release is not None:
            try:
                self.core.store.release([release])
            except StoreUnavailableError as problem:
                _log.info("run %s could not be handed back and will be taken over: %s", self.run_id, problem)

    def stop_attempt(self, command: Command) -> None:
        """Nobody waits for this attempt any more; a driver may stop what still runs of it."""

    def settle(self, done: Finished) -> None:
        """An attempt is over; callable from any thread."""
        raise UsageError("an activation needs a driver")

    def attempt_in_thread(self, command: Command, attempt: int) -> None:
        """The body of a sync step on a pool thread, in the context of its call."""
        call: StepCall = command.call
        active.set(step_scope(self, command, attempt))
        self.core.hit("before_effect")
        value: Any = None
        failed: BaseException | None = None
        try:
            value = self.core.invoke(call.step, call.args, call.kwargs)
        except (KeyboardInterrupt, SystemExit):
            self.leave(command)
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
            value = await call.body(self.core.invoke)
        except (KeyboardInterrupt, SystemExit):
            self.leave(command)
            raise
        except GeneratorExit:
            raise  # the host's loop was closed under us: no outcome of the step
        except BaseException as error:
            # Given up (timed out, cancelled with its wait, host going down): then its outcome is nobody's.
            if self.given_up(command, attempt, error):
                raise
            failed = error
        self.core.hit("after_effect")
        self.settle(Finished(command, attempt, value, failed))

    def leave(self, command: Command) -> None:
        """A step beside the workflow asked for a shutdown: no outcome, nothing is recorded; from any thread."""
        _log.warning("step %s of run %s asked for a shutdown; the run is handed back", command.name, self.run_id)
        self.leaving = True
        self.wake()

    def began(self, command: Command) -> int:
        """An attempt starts; its number."""
        attempt = self.agenda.began(command)
        if self.core.observers:
            self.core.call_observers("on_step_started", self.run_id, command.name, attempt)
        return attempt

    def given_up(self, command: Command, attempt: int, error: BaseException) -> bool:
        """Whether an attempt was stopped from outside rather than failing by itself."""
        if self.agenda.running.get(command) != attempt or not self.agenda.is_open(command):
            return True
        return type(error).__name__ == "CancelledError" and self.core.stopped.is_set()

    def is_cancellation(self, error: BaseException) -> bool:
        """Whether this is how the run's cancellation leaves the workflow."""
        raise UsageError("an activation needs a driver")

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
            args, kwargs = self.definition.arguments.decode(self.machine.started.input, self.definition.where)
        except DecodeError as problem:
            raise self.machine.stop(problem) from problem
        return args, kwargs

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
