"""
Logs of runs that stopped half-way, made without waiting for a disk.

Owns: recording a run in memory and planting its log, unfinished, in a SQLite file. Must not know the form of an event:
what is planted was written by the engine itself, but for the end of the run.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any

import fluxo
from fluxo.clock import SystemClock
from fluxo.model.names import shard_of
from fluxo.model.run import RunStatus
from fluxo.store import Append, Committed, EventRow, NewRun, Store
from fluxo.stores.memory import MemoryStore
from fluxo.stores.sql import SqliteStore

__all__ = ["plant", "record"]

_CHUNK_EVENTS = 2000
_NAMESPACE = "default"


def record(workflow: Any, run_ids: Iterable[str], *args: Any) -> dict[str, list[EventRow]]:
    """Run a workflow to its end under each id, in memory; their logs without the event that ended them."""
    store = MemoryStore(SystemClock())
    logs: dict[str, list[EventRow]] = {}
    with fluxo.Engine(store) as engine:
        for run_id in run_ids:
            engine.run(workflow.options(id=run_id), *args)
            run = store.get(_NAMESPACE, run_id)
            assert run is not None, run_id
            logs[run_id] = store.read(run.key, 0, run.tail_seq)[:-1]
    return logs


def plant(path: Path, workflow: Any, logs: dict[str, list[EventRow]], queue: str = "default") -> dict[str, int]:
    """Write these logs into a SQLite file as runs that anyone may take; the key of each."""
    # Nothing is measured here, so that the tail a power cut could take does not matter.
    store = SqliteStore(str(path), synchronous="NORMAL")
    store.open()
    try:
        return _write(store, workflow, logs, queue)
    finally:
        store.close()


def _write(store: Store, workflow: Any, logs: dict[str, list[EventRow]], queue: str) -> dict[str, int]:
    keys: dict[str, int] = {}
    options = workflow.options_
    pending = iter(logs.items())
    while some := list(islice(pending, 200)):
        batch = [
            Append(
                0,
                0,
                0,
                rows[:_CHUNK_EVENTS],
                new=NewRun(
                    namespace=_NAMESPACE,
                    run_id=run_id,
                    workflow=options.name,
                    version=options.version,
                    queue=queue,
                    shard=shard_of(run_id),
                    input_digest=b"",
                    status=RunStatus.PENDING,
                    owner=None,
                    nonce=rows[0][1],
                ),
            )
            for run_id, rows in some
        ]
        for (run_id, rows), outcome in zip(some, store.append(batch), strict=True):
            assert isinstance(outcome, Committed), outcome
            keys[run_id] = outcome.key
            _extend(store, outcome.key, rows)
    return keys


def _extend(store: Store, key: int, rows: list[EventRow]) -> None:
    for start in range(_CHUNK_EVENTS, len(rows), _CHUNK_EVENTS):
        before = rows[start - 1]
        (outcome,) = store.append([Append(key, before[0], before[2], rows[start : start + _CHUNK_EVENTS])])
        assert isinstance(outcome, Committed), outcome
