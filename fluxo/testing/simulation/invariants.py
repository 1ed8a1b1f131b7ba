"""
What must hold after every step of a simulation, whatever went wrong.

Owns: the invariants I1-I15 of reliability.md §4 as far as one simulation can see them, and the counters of situations
that prove that they were put to the test. Must not know workflows. It sees every answer of the store as the store gave
it, whatever the process was told, and keeps its own copy of each log.

I1 what was acknowledged stays. I2 seq without gaps, chain valid. I3 one open end, nothing after it. I4, I5 an
activation that was fenced never writes again. I6 one owner. I8 a command completes once. I9 no run is stranded. I10 a
message is consumed once, in order. I11 no timer fires early. I12 attempts within the policy. Time never runs backwards
(rule 20).
I7 (replay of each prefix), I13 (everything ends), I14 (no secret gets out) and I15 (same seed, same trace) need a whole
run and are the callers'.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

from fluxo.codec.event import chain, decode_event
from fluxo.model.events import (
    CancelRequested,
    Event,
    RunBlocked,
    RunCancelled,
    RunClaimed,
    RunCompleted,
    RunFailed,
    RunReopened,
    RunWaiting,
    SignalReceived,
    SignalTimedOut,
    StepCompleted,
    StepFailed,
    StepRetried,
    TimerFired,
)
from fluxo.model.run import OPEN, TRANSITIONS, RunRecord, RunStatus
from fluxo.runtime.activation import Activation
from fluxo.store import Append, Committed, Conflict, EventRow, Outcome, RunQuery
from fluxo.testing.errors import InvariantError
from fluxo.testing.simulation.cluster import Cluster, SimNode

__all__ = ["Invariants"]

_COMPLETIONS = (StepCompleted, StepFailed, TimerFired, SignalReceived, SignalTimedOut)
_ENDS = (RunCompleted, RunFailed, RunCancelled)


class _Log:
    """The invariants' own copy of one run's log, and what follows from it."""

    def __init__(self) -> None:
        self.rows: list[EventRow] = []
        self.events: list[Event] = []
        self.retired: set[int] = set()
        self.nonce = 0
        self.completed: dict[tuple[str, int], int] = {}
        self.consumed: dict[int, int] = {}
        self.last_of_name: dict[str, int] = {}
        self.retried: dict[tuple[str, int], int] = {}
        self.reopened = False
        self.status: RunStatus | None = None


class Invariants:
    """Watches a cluster from its making on; raises `InvariantError` out of the simulation where one is broken."""

    def __init__(self, cluster: Cluster, namespace: str = "default") -> None:
        self.logs: dict[int, _Log] = {}
        self.broken: InvariantError | None = None
        self._cluster = cluster
        self._namespace = namespace
        self._touched: set[int] = set()
        self._fenced: set[tuple[str, int, int]] = set()
        cluster.on_appended = self.appended
        cluster.on_told = self.told
        cluster.scheduler.after_switch = self.check

    def appended(self, node: SimNode, batch: Sequence[Append], outcomes: Sequence[Outcome]) -> None:
        """The store has answered; only what it says is committed counts."""
        try:
            for append, outcome in zip(batch, outcomes, strict=True):
                if (node.name, append.key, append.events[0][1]) in self._fenced:
                    _broken("I5", str(append.key), f"{node.name} went on after it was told that it is fenced")
                if isinstance(outcome, Committed):
                    self._take(node, append, outcome.key)
                elif isinstance(outcome, Conflict):
                    self._lost(node, append)
        except InvariantError as broken:
            # The engine under test must not see it, and cannot hide it: it comes out when its fiber is left.
            self.broken = self.broken or broken

    def told(self, node: SimNode, batch: Sequence[Append], outcomes: Sequence[Outcome]) -> None:
        """A process hears the answer; one that is fenced knows it from now on."""
        for append, outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, Conflict):
                self._fenced.add((node.name, append.key, append.events[0][1]))

    def check(self) -> None:
        """
        After a step: one owner (I6), nobody stranded (I9), and what the step wrote is in the store (I1).

        Raises:
            InvariantError: which one, of which run, and how.
        """
        if self.broken is not None:
            raise self.broken
        touched, self._touched = self._touched, set()
        for key in touched:
            self._same(key)
        self._as_believed()
        if touched:
            for run in self._cluster.store.find(RunQuery(self._namespace)).runs:
                self._not_stranded(run)

    def finish(self) -> None:
        """
        At the end: every acknowledged event is in the store, and every message is consumed or still there (I1, I10).

        Raises:
            InvariantError: which one, of which run, and how.
        """
        self._touched = set(self.logs)
        self.check()
        for run in self._cluster.store.find(RunQuery(self._namespace, limit=1_000_000)).runs:
            waiting = {item.n for item in self._cluster.store.inbox(run.key, 0)}
            consumed = set(self.logs[run.key].consumed) if run.key in self.logs else set[int]()
            if waiting | consumed != set(range(1, run.delivered + 1)) or waiting & consumed:
                _broken("I10", run.run_id, f"{run.delivered} messages, consumed {consumed}, in the inbox {waiting}")

    def _take(self, node: SimNode, append: Append, key: int) -> None:
        log = self.logs.setdefault(key, _Log())
        known = log.rows[append.prev_seq : append.prev_seq + len(append.events)]
        if known:
            if known != list(append.events):
                _broken("I1", str(key), f"event {append.prev_seq + 1} was answered committed and another stands there")
            self._cluster.happened("unknown append found committed")
            return
        if node.unsure.pop(key, None) is not None:
            self._cluster.happened("unknown append found absent")
        activation = _activation(node, key)
        for row in append.events:
            event = decode_event(row[3])
            self._row(log, key, row, event)
            self._event(log, key, row[0], event, activation)
            log.rows.append(row)
            log.events.append(event)
        self._touched.add(key)
        row_of = append.projection or append.new
        if row_of is not None:
            if log.status is not None and row_of.status not in TRANSITIONS[log.status]:
                _broken("I3", str(key), f"{log.status} became {row_of.status}")
            log.status = row_of.status

    def _row(self, log: _Log, key: int, row: EventRow, event: Event) -> None:
        seq, nonce, digest, body = row
        prev_digest = log.rows[-1][2] if log.rows else 0
        if seq != len(log.rows) + 1:
            _broken("I2", str(key), f"event {seq} after event {len(log.rows)}")
        if digest != chain(prev_digest, nonce, body):
            _broken("I2", str(key), f"the chain is broken at event {seq}")
        if nonce in log.retired:
            _broken("I5", str(key), f"event {seq} ({type(event).__name__}) was written by a fenced activation")
        if nonce != log.nonce:
            if log.rows and not isinstance(event, RunClaimed | RunReopened | RunCancelled | RunBlocked):
                _broken("I4", str(key), f"event {seq} ({type(event).__name__}) begins an epoch")
            log.retired.add(log.nonce)
            log.nonce = nonce
        if log.events:
            last = log.events[-1]
            if event.at_us < last.at_us:
                _broken("rule 20", str(key), f"event {seq} is earlier than its predecessor")
            if isinstance(last, _ENDS) and not isinstance(event, RunReopened):
                _broken("I3", str(key), f"event {seq} ({type(event).__name__}) after the end")
            if isinstance(last, RunBlocked) and not isinstance(event, RunReopened | RunCancelled):
                _broken("I3", str(key), f"event {seq} ({type(event).__name__}) while blocked")

    def _event(self, log: _Log, key: int, seq: int, event: Event, activation: Activation | None) -> None:
        if isinstance(event, _COMPLETIONS):
            place = event.scope, event.position
            if place in log.completed:
                _broken("I8", str(key), f"command {place} completes at {log.completed[place]} and again at {seq}")
            log.completed[place] = seq
            self._in_time(key, seq, event, activation)
        if isinstance(event, SignalReceived | CancelRequested) and event.inbox_n:
            if event.inbox_n in log.consumed:
                _broken("I10", str(key), f"message {event.inbox_n} consumed at {log.consumed[event.inbox_n]} and {seq}")
            log.consumed[event.inbox_n] = seq
        if isinstance(event, SignalReceived):
            if event.inbox_n < log.last_of_name.get(event.signal, 0):
                _broken("I10", str(key), f"signal {event.signal!r} number {event.inbox_n} out of order")
            log.last_of_name[event.signal] = event.inbox_n
        if isinstance(event, RunReopened):
            log.completed = {place: at for place, at in log.completed.items() if at not in event.voided}
            log.reopened = True
            self._cluster.happened("run reopened")
        if isinstance(event, StepCompleted | StepFailed | StepRetried):
            self._within_policy(key, seq, event, activation)
        self._count(log, event)

    def _in_time(self, key: int, seq: int, event: Event, activation: Activation | None) -> None:
        """
        I11, by the store's clock: who says that a moment has come must not say so before.

        And a wait that ran out must not have overlooked a message that was there in time (rule 15; I10).
        """
        if activation is None or not isinstance(event, TimerFired | SignalTimedOut):
            return
        command = activation.machine.outstanding.get((event.scope, event.position))
        if command is not None and command.due_us is not None and self._cluster.scheduler.now_us < command.due_us:
            early_us = command.due_us - self._cluster.scheduler.now_us
            _broken("I11", str(key), f"event {seq} ({type(event).__name__}) comes {early_us} µs early")
        if command is not None and command.due_us is not None and isinstance(event, SignalTimedOut):
            names: tuple[str, ...] = command.call
            for item in self._cluster.store.inbox(key, 0):
                if item.kind == "signal" and item.name in names and item.at_us < command.due_us:
                    _broken("I10", str(key), f"event {seq} times out although message {item.n} had come before")

    def _within_policy(
        self, key: int, seq: int, event: StepCompleted | StepFailed | StepRetried, activation: Activation | None
    ) -> None:
        command = None if activation is None else activation.machine.outstanding.get((event.scope, event.position))
        if command is None:
            return
        attempts = event.attempt if isinstance(event, StepRetried) else event.attempts
        allowed = command.call.step.options_.retry.max_attempts
        place = event.scope, event.position
        made = self.logs[key].retried.get(place, 0) + 1
        if isinstance(event, StepRetried):
            self.logs[key].retried[place] = made
        if self.logs[key].reopened:
            made = attempts  # what was voided is not counted, and which that was is not looked at here
        if attempts != made or made > allowed or (isinstance(event, StepRetried) and made >= allowed):
            _broken("I12", str(key), f"event {seq} says attempt {attempts}, it is number {made} of {allowed}")

    def _count(self, log: _Log, event: Event) -> None:
        happened = self._cluster.happened
        last = log.events[-1] if log.events else None
        if isinstance(event, RunClaimed):
            happened("unclean takeover" if event.unclean else "clean takeover")
            if event.unclean and isinstance(last, RunClaimed) and last.unclean:
                happened("crash inside recovery")
        elif isinstance(event, CancelRequested) and isinstance(last, RunWaiting):
            happened("cancel during a wait")
        elif isinstance(event, SignalReceived) and isinstance(last, RunClaimed):
            happened("signal taken after a takeover")
        elif isinstance(event, TimerFired) and isinstance(last, RunClaimed):
            happened("timer fired after a takeover")
        elif isinstance(event, StepRetried):
            happened("attempt failed and is tried again")

    def _lost(self, node: SimNode, append: Append) -> None:
        """A conflict: whose, and over what."""
        node.unsure.pop(append.key, None)
        event = decode_event(append.events[0][3])
        if isinstance(event, RunClaimed):
            self._cluster.happened("fence lost the race")
            return
        log = self.logs.get(append.key)
        if log is not None and append.events[0][1] in log.retired:
            self._cluster.happened("zombie fenced")

    def _same(self, key: int) -> None:
        log = self.logs[key]
        if self._cluster.store.read(key, 0, len(log.rows) + 1) != log.rows:
            _broken("I1", str(key), "the log is not what was acknowledged")

    def _as_believed(self) -> None:
        """What a process believes of the logs it holds is durable (I1), and no two hold the same activation (I6)."""
        holders: dict[tuple[int, int], str] = {}
        for node in self._cluster.nodes:
            if not node.alive:
                continue
            for activation in node.active:
                if activation.journal.lost:
                    continue
                log = self.logs.get(activation.key)
                if log is not None and activation.journal.seq > len(log.rows):
                    believed, held = activation.journal.seq, len(log.rows)
                    _broken("I1", activation.run_id, f"{node.name} believes in event {believed}, the log holds {held}")
                if activation.ended is not None:
                    continue
                mark = activation.key, activation.journal.nonce
                if mark in holders:
                    _broken("I6", activation.run_id, f"{holders[mark]} and {node.name} hold the same activation")
                holders[mark] = node.name

    def _not_stranded(self, run: RunRecord) -> None:
        """I9: whoever is not owned will be found: by being pending, by a time, or by a message that it waits for."""
        if run.status not in OPEN or run.owner is not None:
            return
        if run.status is RunStatus.PENDING:
            return
        last = self.logs[run.key].events[-1]
        if run.status is not RunStatus.WAITING or not isinstance(last, RunWaiting):
            _broken("I9", run.run_id, f"{run.status} and unowned, after {type(last).__name__}")
        dues = [wait.due_us for wait in last.waits if wait.due_us is not None]
        if dues and (run.wake_at_us is None or run.wake_at_us > min(dues)):
            _broken("I9", run.run_id, f"waits for a timer at {min(dues)} and will be woken at {run.wake_at_us}")


def _activation(node: SimNode, key: int) -> Activation | None:
    for activation in node.active:
        if activation.key == key:
            return activation
    return None


def _broken(invariant: str, run: str, how: str) -> NoReturn:
    raise InvariantError(invariant, run, how)
