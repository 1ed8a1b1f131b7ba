"""
Reading the projection.

Owns: which runs are due, found and counted. Must not know connections' settings. Due runs come from three partial
indexes, each read in order and only as far as asked; none is written by a run that its own process starts, never
parks and ends.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import literal_column, select
from sqlalchemy.engine import Dialect

from fluxo.model.run import RunRecord, RunStatus
from fluxo.store import DueQuery, DueRuns, RunPage, RunQuery, StoreStats
from fluxo.stores.sql.rows import run_record
from fluxo.stores.sql.schema import runs
from fluxo.stores.sql.sqlite import statements as sql
from fluxo.stores.sql.sqlite.database import Reader

__all__ = ["due", "find", "stats"]


def due(reader: Reader, query: DueQuery, now_us: int) -> DueRuns:
    """Runs that a worker could take now; several short reads, each of its own moment: claiming decides."""
    if not query.queues or not query.workflows:
        return DueRuns([], now_us, None)
    shape = len(query.queues), len(query.workflows)
    asked: list[Any] = [query.namespace, *query.queues]
    for pair in query.workflows:
        asked += pair
    rows = reader.rows(sql.due_ready(*shape), (*asked, query.limit))
    rows += reader.rows(sql.due_timers(*shape), (*asked, now_us, query.limit))
    for owner in _gone_owners(reader, query.dead):
        rows += reader.rows(sql.due_orphans(*shape), (*asked, owner, query.limit))
    next_wake = reader.rows(sql.next_wake(*shape), (*asked, now_us))
    # A run may stand in two indexes, or change its place between two reads.
    found = {row[0]: run_record(row) for row in rows}
    taken = sorted(found.values(), key=_by_priority)[: query.limit]
    return DueRuns(taken, now_us, next_wake[0][0] if next_wake else None)


def find(reader: Reader, dialect: Dialect, query: RunQuery) -> RunPage:
    """One page of runs, newest first."""
    wanted = select(*list(runs.c)[: len(RunRecord.__struct_fields__)])
    # The plus keeps SQLite from sorting the whole namespace, found by its index, for each page.
    wanted = wanted.where(literal_column("+namespace") == query.namespace, runs.c.purging == 0)
    if query.status:
        wanted = wanted.where(runs.c.status.in_([status.value for status in query.status]))
    if query.workflow is not None:
        wanted = wanted.where(runs.c.workflow == query.workflow)
    if query.queue is not None:
        wanted = wanted.where(runs.c.queue == query.queue)
    if query.since_us is not None:
        wanted = wanted.where(runs.c.created_at_us >= query.since_us)
    if query.before_key is not None:
        wanted = wanted.where(runs.c.key < query.before_key)
    wanted = wanted.order_by(runs.c.key.desc()).limit(query.limit + 1)
    compiled = wanted.compile(dialect=dialect, compile_kwargs={"render_postcompile": True})
    rows = reader.rows(str(compiled), [compiled.params[name] for name in compiled.positiontup or ()])
    page = [run_record(row) for row in rows[: query.limit]]
    return RunPage(page, page[-1].key if len(rows) > len(page) else None)


def stats(reader: Reader, namespace: str) -> StoreStats:
    """Counts of one namespace; every status is named, also where there is none."""
    runs_by_status = {status.value: 0 for status in RunStatus}
    events = 0
    for status, number, events_of_status in reader.rows(sql.STATS_RUNS, (namespace,)):
        runs_by_status[status] = number
        events += events_of_status
    messages = reader.rows(sql.STATS_MESSAGES, (namespace,))[0][0]
    workers = reader.rows(sql.STATS_WORKERS, (namespace,))[0][0]
    return StoreStats(runs_by_status, events, messages, workers)


def _gone_owners(reader: Reader, dead: tuple[str, ...]) -> list[str]:
    owners = [owner for (owner,) in reader.rows(sql.OWNERS)]
    if not owners:
        return []
    alive = {worker_id for (worker_id,) in reader.rows(sql.WORKER_IDS)}
    return [owner for owner in owners if owner in dead or owner not in alive]


def _by_priority(record: RunRecord) -> tuple[int, int]:
    return -record.priority, record.key
