"""
Histories recorded from a run, cut off after any event and continued elsewhere.

Owns: a process on virtual time, and `Recording` with the law of replay: whatever prefix of a history survives, a fresh
engine goes on from it, runs no step again whose result is in it, and ends alike. Must not know any workflow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import fluxo
from fluxo import (
    Handle,
    MemoryStore,
    RunBlockedError,
    RunCancelledError,
    RunFailedError,
)
from fluxo.codec.event import decode_event
from fluxo.model.events import (
    CancelRequested,
    Event,
    RunReopened,
    SignalReceived,
    StepCompleted,
    StepFailed,
)
from fluxo.model.run import RunStatus
from fluxo.store import Append, Message, NewRun, Store
from fluxo.testing.simulation.cluster import START_US, Cluster, SimNode
from tests.e2e.places import PATIENCE_S

RUN_ID = "recorded"
FOR_EVER_S = 1e10
"""Virtual time that no run under test takes."""

executed: list[str] = []
"""Idempotency keys of the step bodies that ran, in order; see `body_ran`."""


def body_ran() -> None:
    """To be called by each step body under test."""
    executed.append(fluxo.info().idempotency_key)


@contextmanager
def simulated(
    fill: Callable[[MemoryStore], None] | None = None, *, works: bool = True, start_us: int = START_US
) -> Iterator[SimNode]:
    """A process on virtual time over a store that was filled before: whoever waits for a timer waits for nothing."""
    # Nobody dies, so nobody need be watched: a long lease keeps heartbeats out of long sleeps.
    cluster = Cluster(lease_s=1e7, start_us=start_us)
    if fill is not None:
        fill(cluster.store)
    try:
        yield cluster.boot(works=works)
    finally:
        failures = cluster.close()
    assert not failures


class Replay(NamedTuple):
    """What became of a run that was continued from a cut-off history, to be cut off again."""

    outcome: tuple[Any, ...]
    history: tuple[Event, ...]
    executed: list[str]
    recording: Recording


class Recording:
    """A finished (or parked) run and everything needed to continue any prefix of it elsewhere."""

    def __init__(self, store: Store, run_id: str, outcome: tuple[Any, ...]) -> None:
        run = store.get("default", run_id)
        assert run is not None
        self.run = run
        self.outcome = outcome
        self.rows = store.read(run.key, 0, 100_000)
        self.history: tuple[Event, ...] = tuple(decode_event(row[3]) for row in self.rows)

    def upto(self, n: int, store: MemoryStore) -> None:
        """Fill a store with the run's first `n` events, its messages, and no owner: due at once."""
        run = self.run
        new = NewRun(
            "default",
            run.run_id,
            run.workflow,
            run.version,
            run.queue,
            run.shard,
            run.input_digest,
            RunStatus.PENDING,
            None,
            run.nonce,
        )
        store.append([Append(0, 0, 0, self.rows[:1], new=new)])
        store.deliver(_messages(run.run_id, self.history))
        if n > 1:
            taken = [(number, seq) for seq, event in enumerate(self.history[:n], 1) if (number := _taken(event))]
            store.append([Append(1, 1, self.rows[0][2], self.rows[1:n], consumed=tuple(taken))])

    def go_on(self, n: int, *, cancelled: bool = False) -> Replay:
        """Cut the history off after its first `n` events and let a fresh engine take it (and cancel it) from there."""
        before = len(executed)

        def fill(store: MemoryStore) -> None:
            self.upto(n, store)
            if cancelled:
                store.deliver([Message("default", self.run.run_id, "cancel", "", "\0cancel", b"null")])

        with simulated(fill, start_us=self.history[n - 1].at_us) as node:
            outcome = outcome_of(node.engine.get(self.run.run_id), FOR_EVER_S)
            recording = Recording(node.cluster.store, self.run.run_id, outcome)
        return Replay(outcome, recording.history, executed[before:], recording)

    def keys(self, n: int) -> set[str]:
        """Idempotency keys of the steps whose outcome is among the first `n` events, and stands."""
        events = self.history[:n]
        voided = {seq for event in events if isinstance(event, RunReopened) for seq in event.voided}
        return {
            f"{self.run.run_id}/1/{event.scope or 'main'}/{event.position}"
            for seq, event in enumerate(events, 1)
            if isinstance(event, StepCompleted | StepFailed) and seq not in voided
        }

    def assert_replays(self, prefixes: Iterable[int] | None = None) -> None:
        """The law, for each prefix of the history (or those given)."""
        for n in range(1, len(self.history)) if prefixes is None else prefixes:
            replay = self.go_on(n)
            assert replay.outcome == self.outcome, f"after event {n}"
            assert replay.history[:n] == self.history[:n]
            assert not self.keys(n) & set(replay.executed), f"recorded and executed again after event {n}"


def record(workflow: Any, *args: Any, signals: Sequence[tuple[str, Any]] = ()) -> Recording:
    """Run a workflow to its end, on virtual time, its signals waiting for it."""
    with simulated(works=not signals) as node:
        handle = node.engine.start(workflow.options(id=RUN_ID), *args)
        for name, payload in signals:
            handle.signal(name, payload)
        if signals:
            handle = node.cluster.boot().engine.get(RUN_ID)
        return Recording(node.cluster.store, RUN_ID, outcome_of(handle, FOR_EVER_S))


def outcome_of(handle: Handle[Any], patience_s: float = PATIENCE_S) -> tuple[Any, ...]:
    """How a run ended, to be compared."""
    try:
        return ("completed", handle.result(timeout=patience_s))
    except RunFailedError as error:
        return ("failed", type(error.__cause__).__name__, str(error.__cause__))
    except RunCancelledError:
        return ("cancelled",)
    except RunBlockedError as error:
        return ("blocked", error.reason, error.report)


def _taken(event: Event) -> int:
    """Number of the message that the event took; 0 if it took none."""
    return event.inbox_n if isinstance(event, SignalReceived | CancelRequested) else 0


def _messages(run_id: str, history: Iterable[Event]) -> list[Message]:
    """The messages a history took, to be delivered again in the order of their numbers."""
    numbered: dict[int, Message] = {}
    for event in history:
        if isinstance(event, SignalReceived):
            numbered[event.inbox_n] = Message("default", run_id, "signal", event.signal, event.dedup_key, event.payload)
        elif isinstance(event, CancelRequested) and event.inbox_n:
            numbered[event.inbox_n] = Message("default", run_id, "cancel", "", "\0cancel", b"null")
    assert sorted(numbered) == list(range(1, len(numbered) + 1)), "a message was not taken: not supported here"
    return [numbered[n] for n in sorted(numbered)]
