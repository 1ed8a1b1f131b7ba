"""
What one run does next: its messages, attempts and timers.

Owns: which commands may start, which are under way, what has come in, and in which order it becomes fact. Must not
know threads or loops: a driver asks `decide`, commits the events and applies them. Order of decisions: messages,
finished attempts, due timers; a message delivered before a deadline beats it however late we look (PROTOCOL rules
14, 15, 18).
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fluxo.errors import StepTimeoutError
from fluxo.model.events import CancelRequested, Event, SignalReceived, SignalTimedOut, StepRetried, TimerFired
from fluxo.replay.command import Command
from fluxo.runtime.attempt import Finished, event_of_error, event_of_value
from fluxo.store import InboxItem

if TYPE_CHECKING:
    from fluxo.replay.machine import Machine
    from fluxo.runtime.core import Core
    from fluxo.runtime.journal import Journal

__all__ = ["Agenda"]


class Agenda:
    """
    The open business of one run in one activation.

    Attributes:
        startable: Steps whose next attempt may start now.
        running: Attempts under way: command → number of the attempt.
        finished: Attempts that are over and not yet decided on.
        stale: The inbox may hold something new.
        busy: Something is timed, under way or waiting to be decided on; without it and `stale`, `decide` is futile.
        seen_n: Messages up to this number were looked at (those the row showed at the claim are read first of all).
        on_expired: Called with a command whose attempt ran out of time; a driver may stop what still runs.
    """

    def __init__(
        self, core: Core, machine: Machine, journal: Journal, delivered: int, run_due_us: int | None, *, fresh: bool
    ) -> None:
        self.startable: list[Command] = []
        self.running: dict[Command, int] = {}
        self.finished: deque[Finished] = deque()
        self.stale = not fresh
        self.busy = run_due_us is not None
        self.seen_n = delivered
        self.on_expired: Callable[[Command], None] | None = None
        self._core = core
        self._machine = machine
        self._journal = journal
        self._read_n = 0
        self._messages: list[InboxItem] = []
        self._signal_waits: list[Command] = []
        self._dues: list[tuple[int, int, Command]] = []
        self._deadlines: list[tuple[float, int, Command, int]] = []
        self._run_due_us = run_due_us

    @property
    def has_timeout(self) -> bool:
        """Whether the whole run has a deadline."""
        return self._run_due_us is not None

    def is_open(self, command: Command) -> bool:
        """Whether the workflow still waits for it."""
        return self._machine.outstanding.get((command.scope, command.position)) is command

    def take_fresh(self) -> None:
        """Sort newly issued commands into what must be started, timed or matched."""
        fresh, self._machine.fresh = self._machine.fresh, []
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

    def decide(self) -> list[Event]:
        """
        The next facts, if any: one message, or all finished attempts and due timers, or the end of the run's time.

        A message stands alone because what it wakes may give up the wait that the next one is for; the end of the
        run's time because it, too, is raised at whatever the workflow then waits for.

        Raises:
            StoreUnavailableError: the inbox cannot be read.
        """
        if self.stale:
            self.read_inbox()
        event = self._next_message() if self._messages else None
        if event is not None:
            return [event]
        events: list[Event] = []
        if self._deadlines:
            self._expire_attempts()
        while self.finished:
            done = self.finished.popleft()
            if self.running.get(done.command) == done.attempt:
                del self.running[done.command]
                if self.is_open(done.command):
                    events.append(self._event_of(done))
        if self._dues or self._run_due_us is not None:
            self._add_due(events)
        self.busy = bool(
            self._dues or self._messages or self._deadlines or self.running or self._run_due_us is not None
        )
        return events

    def drop_unbegun(self) -> None:
        """The engine drains: of what may start, only bodies that have begun go on."""
        self.startable = [command for command in self.startable if command.call.begun is not None]

    def read_inbox(self) -> None:
        """Fetch messages that have come since the last look."""
        self.stale = False
        items = self._core.store.inbox(self._journal.key, self._read_n)
        if items:
            self._read_n = items[-1].n
            self.seen_n = max(self.seen_n, self._read_n)
            self._messages += items
            self.busy = True

    def cancel_waits(self) -> bool:
        """Whether a cancellation is among the messages read and not yet decided on."""
        return self._machine.cancel is None and any(item.kind == "cancel" for item in self._messages)

    def began(self, command: Command) -> int:
        """Count an attempt as under way; its number."""
        attempt = command.attempt + 1
        self.running[command] = attempt
        self.busy = True
        timeout_s = command.call.step.options_.timeout_s
        if timeout_s is not None:
            deadline_s = self._core.clock.monotonic_s() + timeout_s
            heapq.heappush(self._deadlines, (deadline_s, command.ordinal, command, attempt))
        return attempt

    def retry(self, event: StepRetried) -> None:
        """A failed attempt is recorded: the next may start at its time."""
        command = self._machine.outstanding.get((event.scope, event.position))
        if command is not None:
            self._push_due(event.retry_at_us, command)

    def wake_at_us(self) -> int | None:
        """When the earliest open timer is due."""
        dues = self._dues
        while dues and not self.is_open(dues[0][2]):
            heapq.heappop(dues)
        due_us = dues[0][0] if dues else None
        if self._run_due_us is not None and self._machine.cancel is None:
            return self._run_due_us if due_us is None else min(due_us, self._run_due_us)
        return due_us

    def wait_s(self) -> float | None:
        """Seconds until a timer or an attempt's deadline is due; None without one."""
        wait_s: float | None = None
        due_us = self.wake_at_us()
        if due_us is not None:
            wait_s = max(0.0, (due_us - self._core.clock.now_us()) / 1_000_000)
        while self._deadlines and self.running.get(self._deadlines[0][2]) != self._deadlines[0][3]:
            heapq.heappop(self._deadlines)
        if self._deadlines:
            left_s = max(0.0, self._deadlines[0][0] - self._core.clock.monotonic_s())
            wait_s = left_s if wait_s is None else min(wait_s, left_s)
        return wait_s

    def _event_of(self, done: Finished) -> Event:
        at_us = self._journal.at_us()
        if done.error is None:
            return event_of_value(done.command, done.attempt, done.value, at_us)
        return event_of_error(done.command, done.attempt, done.error, at_us, self._core.draw())

    def _push_due(self, due_us: int, command: Command) -> None:
        heapq.heappush(self._dues, (due_us, command.ordinal, command))
        self.busy = True

    def _next_message(self) -> Event | None:
        self._signal_waits = [command for command in self._signal_waits if self.is_open(command)]
        for index, item in enumerate(self._messages):
            if item.n in self._machine.taken:
                continue
            if item.kind == "cancel":
                if self._machine.cancel is None:
                    del self._messages[index]
                    return CancelRequested(self._journal.at_us(), item.n, "requested")
                continue
            for command in self._signal_waits:
                if _takes(command, item):
                    del self._messages[index]
                    return _received(command, item, self._journal.at_us())
        return None

    def _expire_attempts(self) -> None:
        now_s = self._core.clock.monotonic_s()
        while self._deadlines and self._deadlines[0][0] <= now_s:
            _, _, command, attempt = heapq.heappop(self._deadlines)
            if self.running.get(command) == attempt and not any(done.command is command for done in self.finished):
                error = StepTimeoutError(command.name, command.call.step.options_.timeout_s)
                # The verdict first: what is stopped settles too, and must come after it.
                self.finished.append(Finished(command, attempt, None, error))
                if self.on_expired is not None:
                    self.on_expired(command)

    def _add_due(self, events: list[Event]) -> None:
        now_us = self._core.clock.now_us()
        due_us = self.wake_at_us()
        if due_us is None or due_us > now_us:
            return
        if self._run_due_us is not None and self._run_due_us <= now_us and self._machine.cancel is None:
            if events:
                return
            self._run_due_us = None
            events.append(CancelRequested(self._journal.at_us(), 0, "timeout"))
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
            else:
                events.append(_fired(command, self._journal.at_us()))

    def _came_in_time(self, command: Command) -> bool:
        """Before a signal's deadline passes, look into the inbox once more."""
        self.read_inbox()
        taken = self._machine.taken
        return any(item.kind == "signal" and item.n not in taken and _takes(command, item) for item in self._messages)


def _takes(command: Command, item: InboxItem) -> bool:
    names: Any = command.call
    return item.name in names and (command.due_us is None or item.at_us <= command.due_us)


def _received(command: Command, item: InboxItem, at_us: int) -> SignalReceived:
    c = command
    return SignalReceived(
        at_us,
        c.scope,
        c.position,
        c.ordinal,
        c.name,
        c.site,
        c.args,
        item.n,
        item.name,
        item.dedup_key,
        item.payload,
    )


def _fired(command: Command, at_us: int) -> Event:
    kind = TimerFired if command.kind == "timer" else SignalTimedOut
    c = command
    return kind(at_us, c.scope, c.position, c.ordinal, c.name, c.site, c.args)
