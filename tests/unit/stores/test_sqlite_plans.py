"""
Every statement that runs often finds its rows by an index.

Owns: SQLite's query plans. Must not know what the statements answer.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from fluxo.model.run import RunStatus
from fluxo.store import RunQuery
from fluxo.stores.sql import SqliteStore, SqlStore
from fluxo.stores.sql.sqlite import statements as sql
from fluxo.testing.conformance.suite import Activation, new_run, projection
from tests.unit.stores.faulty import Faults

INDEXED = {
    "FIRST_EVENT": sql.FIRST_EVENT,
    "first_events": sql.first_events(8),
    "EVENT_AT": sql.EVENT_AT,
    "READ": sql.READ,
    "TAIL": sql.TAIL,
    "RUN": sql.RUN,
    "RUN_PROJECT": sql.RUN_PROJECT,
    "CONSUME": sql.CONSUME,
    "RELEASE": sql.RELEASE,
    "RUN_FOR_DELIVERY": sql.RUN_FOR_DELIVERY,
    "REPEATED": sql.REPEATED,
    "UNCONSUMED": sql.UNCONSUMED,
    "DELIVERED": sql.DELIVERED,
    "INBOX": sql.INBOX,
    "ARRIVALS": sql.ARRIVALS,
    "UNREGISTER": sql.UNREGISTER,
    "BEAT": sql.BEAT,
    "OWNED": sql.OWNED,
    "due_ready": sql.due_ready(2, 3),
    "due_timers": sql.due_timers(2, 3),
    "next_wake": sql.next_wake(2, 3),
    "due_orphans": sql.due_orphans(2, 3),
    "PURGING": sql.PURGING,
    "MARK_PURGING": sql.MARK_PURGING,
    "FENCE": sql.FENCE,
    "PURGE_EVENTS": sql.PURGE_EVENTS,
    "PURGE_INBOX": sql.PURGE_INBOX,
    "PURGE_RUN": sql.PURGE_RUN,
}
SORTED_BY_INDEX = ["READ", "TAIL", "INBOX", "OWNED", "ARRIVALS", "due_ready", "next_wake"]
TABLES = ("fluxo_runs", "fluxo_events", "fluxo_inbox", "fluxo_workers")


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    path = tmp_path / "plans.db"
    with closing(SqliteStore(path)) as store:
        store.open()
        with closing(sqlite3.connect(path)) as connection:
            yield connection


def plan(connection: sqlite3.Connection, statement: str) -> list[str]:
    parameters = [None] * statement.count("?")
    return [row[3] for row in connection.execute("EXPLAIN QUERY PLAN " + statement, parameters)]


@pytest.mark.parametrize("name", INDEXED)
def test_no_statement_scans_a_table(connection: sqlite3.Connection, name: str) -> None:
    steps = plan(connection, INDEXED[name])
    assert [step for step in steps if step.startswith(tuple(f"SCAN {table}" for table in TABLES))] == []


@pytest.mark.parametrize("name", SORTED_BY_INDEX)
def test_what_comes_in_order_is_not_sorted(connection: sqlite3.Connection, name: str) -> None:
    assert [step for step in plan(connection, INDEXED[name]) if "TEMP B-TREE FOR ORDER BY" in step] == []


def test_the_owners_are_found_by_one_seek_each(connection: sqlite3.Connection) -> None:
    steps = plan(connection, sql.OWNERS)
    assert sum("SEARCH fluxo_runs USING COVERING INDEX fluxo_runs_owned" in step for step in steps) == 2


def test_a_run_that_never_parks_enters_one_partial_index_and_leaves_none(tmp_path: Path) -> None:
    path = tmp_path / "indexes.db"
    with closing(SqliteStore(path)) as store, closing(sqlite3.connect(path)) as connection:
        store.open()

        def entries() -> dict[str, int]:
            return {
                index: connection.execute(
                    f"SELECT count(*) FROM fluxo_runs INDEXED BY {index} WHERE {where}"
                ).fetchone()[0]
                for index, where in connection.execute(
                    "SELECT name, substr(sql, instr(sql, ' WHERE ') + 7) FROM sqlite_master "
                    "WHERE type = 'index' AND tbl_name = 'fluxo_runs' AND sql NOT NULL"
                ).fetchall()
            }

        run = Activation.of_new(store, new_run(status=RunStatus.RUNNING, owner="w"))
        assert entries() == {
            "fluxo_runs_owned": 1,
            "fluxo_runs_purging": 0,
            "fluxo_runs_ready": 0,
            "fluxo_runs_timers": 0,
        }
        run.append(projection=projection(RunStatus.COMPLETED))
        assert set(entries().values()) == {0}


def test_a_page_of_runs_is_read_in_order_and_no_further(tmp_path: Path) -> None:
    asked: list[str] = []
    path = tmp_path / "pages.db"
    faults = Faults()
    engine = faults.engine(path)
    with closing(SqlStore(engine)) as store, closing(sqlite3.connect(path)) as connection:
        store.open()
        faults.before = asked.append
        store.find(RunQuery("ns", status=(RunStatus.FAILED,), workflow="flow", queue="q", since_us=1, before_key=9))
        store.find(RunQuery("ns"))
        store.purge("ns", 1, 1)
        steps = [step for statement in asked for step in plan(connection, statement)]
        assert len(asked) == 4
        assert [step for step in steps if "TEMP B-TREE" in step] == []
    engine.dispose()
