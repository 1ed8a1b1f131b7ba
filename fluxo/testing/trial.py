"""
One run of one workflow in a simulated process that may die, from its start to its end.

Owns: `Case`, what is tried; `Trial`, what came of it; the process that is started again whenever it has died. Must not
know what the outcome should be. Theory: reliability.md §4: between two points nothing happens that anybody outside the
process could see, so a crash at each point is a crash anywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from fluxo.authoring.workflow import WorkflowBase
from fluxo.codec.event import decode_event
from fluxo.codec.signal import encode_signal
from fluxo.engine import Engine
from fluxo.model.events import (
    CancelRequested,
    CommandEvent,
    Event,
    RunBlocked,
    RunCancelled,
    RunCompleted,
    RunFailed,
    SignalReceived,
    SignalTimedOut,
    StepCompleted,
    StepFailed,
)
from fluxo.model.run import ENDED, RunStatus
from fluxo.replay.operations import kind_of
from fluxo.store import Delivered, EventRow, Message
from fluxo.testing.bodies import Bodies
from fluxo.testing.durations import Span, seconds_of
from fluxo.testing.quiet import quiet
from fluxo.testing.simulation.cluster import Cluster, SimNode
from fluxo.testing.simulation.faults import CrashAt, Faults
from fluxo.testing.simulation.fibers import Choose, first

__all__ = ["RUN_ID", "Case", "Fact", "Outcome", "Sent", "Trial", "attempt"]

RUN_ID = "under-test"
LEASE_S = 1e7
"""Nobody is given up for silence here, so heartbeats stay out of long sleeps; deaths show in the process table."""
WITHIN_S = 3.2e9
"""A hundred years: what has not ended by then waits for something that nobody sends."""
_RETRY_S = 0.001


@dataclass(frozen=True)
class Sent:
    """
    A signal, or a cancellation, that reaches the run from outside.

    Attributes:
        name: The signal's name; None asks the run to end.
        payload: Its payload, data.
        after: When, counted from the start of the first process.
    """

    name: str | None
    payload: Any = None
    after: Span = 0.0

    @property
    def after_s(self) -> float:
        """`after` in seconds."""
        return seconds_of(self.after)


@dataclass(frozen=True)
class Case:
    """What is tried: a workflow with its arguments, what it is sent, and the world it finds."""

    workflow: WorkflowBase
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict[str, Any])
    sent: Sequence[Sent] = ()
    fakes: Mapping[str, Any] = field(default_factory=dict[str, Any])
    resources: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True)
class Outcome:
    """
    How a run ended.

    Attributes:
        status: completed, failed, cancelled, blocked, or the status in which it got stuck.
        body: The encoded result; of a failure, its class and message.
        report: Why it is blocked.
    """

    status: RunStatus
    body: bytes = b""
    report: str = ""

    def __str__(self) -> str:
        return f"{self.status}: {self.body.decode('utf-8', 'replace')}" if self.body else str(self.status)


@dataclass(frozen=True)
class Fact:
    """
    What the workflow was told by one event: the only thing its course may depend on.

    Attributes:
        place: Scope and position of the command.
        command: Its kind, name and arguments.
        told: The result, failure or payload.
        site: Where the code asked for it.
    """

    place: tuple[str, int]
    command: tuple[str, str, bytes | None]
    told: bytes
    site: str


@dataclass
class Trial:
    """
    What came of a case.

    Attributes:
        outcome: How the run ended.
        rows, history: Its log.
        facts: What the workflow was told, in order.
        points: The points passed, by name; a crash at point n strikes as it is passed.
        crashes: For each crash (point, events in the log by then).
        bodies: All calls of step bodies.
        repeated: Bodies that were begun again although their outcome was in the log: none, ever.
    """

    outcome: Outcome
    rows: Sequence[EventRow]
    history: Sequence[Event]
    facts: Sequence[Fact]
    points: Sequence[str]
    crashes: Sequence[tuple[str, int]]
    bodies: Bodies
    repeated: Sequence[str]


class Watcher(Protocol):
    """Looks on, as `Invariants` do."""

    def finish(self) -> None:
        """The run is over."""
        ...


def attempt(
    case: Case,
    faults: Faults | None = None,
    *,
    choose: Choose = first,
    copies: int = 1,
    watch: Callable[[Cluster], Watcher] | None = None,
) -> Trial:
    """
    Play a case to its end.

    Args:
        case: The workflow and its world.
        faults: When the process dies; `CrashAt` for one that is said in advance.
        choose: Who of the ready runs next.
        copies: How often each message is delivered, under one key.
        watch: Sees the cluster before anything happens in it; what it returns is told when all is over.
    """
    with quiet():
        return _Play(case, CrashAt() if faults is None else faults, choose, copies, watch).play()


class _Play:
    def __init__(
        self,
        case: Case,
        faults: Faults,
        choose: Choose,
        copies: int,
        watch: Callable[[Cluster], Watcher] | None,
    ) -> None:
        self.case = case
        self.faults = faults
        self.copies = copies
        self.crashes: list[tuple[str, int]] = []
        self.repeated: list[str] = []
        self.bodies = Bodies(case.fakes, self._begun)
        self.workflow = case.workflow.options(id=RUN_ID)
        self.cluster = Cluster(
            faults=faults,
            choose=choose,
            lease_s=LEASE_S,
            resources=case.resources,
            stand_in=self.bodies.stand_in,
        )
        self.cluster.on_crash = self._crashed
        self.recorded: set[str] = set()
        self.seen = 0
        self.watcher = None if watch is None else watch(self.cluster)

    def play(self) -> Trial:
        cluster = self.cluster
        try:
            cluster.boot(self._main)
            for n, sent in enumerate(self.case.sent):
                self._send_later(n, sent, sent.after_s)
            cluster.run(self._over, WITHIN_S)
            if self.watcher is not None:
                self.watcher.finish()
            rows = self._rows()
        finally:
            failures = cluster.close()
        for failure in failures:
            raise failure
        history = [decode_event(row[3]) for row in rows]
        facts = [fact for event in history if (fact := _fact(event)) is not None]
        points: Sequence[str] = getattr(self.faults, "points", ())
        outcome = self._outcome(history)
        return Trial(outcome, rows, history, facts, points, self.crashes, self.bodies, self.repeated)

    def _main(self, engine: Engine) -> None:
        start: Any = engine.start  # the workflow's own types are known to its caller only
        start(self.workflow, *self.case.args, **self.case.kwargs)

    def _crashed(self, node: SimNode) -> None:
        struck: Sequence[str] = getattr(self.faults, "crashes", ())
        self.crashes.append((struck[-1] if struck else "", len(self._rows())))
        self.cluster.boot(self._main)

    def _begun(self, call: Any) -> None:
        rows = self._rows()
        for row in rows[self.seen :]:
            event = decode_event(row[3])
            if isinstance(event, StepCompleted | StepFailed):
                self.recorded.add(f"{RUN_ID}/1/{event.scope or 'main'}/{event.position}")
        self.seen = len(rows)
        if call.key in self.recorded:
            self.repeated.append(f"{call.name} ({call.key})")

    def _send_later(self, n: int, sent: Sent, after_s: float) -> None:
        scheduler = self.cluster.scheduler
        scheduler.later(scheduler.now_us + round(after_s * 1_000_000), lambda: self._send(n, sent))

    def _send(self, n: int, sent: Sent) -> None:
        if sent.name is None:
            message = Message("default", RUN_ID, "cancel", "", "\0cancel", b"null")
        else:
            body = encode_signal(sent.payload, f"signal {sent.name!r}")
            message = Message("default", RUN_ID, "signal", sent.name, f"{sent.name}-{n}", body)
        for _ in range(self.copies):
            delivery = self.cluster.store.deliver([message])[0]
            if delivery.verdict is Delivered.NOT_FOUND:
                self._send_later(n, sent, _RETRY_S)
                return

    def _rows(self) -> Sequence[EventRow]:
        run = self.cluster.store.get("default", RUN_ID)
        return [] if run is None else self.cluster.store.read(run.key, 0, 1_000_000)

    def _over(self) -> bool:
        run = self.cluster.store.get("default", RUN_ID)
        return run is not None and (run.status in ENDED or run.status is RunStatus.BLOCKED)

    def _outcome(self, history: Sequence[Event]) -> Outcome:
        last = history[-1] if history else None
        if isinstance(last, RunCompleted):
            return Outcome(RunStatus.COMPLETED, last.result)
        if isinstance(last, RunFailed):
            failure = last.failure
            return Outcome(RunStatus.FAILED, f"{failure.module}.{failure.qualname}: {failure.message}".encode())
        if isinstance(last, RunCancelled):
            return Outcome(RunStatus.CANCELLED)
        if isinstance(last, RunBlocked):
            return Outcome(RunStatus.BLOCKED, b"", last.report)
        run = self.cluster.store.get("default", RUN_ID)
        return Outcome(RunStatus.PENDING if run is None else run.status)


def _fact(event: Event) -> Fact | None:
    if isinstance(event, CommandEvent) and not hasattr(event, "retry_at_us"):
        told: bytes = getattr(event, "result", b"") or getattr(event, "payload", b"")
        if isinstance(event, StepFailed):
            failure = event.failure
            told = f"{failure.module}.{failure.qualname}: {failure.message}".encode()
        name = event.signal if isinstance(event, SignalReceived) else ""
        if isinstance(event, SignalTimedOut):
            name = "timeout"
        told = name.encode() + told
        command = (str(kind_of(event)), event.name, event.args)
        return Fact((event.scope, event.position), command, told, event.site)
    if isinstance(event, CancelRequested):
        return Fact(("", -1), ("cancel", event.reason, None), b"", "")
    return None
