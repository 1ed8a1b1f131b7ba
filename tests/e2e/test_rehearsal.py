"""
Replaying a log with nothing executed and nothing written.

Owns: each way in which a log may end, and each way in which code may fail to follow it. Must not know who asks.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from typing import Any

import pytest

import fluxo
from fluxo import Engine, MemoryStore, NonDeterminismError, step, workflow
from fluxo.engine.rehearsal import Rehearsal, Rehearsed
from fluxo.errors import HistoryCorruptError
from fluxo.runtime.reading import read_rows
from tests.e2e.places import PATIENCE_S

executed: list[int] = []
mode = {"now": "as recorded"}


@step(name="rehearsal.work")
def work(number: int) -> int:
    executed.append(number)
    return number


@workflow(name="rehearsal.flow")
def flow(number: int) -> int:
    if mode["now"] == "loops":
        while True:
            try:
                work(number)
                work(number + 1)
            except BaseException:
                continue
    if mode["now"] == "other step":
        number += 1
    if work(number) < 0:
        raise LookupError("below zero")
    if mode["now"] == "no wait":
        return number
    fluxo.wait_signal("go")
    return number + (1 if mode["now"] == "other result" else 0)


@workflow(name="rehearsal.flow_async")
async def flow_async(number: int) -> int:
    first, _ = await asyncio.gather(work.aio(number), work.aio(number + (mode["now"] == "other step")))
    await fluxo.aio.wait_signal("go")
    return first + (1 if mode["now"] == "other result" else 0)


@pytest.fixture(params=[flow, flow_async], ids=["sync", "async"])
def either(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture(autouse=True)
def as_recorded() -> Iterator[None]:
    mode["now"] = "as recorded"
    yield
    mode["now"] = "as recorded"


def recorded(either: Any, number: int = 1, *, then: str = "") -> list[Any]:
    store = MemoryStore()
    with Engine(store) as engine:
        handle = engine.start(either.options(id="run"), number)
        while str(handle.status()) not in ("waiting", "failed"):
            pass
        if then == "go":
            handle.signal("go")
            handle.wait(PATIENCE_S)
        elif then == "cancel":
            handle.cancel()
            handle.wait(PATIENCE_S)
        elif then == "force":
            handle.cancel(force=True)
    run = store.get("default", "run")
    assert run is not None
    return list(read_rows(store, run.key))


def rehearsed(rows: list[Any], either: Any, now: str = "as recorded") -> Rehearsed:
    before = len(executed)
    mode["now"] = now
    with Rehearsal(patience_s=2.0) as rehearsal:
        found = rehearsal.replay("run", rows, either)
    assert len(executed) == before, "a rehearsal executes nothing"
    return found


@pytest.mark.parametrize("then", ["", "go", "cancel", "force"])
def test_the_code_that_made_a_log_follows_it_however_it_ends(either: Any, then: str) -> None:
    found = rehearsed(recorded(either, then=then), either)
    assert found.holds, found.problem
    assert (found.end is None) == (then in ("", "force"))
    assert [wait.name for wait in found.open] == ([] if found.end else ["go"])


def test_every_prefix_is_followed(either: Any) -> None:
    rows = recorded(either, then="go")
    assert [rehearsed(rows[:length], either).holds for length in range(1, len(rows) + 1)] == [True] * len(rows)


def test_a_failed_run_is_followed_to_its_error() -> None:
    found = rehearsed(recorded(flow, -1), flow)
    assert found.holds
    assert found.end is not None


def test_another_step_is_found_with_both_places(either: Any) -> None:
    found = rehearsed(recorded(either), either, "other step")
    assert isinstance(found.problem, NonDeterminismError)
    assert found.seq > 1
    assert "rehearsal.work" in found.problem.expected


def test_a_wait_that_is_gone_is_found() -> None:
    assert isinstance(rehearsed(recorded(flow), flow, "no wait").problem, NonDeterminismError)


def test_another_result_is_found_where_the_result_is_recorded(either: Any) -> None:
    problem = rehearsed(recorded(either, then="go"), either, "other result").problem
    assert str(problem).startswith("the run had ended otherwise: recorded a result of 1 bytes")
    assert rehearsed(recorded(either), either, "other result").holds


def test_a_blocked_run_is_followed_as_if_it_were_resumed() -> None:
    store = MemoryStore()
    with Engine(store) as engine:
        handle = engine.start(flow.options(id="run"), 1)
        while str(handle.status()) != "waiting":
            pass
    mode["now"] = "other step"
    with Engine(store) as engine:
        engine.signal("run", "go")
        assert engine.get("run").wait(PATIENCE_S)
        assert str(engine.get("run").status()) == "blocked"
    run = store.get("default", "run")
    assert run is not None
    rows = list(read_rows(store, run.key))
    assert not rehearsed(rows, flow, "other step").holds
    assert rehearsed(rows, flow).holds


def test_a_damaged_log_is_found(either: Any) -> None:
    rows = recorded(either)
    assert isinstance(rehearsed([rows[0], *rows[2:]], either).problem, HistoryCorruptError)
    assert isinstance(rehearsed([], either).problem, HistoryCorruptError)


def test_code_that_never_comes_to_an_end_is_given_up() -> None:
    rows = recorded(flow)
    found = rehearsed(rows[:1], flow, "loops")
    assert found.holds or "has not come to an end" in str(found.problem)


def test_nothing_is_said_in_the_logs(either: Any, caplog: pytest.LogCaptureFixture) -> None:
    rows = recorded(either)
    caplog.clear()
    with caplog.at_level(logging.INFO):
        assert not rehearsed(rows, either, "other step").holds
    assert [record.message for record in caplog.records if record.levelno >= logging.ERROR] == []
