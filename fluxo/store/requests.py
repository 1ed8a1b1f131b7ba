"""
Requests to a store and its answers.

Owns: their shapes. Must not know how a store carries them out. All times are microseconds since the
epoch by the store's clock; all structs are frozen.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TypeAlias

import msgspec

from fluxo.model.run import RunRecord, RunStatus

__all__ = [
    "Append",
    "Committed",
    "Conflict",
    "Delivered",
    "Delivery",
    "DueQuery",
    "DueRuns",
    "EventRow",
    "Existing",
    "InboxItem",
    "Message",
    "NewRun",
    "Outcome",
    "Projection",
    "Release",
    "RunPage",
    "RunQuery",
    "StoreStats",
    "Unknown",
    "WorkerRecord",
]

EventRow: TypeAlias = tuple[int, int, int, bytes]
"""(seq, nonce, digest, body): 1-based position, append id of the writing activation (63 bits),
chained crc32 (32 bits, over its predecessor's digest), opaque event. (seq, nonce) is the append id:
an activation never offers two different events for one seq."""


class Projection(msgspec.Struct, frozen=True, gc=False):
    """New values of a run's row, written with the events that cause them; tail fields come from the last event."""

    status: RunStatus
    wake_at_us: int | None
    consumed: int
    owner: str | None
    nonce: int


class NewRun(msgspec.Struct, frozen=True, gc=False):
    """The row of a run that is to be created; its first events come with it in the same `Append`."""

    namespace: str
    run_id: str
    workflow: str
    version: str
    queue: str
    shard: int
    input_digest: bytes
    status: RunStatus
    owner: str | None
    nonce: int
    priority: int = 0
    wake_at_us: int | None = None


class Append(msgspec.Struct, frozen=True, gc=False):
    """
    Events for the end of one run's log, with what changes beside them.

    Attributes:
        key: The run; 0 together with `new`.
        prev_seq, prev_digest: The event that must be the last one now (0, 0 with `new`): the store
            refuses unless a row (prev_seq, prev_digest) exists and none at prev_seq + 1.
        events: At least one, numbered prev_seq + 1 and on without gaps.
        projection: New values of the run's row, or None to leave it untouched (the hot path).
        consumed: (inbox number, seq of the event that consumed it); the store marks those messages
            consumed, drops their payloads, and keeps their keys until the run is purged.
        new: The row to create; then an existing run with this id is the answer `Existing`.
    """

    key: int
    prev_seq: int
    prev_digest: int
    events: list[EventRow]
    projection: Projection | None = None
    consumed: tuple[tuple[int, int], ...] = ()
    new: NewRun | None = None

    @property
    def is_lone(self) -> bool:
        """Whether it adds one event and nothing else: the common case of a step."""
        return self.projection is None and self.new is None and not self.consumed and len(self.events) == 1


class Committed(msgspec.Struct, frozen=True, gc=False):
    """All of the append is durable. `key` is the run's key."""

    key: int


class Conflict(msgspec.Struct, frozen=True, gc=False):
    """Nothing of this append was written: the slot is taken, the predecessor differs, or the run is gone."""


class Existing(msgspec.Struct, frozen=True, gc=False):
    """A run with the id of `new` stood there already (perhaps one's own: compare the nonce of event 1)."""

    run: RunRecord


class Unknown(msgspec.Struct, frozen=True, gc=False):
    """The store cannot say: re-send the identical append, or compare the append id at that seq (PROTOCOL rule 4)."""

    problem: str


Outcome: TypeAlias = Committed | Conflict | Existing | Unknown


class DueQuery(msgspec.Struct, frozen=True, gc=False):
    """Which runs a worker could take now. `workflows` holds (name, version) pairs; `dead` worker ids."""

    namespace: str
    queues: tuple[str, ...]
    workflows: tuple[tuple[str, str], ...]
    dead: tuple[str, ...]
    limit: int


class DueRuns(msgspec.Struct, frozen=True, gc=False):
    """Runs in the order they should be taken, the store's time, and when the next unowned timer is due (or None)."""

    runs: list[RunRecord]
    now_us: int
    next_wake_at_us: int | None


class WorkerRecord(msgspec.Struct, frozen=True, gc=False):
    """
    One worker as others see it.

    Attributes:
        worker_id: Random, new for every process.
        label: What people call it.
        host: Boot id of its machine; equal values share a process table.
        pid: Process id on that host.
        pid_started: Start time of that process in the host's own ticks, so that a reused pid is told apart.
        beat: Heartbeat counter; alive means that it moves.
    """

    worker_id: str
    namespace: str
    label: str
    host: str
    pid: int
    pid_started: int
    beat: int = 0


class Release(msgspec.Struct, frozen=True, gc=False):
    """
    Hands a run back without an event, only while `owner` and `nonce` are still the run's own.

    The owner becomes None; `status` (PENDING: due now; WAITING: due at `wake_at_us` or when a message with a
    number above `consumed` comes) and `wake_at_us` are set; `consumed` is set unless it is None.
    """

    key: int
    owner: str
    nonce: int
    status: RunStatus = RunStatus.PENDING
    wake_at_us: int | None = None
    consumed: int | None = None


class Message(msgspec.Struct, frozen=True, gc=False):
    """
    A message for a run's inbox.

    Attributes:
        kind: "signal" or "cancel" (later also child results).
        name: The signal's name; empty for other kinds.
        dedup_key: Makes the delivery idempotent within the run.
    """

    namespace: str
    run_id: str
    kind: str
    name: str
    dedup_key: str
    payload: bytes


class Delivered(StrEnum):
    """What became of a message."""

    ACCEPTED = "accepted"
    REPEATED = "repeated"
    ENDED = "ended"
    NOT_FOUND = "not_found"
    FULL = "full"


class Delivery(msgspec.Struct, frozen=True, gc=False):
    """Answer to one message; `n` is its inbox number if accepted or repeated, `owner` the run's owner now."""

    verdict: Delivered
    key: int = 0
    n: int = 0
    owner: str | None = None


class InboxItem(msgspec.Struct, frozen=True, gc=False):
    """A message in a run's inbox; `n` counts from 1 in the order of delivery, `at_us` is the store's time then."""

    n: int
    kind: str
    name: str
    dedup_key: str
    payload: bytes
    at_us: int


class RunQuery(msgspec.Struct, frozen=True, gc=False):
    """Filter for `Store.find`; `before_key` is the cursor (newest first), None for the first page."""

    namespace: str
    status: tuple[RunStatus, ...] = ()
    workflow: str | None = None
    queue: str | None = None
    since_us: int | None = None
    before_key: int | None = None
    limit: int = 100


class RunPage(msgspec.Struct, frozen=True, gc=False):
    """Runs, newest first, and the cursor of the next page (None at the end)."""

    runs: list[RunRecord]
    before_key: int | None


class StoreStats(msgspec.Struct, frozen=True, gc=False):
    """Counts of one namespace."""

    runs_by_status: dict[str, int]
    events: int
    messages_unconsumed: int
    workers: int
