"""
The judge itself: it must see what it is there for.

Owns: one falsification per invariant. A log is made by an engine, then changed behind its back; what is changed with
the chain kept whole shows that the other rules do not lean on it.
"""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Callable
from contextlib import closing

import pytest

from fluxo import Engine
from fluxo.codec.event import decode_event, encode_event
from tests.crash.flows import line
from tests.crash.judge import judge
from tests.crash.world import World

Rows = list[list[int | bytes]]


@pytest.fixture
def judged(world: World) -> World:
    """A world with one finished run that the judge approves of."""
    with Engine(world.store) as engine:
        handle = engine.start(line.options(id="run"), str(world.folder), 1)
        handle.signal("word", 2)
        handle.result(timeout=10)
    assert judge(world, "run")
    return world


def tamper(world: World, change: Callable[[Rows], Rows], *, whole_chain: bool = True) -> None:
    """Rewrite the log of the only run."""
    with closing(sqlite3.connect(world.folder / "runs.db")) as database, database:
        (key,) = database.execute("SELECT key FROM fluxo_runs").fetchone()
        stored = database.execute("SELECT seq, nonce, digest, body FROM fluxo_events ORDER BY seq").fetchall()
        rows, digest = change([list(row) for row in stored]), 0
        for row in rows if whole_chain else []:
            digest = row[2] = zlib.crc32(bytes(row[3]), digest ^ (int(row[1]) & 0xFFFFFFFF) ^ (int(row[1]) >> 32))
        database.execute("DELETE FROM fluxo_events")
        database.executemany(f"INSERT INTO fluxo_events VALUES ({key}, ?, ?, ?, ?)", rows)
        database.execute("UPDATE fluxo_runs SET tail_seq = ?", (len(rows),))


def without_second(rows: Rows) -> Rows:
    return [rows[0], *rows[2:]]


def renumbered(rows: Rows) -> Rows:
    return [[seq, *row[1:]] for seq, row in enumerate(rows, 1)]


def with_flipped_bit(rows: Rows) -> Rows:
    body = bytearray(bytes(rows[1][3]))
    body[-1] ^= 1
    return [rows[0], [*rows[1][:3], bytes(body)], *rows[2:]]


def with_a_foreign_pen(rows: Rows) -> Rows:
    return [rows[0], [rows[1][0], 12345, *rows[1][2:]], *rows[2:]]


def with_a_second_end(rows: Rows) -> Rows:
    return renumbered([*rows, rows[-1]])


def with_a_step_twice(rows: Rows) -> Rows:
    return renumbered([*rows[:2], *rows[1:]])


def without_a_step(rows: Rows) -> Rows:
    return renumbered(without_second(rows))


def with_time_running_backwards(rows: Rows) -> Rows:
    started = decode_event(bytes(rows[0][3]))
    later = type(started)(started.at_us + 10**9, *[getattr(started, f) for f in started.__struct_fields__[1:]])
    return [[*rows[0][:3], encode_event(later)], *rows[1:]]


@pytest.mark.parametrize(
    "change, verdict",
    [
        (with_a_foreign_pen, "by an owner that had been fenced"),
        (with_a_second_end, "ended more than once"),
        (with_a_step_twice, "a command was completed twice"),
        (without_a_step, "commands issued"),
        (with_time_running_backwards, "time runs backwards"),
        (lambda rows: rows[:-1], "has not ended"),
    ],
)
def test_the_judge_sees_a_log_that_no_engine_could_write(
    judged: World, change: Callable[[Rows], Rows], verdict: str
) -> None:
    tamper(judged, change)
    with pytest.raises(AssertionError, match=verdict):
        judge(judged, "run")


@pytest.mark.parametrize(
    "change, verdict", [(without_second, "event 2 is missing"), (with_flipped_bit, "the chain breaks at 2")]
)
def test_the_judge_sees_a_log_that_was_damaged(judged: World, change: Callable[[Rows], Rows], verdict: str) -> None:
    tamper(judged, change, whole_chain=False)
    with pytest.raises(AssertionError, match=verdict):
        judge(judged, "run")


def test_the_judge_sees_a_result_whose_effect_never_happened(judged: World) -> None:
    (judged.folder / "effects").unlink()
    with pytest.raises(AssertionError, match="is recorded and never happened"):
        judge(judged, "run")


def test_the_judge_sees_an_effect_that_was_repeated_without_a_takeover(judged: World) -> None:
    for key in list(judged.effects()):
        judged.effect(key, "again")
    with pytest.raises(AssertionError, match="happened 2 times in 0 takeovers"):
        judge(judged, "run")


def test_the_judge_sees_a_result_that_changed_after_a_workflow_saw_it(judged: World) -> None:
    judged.saw("run", "second", "something else")
    with pytest.raises(AssertionError, match="second changed"):
        judge(judged, "run")
