"""
A run as the store's projection shows it, and the table of its legal status changes.

Owns: `RunStatus`, the transitions, `RunRecord`. The projection is an index over the log, written in
the transaction of the event that changes it; the log is what is true (DESIGN §3).
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec

__all__ = ["ENDED", "OPEN", "TRANSITIONS", "RunRecord", "RunStatus"]


class RunStatus(StrEnum):
    """Where a run stands."""

    PENDING = "pending"
    RUNNING = "running"
    WAITING = "waiting"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    BLOCKED = "blocked"


OPEN: Final = frozenset({RunStatus.PENDING, RunStatus.RUNNING, RunStatus.WAITING})
"""A worker may own and advance the run."""

ENDED: Final = frozenset({RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED})
"""The log's last event is terminal."""

_STOPS: Final = ENDED | {RunStatus.BLOCKED}

TRANSITIONS: Final[dict[RunStatus, frozenset[RunStatus]]] = {
    RunStatus.PENDING: frozenset({RunStatus.RUNNING, RunStatus.CANCELLED, RunStatus.BLOCKED}),
    RunStatus.RUNNING: frozenset({RunStatus.RUNNING, RunStatus.WAITING, RunStatus.PENDING}) | _STOPS,
    RunStatus.WAITING: frozenset({RunStatus.RUNNING, RunStatus.WAITING, RunStatus.PENDING}) | _STOPS,
    RunStatus.BLOCKED: frozenset({RunStatus.PENDING, RunStatus.RUNNING, RunStatus.CANCELLED}),
    RunStatus.COMPLETED: frozenset(),
    RunStatus.FAILED: frozenset({RunStatus.PENDING, RunStatus.RUNNING}),
    RunStatus.CANCELLED: frozenset(),
}
"""status → statuses that may follow. PENDING and RUNNING after FAILED or BLOCKED are `resume`."""


class RunRecord(msgspec.Struct, frozen=True, gc=False):
    """
    One row of the projection.

    Attributes:
        key: The store's integer handle of the run; never used again after a purge.
        wake_at_us: When the earliest open timer is due, microseconds since the epoch; None if none is.
        delivered: Messages ever numbered into the inbox; written by deliverers only.
        consumed: Value of `delivered` that the owner has looked at; written by owners only.
            A run is due when ``delivered > consumed`` or ``wake_at_us <= now`` (PROTOCOL rule 7).
        owner: Worker id, or None.
        nonce: Append id of the owning activation.
        tail_seq, tail_digest: The last event when this row was last written; a shorter log than this
            has lost a suffix.
        input_digest: 16-byte digest of workflow name, version and encoded input.
    """

    key: int
    namespace: str
    run_id: str
    workflow: str
    version: str
    status: RunStatus
    queue: str
    shard: int
    priority: int
    wake_at_us: int | None
    delivered: int
    consumed: int
    owner: str | None
    nonce: int
    base_seq: int
    tail_seq: int
    tail_digest: int
    input_digest: bytes
    created_at_us: int
    updated_at_us: int
