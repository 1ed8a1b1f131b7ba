"""
The contract between the engine and a database.

Owns: the promises. Must not know any implementation. Theory: DESIGN §3–4 and PROTOCOL; a store is
right when it passes `fluxo.testing.StoreConformance` and answers as the memory store does.

All methods block and may be called from any thread; a store serialises what its driver needs
serialised. Each is one transaction (or one atomic script) per run, and none holds a transaction open
after it returns. Drivers' errors come out as `StoreUnavailableError` (definitely not written) with
the driver's error as cause; a commit whose outcome cannot be known is the answer `Unknown`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from fluxo.model.run import RunRecord
from fluxo.store.requests import (
    Append,
    Delivery,
    DueQuery,
    DueRuns,
    EventRow,
    InboxItem,
    Message,
    Outcome,
    Release,
    RunPage,
    RunQuery,
    StoreStats,
    WorkerRecord,
)

__all__ = ["Store"]


class Store(Protocol):
    """An append-only log of runs with a projection, inboxes and a register of workers."""

    def append(self, batch: Sequence[Append]) -> list[Outcome]:
        """
        Write events of several runs durably; answers in the order of `batch`.

        Each key stands at most once in a batch. Per run all or nothing: its first event is inserted
        on the condition that the row (prev_seq, prev_digest) exists and prev_seq + 1 is free; only if
        that won, its further events, projection, consumed marks and new row, in the same transaction.
        One run's Conflict does not disturb the others. With `new`, the run's row is created and its
        key answered in `Committed`, or the standing run is answered as `Existing`.
        A run that is being purged, and a `new` whose id is being purged, answer Conflict.

        Sending an append again is safe (PROTOCOL rule 4): if all of its events stand in their places already, by
        seq, nonce and digest, the answer is `Committed` and nothing is written, whatever has followed since.

        An append that the store cannot hold raises a definite error other than `StoreUnavailableError`, and nothing
        of the batch is written.

        Cost: one commit for the whole batch; a single event without projection is one statement.
        """
        ...

    def read(self, key: int, after_seq: int, limit: int) -> list[EventRow]:
        """Events with seq > `after_seq` in order, at most `limit`. Unknown keys have none."""
        ...

    def tail(self, key: int) -> EventRow | None:
        """The last event, or None."""
        ...

    def due(self, query: DueQuery) -> DueRuns:
        """
        Runs of this namespace, of these queues and these (workflow, version) pairs, that a worker could take now.

        Eligible: status OPEN, and either no owner and (pending, ``wake_at_us <= now`` or
        ``delivered > consumed``), or an owner that is in `dead` or has no worker row. A pending run with a
        future ``wake_at_us`` is not eligible before it. Order: priority (higher first), then key.
        Nothing is written; taking a run is an `append` of a claim event at the inspected tail with the
        new owner in its projection (PROTOCOL rule 3).
        """
        ...

    def register(self, worker: WorkerRecord) -> None:
        """Insert the worker's row with beat 0; it counts as alive from now on."""
        ...

    def heartbeat(self, worker_id: str) -> list[tuple[int, int]] | None:
        """
        Move the worker's counter and answer the (key, nonce) pairs it owns among open runs.

        None if it has no row any more: then it must drop all its runs and register under a new id (PROTOCOL rules
        9, 10).
        """
        ...

    def unregister(self, worker_id: str) -> None:
        """Remove the row; runs it still owns are orphans at once."""
        ...

    def workers(self) -> list[WorkerRecord]:
        """All worker rows, of every namespace, in order of their ids."""
        ...

    def release(self, runs: Sequence[Release]) -> int:
        """Hand runs back, each only where owner and nonce still match; the number released."""
        ...

    def deliver(self, messages: Sequence[Message]) -> list[Delivery]:
        """
        Put messages into inboxes, in order; numbering happens under the run's lock (PROTOCOL rule 14).

        ACCEPTED: numbered ``delivered + 1`` and `delivered` moved. REPEATED: this dedup_key was delivered
        before (answered so on a closed run too; a repeat may differ in payload, the first one stands).
        ENDED: the run's status is ENDED and the key is new. NOT_FOUND: no such run, or being purged.
        FULL: INBOX_MESSAGES_MAX unconsumed. Durable when it returns.
        """
        ...

    def inbox(self, key: int, after_n: int) -> list[InboxItem]:
        """Unconsumed messages of the run with n > `after_n`, in order."""
        ...

    def arrivals(self, owner: str) -> list[tuple[int, int]]:
        """(key, delivered) of the owner's runs with ``delivered > consumed``."""
        ...

    def get(self, namespace: str, run_id: str) -> RunRecord | None:
        """The run's projection, or None (also while it is being purged)."""
        ...

    def find(self, query: RunQuery) -> RunPage:
        """Projections, newest first; stable under concurrent writes."""
        ...

    def stats(self, namespace: str) -> StoreStats:
        """Counts, exact at one moment per number."""
        ...

    def purge(self, namespace: str, ended_before_us: int, limit: int) -> int:
        """
        Delete at most `limit` ended runs last updated before that time, wholly; the number deleted.

        Marks a run as purging first, deletes events from the front, the tail and the row last, so that a
        stale owner finds nothing to append to; finishes runs that an earlier, interrupted purge marked.
        """
        ...

    def now_us(self) -> int:
        """The store's clock."""
        ...

    def wait(self, timeout_s: float) -> bool:
        """
        Block until something may have changed (new run, message, status, release), `nudge`, or the timeout.

        A hint only: True may be wrong, a change may be missed for good, and a change made before the call
        counts if no call has reported it yet. One waiting thread per store.
        """
        ...

    def nudge(self) -> None:
        """Make a waiting (or the next) `wait` return now."""
        ...

    def open(self) -> None:
        """
        Connect, create or migrate the schema under a lock, and verify durability settings.

        Raises:
            StoreUnavailableError: cannot be reached or written.
            SchemaVersionError: not a fluxo database, or made by a newer fluxo.
        """
        ...

    def close(self) -> None:
        """Release what `open` made; idempotent. A client that was handed in is left open."""
        ...
