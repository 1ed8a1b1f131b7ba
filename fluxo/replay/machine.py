"""
The replay machine: applies a history to the commands a workflow issues, and finds where they differ.

Owns: numbering, matching, the cursor in the history, and workflow time. Must not know clocks, threads, loops
or stores. Live events take the same way as recorded ones: once durable, they are applied here. Theory:
the numbered rules in `fluxo.replay`; detection in DESIGN §1.9.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple, cast

from fluxo.codec.event import decode_event
from fluxo.errors import DecodeError, FluxoError, FluxoInternalError, HistoryCorruptError, Suspend
from fluxo.model.events import CancelRequested, CommandEvent, Event, RunWaiting, StepCompleted, StepRetried, Wait
from fluxo.replay.command import Command, CommandScope, Kind
from fluxo.replay.divergence import differing, diverged, row_of_command, row_of_end, row_of_event, row_of_wait
from fluxo.replay.history import History
from fluxo.replay.operations import EFFECTS, KINDS, Effect

__all__ = ["NO_CAUSE", "Cause", "Machine"]


class Cause(NamedTuple):
    """
    What made a run fail.

    Attributes:
        seq: The event it came with; 0 for an error of the workflow's own.
        issued: How many commands the run had issued when the workflow met it.
        handled: The failed steps whose errors the workflow had met before.
    """

    seq: int
    issued: int
    handled: tuple[int, ...]


NO_CAUSE: Final = Cause(0, 0, ())


class Machine:
    """
    The state of one run in one activation.

    Attributes:
        replaying: Recorded events are still to be delivered; nothing may be carried out yet.
        outstanding: Issued and open commands by (scope, position), in the order of their issue.
        abandoned: Commands the workflow gave up; their late events are checked and dropped.
        fresh: Commands issued live (or open when replay ended) and not yet looked at by the driver.
        blocked: Why this activation must stop: set before `Suspend` goes through user code, which might
            swallow an ordinary exception.
        on_cancel: Called when a cancellation is delivered.
        cancelled_at: That cancellation as a cause.
    """

    def __init__(self, history: History) -> None:
        self.run_id = history.run_id
        self.started = history.started
        self.now_us = history.began_at_us
        self.issued = 0
        self.root = CommandScope("")
        self.outstanding: dict[tuple[str, int], Command] = {}
        self.abandoned: dict[tuple[str, int], Command] = {}
        self.fresh: list[Command] = []
        self.failures: list[tuple[BaseException, int, int]] = []
        self.blocked: FluxoError | None = None
        self.on_cancel: Callable[[], object] | None = None
        self.cancel: CancelRequested | None = None
        self.cancelled_at = NO_CAUSE
        self.taken: set[int] = set()
        self._bodies = history.bodies
        self._seqs = history.seqs
        self._cursor = 0
        self._end = len(history.bodies)
        self._next: Any = None
        self.replaying = self._end > 0

    def recorded(self, scope: CommandScope, name: str, args: bytes | None) -> StepCompleted | None:
        """
        The event of the step about to be issued, if it is the very next one: rule 3 of `fluxo.replay`.

        Counts the command as issued and completed. None means: issue it in full. The caller makes
        sure that nothing else is ready to run.

        Raises:
            Suspend: the event is damaged; `blocked` says how.
        """
        event = self._next
        if event is None:
            try:
                event = self._peek()
            except HistoryCorruptError as corrupt:
                raise self.stop(corrupt) from corrupt
        if (
            type(event) is not StepCompleted
            or event.position != scope.position
            or event.scope != scope.path
            or event.name != name
            or event.args != args
            or event.ordinal != self.issued
        ):
            return None
        scope.position += 1
        self.issued += 1
        if event.at_us > self.now_us:
            self.now_us = event.at_us
        self._advance()
        return event

    def issue(self, scope: CommandScope, kind: Kind, name: str, site: str, args: bytes | None) -> Command:
        """Number a command and hold it open until its event is delivered."""
        command = Command(scope.path, scope.position, self.issued, kind, name, site, args)
        scope.position += 1
        self.issued += 1
        self.outstanding[command.scope, command.position] = command
        if not self.replaying:
            self.fresh.append(command)
        return command

    def adopt(self, command: Command) -> None:
        """Hold a command open whose numbers were taken before it was needed as an object."""
        self.outstanding[command.scope, command.position] = command

    def abandon(self, command: Command) -> None:
        """The workflow no longer waits for this command."""
        key = (command.scope, command.position)
        if self.outstanding.pop(key, None) is not None:
            self.abandoned[key] = command

    def deliver_next(self) -> None:
        """
        Apply the next recorded event.

        Raises:
            NonDeterminismError: it does not fit what the workflow has issued.
            HistoryCorruptError: it cannot be read.
        """
        event = self._next if self._next is not None else self._peek()
        seq = self._seqs[self._cursor]
        self._advance()
        self.apply(event, seq)

    def apply(self, event: Event, seq: int) -> None:
        """
        Make a durable event visible to the workflow.

        Raises:
            NonDeterminismError: it does not fit what the workflow has issued.
        """
        if event.at_us > self.now_us:
            self.now_us = event.at_us
        effect = EFFECTS[type(event)]
        if effect is Effect.COMPLETES and isinstance(event, CommandEvent):
            self._complete(event, seq)
        elif isinstance(event, StepRetried):
            command = self._match(event, seq)
            command.attempt, command.retry_at_us = event.attempt, event.retry_at_us
        elif isinstance(event, RunWaiting):
            self._check_waits(event, seq)
        elif isinstance(event, CancelRequested):
            self.cancel, self.cancelled_at = event, Cause(seq, self.issued, self._handled(len(self.failures)))
            self._take(event.inbox_n)
            if self.on_cancel is not None:
                self.on_cancel()
        elif effect is Effect.ENDS:
            raise diverged(self.run_id, seq, row_of_event(event), self._first_open(), "the recorded run had ended here")

    def end(self, how: str, site: str) -> None:
        """
        The workflow is over: nothing recorded may be left but late events of known commands.

        Args:
            how: "returned", or what it raised; for the report.
            site: Where it did so.

        Raises:
            NonDeterminismError: recorded commands that the code no longer issues.
            HistoryCorruptError: what is left cannot be read.
        """
        while self.replaying:
            event = self._peek()
            seq = self._seqs[self._cursor]
            if EFFECTS[type(event)] is Effect.ENDS:
                return
            if not isinstance(event, CommandEvent) or not self._knows(event):
                produced = row_of_end(how, site)
                raise diverged(self.run_id, seq, row_of_event(event), produced, "the workflow ended before this event")
            self._advance()
            self.apply(event, seq)

    def waits(self) -> RunWaiting:
        """The event that says what the run waits for now."""
        return RunWaiting(self.now_us, self.issued, tuple(c.as_wait() for c in self.outstanding.values()))

    def raised(self, error: BaseException, seq: int) -> None:
        """Remember which event an error came from when the workflow first sees it."""
        if not any(known is error for known, _, _ in self.failures):
            self.failures.append((error, seq, self.issued))

    def cause_of(self, error: BaseException) -> Cause:
        """The failed step that `error` came from; of the members of a group, the one the workflow met first."""
        index = self._met(error, set())
        if index is None:
            return NO_CAUSE
        _, seq, issued = self.failures[index]
        return Cause(seq, issued, self._handled(index))

    def _met(self, error: BaseException, seen: set[int]) -> int | None:
        """Place among the failures of the one that this error is, holds, was raised from or came upon."""
        pending: list[BaseException | None] = [error]
        while pending:
            one = pending.pop()
            if one is None or id(one) in seen:
                continue
            seen.add(id(one))
            for place, (known, _, _) in enumerate(self.failures):
                if known is one:
                    return place
            if isinstance(one, BaseExceptionGroup):
                members = cast("BaseExceptionGroup[BaseException]", one).exceptions
                met = [self._met(member, seen) for member in members]
                if any(place is not None for place in met):
                    return min(place for place in met if place is not None)
            pending += [one.__context__, one.__cause__]
        return None

    def _handled(self, count: int) -> tuple[int, ...]:
        return tuple(seq for _, seq, _ in self.failures[:count])

    def stop(self, reason: FluxoError) -> Suspend:
        """Mark this activation as stopped; the returned exception carries the news through user code."""
        if self.blocked is None:
            self.blocked = reason
        return Suspend(str(reason))

    def peek_seq(self) -> int:
        """Seq of the next recorded event, or of the last one when none is left."""
        return self._seqs[min(self._cursor, self._end - 1)] if self._end else 1

    def _peek(self) -> Event:
        if not self.replaying:
            raise FluxoInternalError("looked past the end of a history")
        try:
            event = decode_event(self._bodies[self._cursor])
        except DecodeError as error:
            raise HistoryCorruptError(self.run_id, self._seqs[self._cursor], str(error)) from error
        self._next = event
        return event

    def _advance(self) -> None:
        self._next = None
        self._cursor += 1
        if self._cursor >= self._end:
            self.replaying = False
            self.fresh = list(self.outstanding.values())

    def _knows(self, event: CommandEvent) -> bool:
        key = (event.scope, event.position)
        return key in self.outstanding or key in self.abandoned

    def _match(self, event: CommandEvent, seq: int) -> Command:
        key = (event.scope, event.position)
        command = self.outstanding.get(key) or self.abandoned.get(key)
        if command is None:
            produced = self._first_open()
            raise diverged(
                self.run_id, seq, row_of_event(event), produced, "the code did not issue the recorded command"
            )
        difference = _difference(command, KINDS[type(event)], event) or _misplaced(command, event)
        if difference:
            raise diverged(self.run_id, seq, row_of_event(event), row_of_command(command), difference)
        return command

    def _complete(self, event: CommandEvent, seq: int) -> None:
        command = self._match(event, seq)
        self._take(getattr(event, "inbox_n", 0))
        key = (event.scope, event.position)
        if self.outstanding.pop(key, None) is None:
            del self.abandoned[key]
            return
        command.event, command.seq = event, seq
        waiter = command.waiter
        if waiter is not None:
            if not waiter.done():
                waiter.set_result(None)
        elif command.wake is not None:
            command.wake()

    def _take(self, inbox_n: int) -> None:
        if inbox_n:
            self.taken.add(inbox_n)

    def _check_waits(self, event: RunWaiting, seq: int) -> None:
        for wait in event.waits:
            command = self.outstanding.get((wait.scope, wait.position))
            if command is None:
                raise diverged(
                    self.run_id, seq, row_of_wait(wait), self._first_open(), "the run no longer waits for this"
                )
            difference = _difference(command, wait.kind, wait)
            if difference:
                raise diverged(self.run_id, seq, row_of_wait(wait), row_of_command(command), difference)
        recorded = {(wait.scope, wait.position) for wait in event.waits}
        for key, command in self.outstanding.items():
            if key not in recorded:
                raise diverged(
                    self.run_id, seq, None, row_of_command(command), "the recorded run did not wait for this"
                )
        # Last, since a command too many or too few elsewhere is what moves the others.
        for wait in event.waits:
            command = self.outstanding[wait.scope, wait.position]
            if misplaced := _misplaced(command, wait):
                raise diverged(self.run_id, seq, row_of_wait(wait), row_of_command(command), misplaced)

    def _first_open(self) -> tuple[str, str, str, str, str] | None:
        for command in self.outstanding.values():
            return row_of_command(command)
        return None


def _difference(command: Command, kind: str, recorded: CommandEvent | Wait) -> str:
    """The first thing that sets what the code asked for apart from what is recorded; empty if nothing does."""
    if command.kind != kind:
        return f"kind: recorded {kind}, produced {command.kind}"
    if command.name != recorded.name:
        return f"name: recorded {recorded.name!r}, produced {command.name!r}"
    # Not compared unless both were recorded: whether arguments are recorded is an option, and options may change.
    if command.args != recorded.args and command.args is not None and recorded.args is not None:
        return differing(recorded.args, command.args)
    return ""


def _misplaced(command: Command, recorded: CommandEvent | Wait) -> str:
    """Whether other commands were issued before it than in the recorded run; empty if not."""
    if command.ordinal != recorded.ordinal:
        return f"order: recorded as command {recorded.ordinal} of the run, produced as command {command.ordinal}"
    return ""
