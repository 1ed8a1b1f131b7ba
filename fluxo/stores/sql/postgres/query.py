"""
Reading the projection.

Owns: which runs are due, found and counted. Must not know connections' settings. What is due is one statement, so that
an idle worker asks one question per look.
"""

from __future__ import annotations

from typing import Any

from fluxo.model.run import RunStatus
from fluxo.store import DueQuery, DueRuns, RunPage, RunQuery, StoreStats
from fluxo.stores.sql.postgres.connection import Channel
from fluxo.stores.sql.postgres.statements import Statements
from fluxo.stores.sql.rows import RUN_COLUMNS, run_record

__all__ = ["due", "find", "stats"]


def due(channel: Channel, sql: Statements, query: DueQuery) -> DueRuns:
    """Runs that a worker could take now."""
    asked = {
        "namespace": query.namespace,
        "queues": list(query.queues),
        "workflows": [name for name, _ in query.workflows],
        "versions": [version for _, version in query.workflows],
        "dead": list(query.dead),
        "limit": query.limit,
    }
    rows = channel.rows(sql.due, asked)
    now_us, next_wake_at_us = rows[0][:2]
    runs = [run_record(row[2:]) for row in rows if row[2] is not None]
    return DueRuns(runs, now_us, next_wake_at_us)


def find(channel: Channel, sql: Statements, query: RunQuery) -> RunPage:
    """One page of runs, newest first."""
    conditions: list[tuple[str, Any]] = [("namespace = %b::text", query.namespace)]
    if query.status:
        conditions.append(("status = ANY(%b::text[])", [status.value for status in query.status]))
    if query.workflow is not None:
        conditions.append(("workflow = %b::text", query.workflow))
    if query.queue is not None:
        conditions.append(("queue = %b::text", query.queue))
    if query.since_us is not None:
        conditions.append(("created_at_us >= %b::bigint", query.since_us))
    if query.before_key is not None:
        conditions.append(("key < %b::bigint", query.before_key))
    where = " AND ".join(condition for condition, _ in conditions)
    statement = (
        f"SELECT {RUN_COLUMNS} FROM {sql.prefix}fluxo_runs WHERE purging = 0 AND {where} "
        "ORDER BY key DESC LIMIT %b::bigint"
    )
    rows = channel.rows(statement, [*(value for _, value in conditions), query.limit + 1])
    page = [run_record(row) for row in rows[: query.limit]]
    return RunPage(page, page[-1].key if len(rows) > len(page) else None)


def stats(channel: Channel, sql: Statements, namespace: str) -> StoreStats:
    """Counts of one namespace; every status is named, also where there is none."""
    runs_by_status = {status.value: 0 for status in RunStatus}
    events = 0
    for status, number, events_of_status in channel.rows(sql.stats_runs, (namespace,)):
        runs_by_status[status] = number
        events += events_of_status
    messages: int = channel.rows(sql.stats_messages, (namespace,))[0][0]
    workers: int = channel.rows(sql.stats_workers, (namespace,))[0][0]
    return StoreStats(runs_by_status, events, messages, workers)
