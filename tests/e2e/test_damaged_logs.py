"""
Events that were damaged or lost in the database.

Owns: that they block their run alone. Must not know how damage is found (`tests/unit/replay`).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import fluxo
from fluxo import (
    Engine,
    RunBlockedError,
    RunStatus,
    step,
    workflow,
)
from tests.e2e.places import Facts


@step
def weigh(pieces: int) -> int:
    return pieces * 2


@workflow
def order(item: str, pieces: int, price: Decimal = Decimal(1)) -> int:
    return weigh(pieces)


@workflow
def waits() -> Any:
    first = weigh(1)
    fluxo.wait_signal("go")
    return first + weigh(2)


Damage = Callable[[sqlite3.Connection, int], None]


def flip_a_bit(connection: sqlite3.Connection, key: int) -> None:
    (body,) = connection.execute("SELECT body FROM fluxo_events WHERE run = ? AND seq = 2", (key,)).fetchone()
    damaged = body[:-3] + bytes([body[-3] ^ 1]) + body[-2:]
    connection.execute("UPDATE fluxo_events SET body = ? WHERE run = ? AND seq = 2", (damaged, key))


def lose_a_row(connection: sqlite3.Connection, key: int) -> None:
    connection.execute("DELETE FROM fluxo_events WHERE run = ? AND seq = 2", (key,))


def lose_the_first_row(connection: sqlite3.Connection, key: int) -> None:
    connection.execute("DELETE FROM fluxo_events WHERE run = ? AND seq = 1", (key,))


def lose_the_end(connection: sqlite3.Connection, key: int) -> None:
    connection.execute("DELETE FROM fluxo_events WHERE run = ? AND seq = 3", (key,))


def write_garbage(connection: sqlite3.Connection, key: int) -> None:
    connection.execute("UPDATE fluxo_events SET body = x'00ff' WHERE run = ? AND seq = 3", (key,))


def swap_two_rows(connection: sqlite3.Connection, key: int) -> None:
    for old, new in ((2, -2), (3, 2), (-2, 3)):
        connection.execute("UPDATE fluxo_events SET seq = ? WHERE run = ? AND seq = ?", (new, key, old))


@pytest.mark.parametrize(
    "damage", [flip_a_bit, lose_a_row, lose_the_first_row, lose_the_end, write_garbage, swap_two_rows]
)
def test_damaged_or_missing_events_block_that_run_alone(tmp_path: Path, damage: Damage) -> None:
    path = tmp_path / "runs.db"
    url = f"sqlite:///{path}"
    facts = Facts()
    with Engine(url, observers=[facts]) as engine:
        for run_id in ("damaged", "sound"):
            engine.start(waits.options(id=run_id))
            facts.wait("run_waiting", run_id)
    with closing(sqlite3.connect(path)) as connection:
        (key,) = connection.execute("SELECT key FROM fluxo_runs WHERE run_id = 'damaged'").fetchone()
        damage(connection, key)
        connection.commit()
    with Engine(url) as engine:
        for run_id in ("damaged", "sound"):
            engine.signal(run_id, "go")
        assert engine.get("sound").result(timeout=10) == 6
        with pytest.raises(RunBlockedError, match=r"blocked \(corrupt\)") as blocked:
            engine.get("damaged").result(timeout=10)
        assert "restore the row from a backup" in blocked.value.report
        assert engine.get("damaged").status() is RunStatus.BLOCKED
        assert engine.get("damaged").info().reason == "corrupt"
        assert engine.run(order, "chair", 1) == 2


def test_a_run_goes_on_once_its_damaged_row_is_restored(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    url = f"sqlite:///{path}"
    facts = Facts()
    with Engine(url, observers=[facts]) as engine:
        engine.start(waits.options(id="damaged"))
        facts.wait("run_waiting", "damaged")
    with closing(sqlite3.connect(path)) as connection:
        (body,) = connection.execute("SELECT body FROM fluxo_events WHERE seq = 2").fetchone()
        flip_a_bit(connection, 1)
        connection.commit()
    with Engine(url) as engine:
        engine.signal("damaged", "go")
        assert engine.get("damaged").wait(timeout=10)
        with pytest.raises(fluxo.HistoryCorruptError, match="damaged at event 2"):
            engine.resume("damaged")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE fluxo_events SET body = ? WHERE seq = 2", (body,))
        connection.commit()
    with Engine(url) as engine:
        engine.resume("damaged")
        assert engine.get("damaged").result(timeout=10) == 6
