"""
What users see of a run, an engine and a store.

Owns: the frozen public answers of `Engine.list`, `Handle.info` and `Engine.stats`. Must not know where they come from.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from fluxo.clock import from_us
from fluxo.model.run import RunRecord, RunStatus

__all__ = ["EngineStats", "Page", "RunInfo", "info_of"]


class RunInfo(msgspec.Struct, frozen=True, kw_only=True):
    """
    One run at one moment.

    Attributes:
        wake_at: When its earliest timer is due; None if it waits for none.
        owner: Id of the worker that holds it; None if none does.
        reason, report: Why a blocked run is blocked; empty otherwise.
    """

    run_id: str
    workflow: str
    version: str
    status: RunStatus
    queue: str
    created_at: datetime
    updated_at: datetime
    wake_at: datetime | None = None
    owner: str | None = None
    reason: str = ""
    report: str = ""


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """Runs, newest first; pass `next_cursor` to get the next page, None at the end."""

    runs: tuple[RunInfo, ...]
    next_cursor: str | None


class EngineStats(msgspec.Struct, frozen=True, kw_only=True):
    """
    Counts of a namespace, and of this engine since it was opened.

    Attributes:
        runs: Status → number of runs.
        events, messages_unconsumed, workers: Of the namespace.
        active: Runs held by this engine now.
        commits, appends: Of this engine; appends per commit is what group commit gains.
    """

    runs: dict[str, int]
    events: int
    messages_unconsumed: int
    workers: int
    active: int
    commits: int
    appends: int


def info_of(run: RunRecord, reason: str = "", report: str = "") -> RunInfo:
    """The public form of a projection row."""
    return RunInfo(
        run_id=run.run_id,
        workflow=run.workflow,
        version=run.version,
        status=run.status,
        queue=run.queue,
        created_at=from_us(run.created_at_us),
        updated_at=from_us(run.updated_at_us),
        wake_at=None if run.wake_at_us is None else from_us(run.wake_at_us),
        owner=run.owner,
        reason=reason,
        report=report,
    )
