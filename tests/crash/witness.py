"""
What a store holds, as a witness reads it.

Owns: reading runs, logs and inboxes for the judge: from the SQLite file itself, and from a server by the store's own
reading methods, which the conformance suite has judged before. Must not know what is right.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import Any

from fluxo.errors import StoreUnavailableError
from fluxo.model.run import RunRecord
from fluxo.store import RunQuery, Store
from fluxo.stores import open_store
from tests.crash.world import World

__all__ = ["close_stores", "inbox", "row", "rows", "run_ids"]

Row = tuple[int, int, int, bytes]
EVERYTHING = 1_000_000
_open: dict[str, Store] = {}


def run_ids(world: World) -> list[str]:
    """Every run of the store, oldest first."""
    if world.is_file:
        return [run_id for (run_id,) in _query(world, "SELECT run_id FROM fluxo_runs ORDER BY key")]
    runs = _opened(world.store).find(RunQuery("default", limit=EVERYTHING)).runs
    return [run.run_id for run in reversed(runs)]


def rows(world: World, run_id: str) -> list[Row]:
    """The events of one run as they are stored."""
    if world.is_file:
        return _query(
            world,
            "SELECT seq, e.nonce, digest, body FROM fluxo_events e JOIN fluxo_runs r ON r.key = e.run "
            "WHERE run_id = ? ORDER BY seq",
            run_id,
        )
    return _opened(world.store).read(_run(world, run_id).key, 0, EVERYTHING)


def row(world: World, run_id: str) -> tuple[str | None, int]:
    """Owner and tail of one run, by its row."""
    if world.is_file:
        ((owner, tail_seq),) = _query(world, "SELECT owner, tail_seq FROM fluxo_runs WHERE run_id = ?", run_id)
        return owner, tail_seq
    run = _run(world, run_id)
    return run.owner, run.tail_seq


def inbox(world: World, run_id: str) -> tuple[int, set[int]]:
    """How many messages were ever numbered, and the numbers of those that are not consumed."""
    if world.is_file:
        numbered = _query(
            world,
            "SELECT n, consumed_seq FROM fluxo_inbox JOIN fluxo_runs ON key = run WHERE run_id = ? ORDER BY n",
            run_id,
        )
        assert [n for n, _ in numbered] == list(range(1, len(numbered) + 1)), f"{run_id}: numbered {numbered}"
        return len(numbered), {n for n, seq in numbered if seq is None}
    run = _run(world, run_id)
    return run.delivered, {item.n for item in _opened(world.store).inbox(run.key, 0)}


def _run(world: World, run_id: str) -> RunRecord:
    run = _opened(world.store).get("default", run_id)
    assert run is not None, f"{run_id} is gone"
    return run


def close_stores() -> None:
    """Let go of every store that was opened to be read."""
    while _open:
        _open.popitem()[1].close()


def _opened(url: str) -> Store:
    if url in _open:
        return _open[url]
    store = open_store(url)
    for last in (False, False, True):
        try:
            store.open()
            break
        except StoreUnavailableError:
            # A process that was stopped while it connected has used up its time to connect.
            if last:
                raise
    _open[url] = store
    return store


def _query(world: World, statement: str, *parameters: Any) -> list[Any]:
    with closing(sqlite3.connect(world.folder / "runs.db")) as database:
        return database.execute(statement, parameters).fetchall()
