"""
A run whose code no longer fits its history is parked with a report, and goes on once the code is put right.

Owns: that every edit with a trace in what is recorded is reported, with both rows and their source lines; that
nothing is executed or lost meanwhile; and that edits without one are not reported. Must not know how it is found.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

import fluxo
from fluxo import Handle, RunBlockedError, RunStatus, step, workflow
from fluxo.model.events import RunBlocked
from tests.e2e import edits_async, edits_sync
from tests.e2e.edits import EDITS, HOUR_S, async_flow, deployed, sync_flow
from tests.e2e.places import PATIENCE_S, Facts, HandClock, Place
from tests.replaying import body_ran, executed, outcome_of, record

assert EDITS, f"{edits_sync} and {edits_async} fill it"

REPORTED = [name for name, edit in EDITS.items() if edit.difference]
TOLERATED = [name for name, edit in EDITS.items() if not edit.difference]


stuck = threading.Event()


@step(name="edits.stick")
def stick(number: int) -> int:
    body_ran()
    if number == 2:
        assert stuck.wait(PATIENCE_S)
    return number


@workflow(name="edits.crashing")
def crashing() -> list[int]:
    return [stick(9 if deployed["edited"] else 1), stick(2)]


@workflow(name="edits.swallowing")
def swallowing() -> None:
    stick(3 if deployed["edited"] else 1)
    while True:
        try:
            fluxo.wait_signal("go")
        except BaseException:
            if not deployed["edited"]:
                raise


@workflow(name="edits.swallowing_async")
async def swallowing_async() -> None:
    await stick.aio(3 if deployed["edited"] else 1)
    while True:
        try:
            await fluxo.aio.wait_signal("go")
        except BaseException:
            if not deployed["edited"]:
                raise


@pytest.fixture
def memory_timed(tmp_path: Path) -> Iterator[Place]:
    """A store in memory on a clock that moves by hand, for what cannot depend on the store."""
    with ExitStack() as closing:
        yield Place("memory", tmp_path, closing, HandClock())


@pytest.fixture(autouse=True)
def nothing_edited() -> Iterator[None]:
    deployed["edited"] = False
    executed.clear()
    yield
    deployed["edited"] = False


def park(place: Place, name: str) -> None:
    """Run the unedited program up to its first long wait, then close its engine."""
    facts = Facts()
    engine = place.engine(observers=[facts])
    flow = sync_flow if name.startswith("sync") else async_flow
    engine.start(flow.options(id="run"), name)
    facts.wait("run_waiting", "run")
    engine.close()


def rows_of(report: str) -> tuple[str, str, str]:
    """The first difference, the recorded row and the produced row of a report."""
    lines = report.splitlines()
    [difference] = [line for line in lines if line.startswith("first difference: ")]
    [recorded] = [line for line in lines if line.startswith("  recorded ")]
    [produced] = [line for line in lines if line.startswith("  produced ")]
    return difference.removeprefix("first difference: "), recorded, produced


def undisturbed(name: str) -> tuple[object, ...]:
    """How the program ends if nobody edits it."""
    flow = sync_flow if name.startswith("sync") else async_flow
    outcome = record(flow, name, signals=[("go", "now")]).outcome
    assert outcome[0] == "completed"
    executed.clear()
    return outcome


@pytest.mark.parametrize("name", REPORTED)
def test_an_edit_with_a_trace_in_the_history_blocks_the_run_until_the_code_is_put_right(
    timed_place: Place, name: str
) -> None:
    edit, expected = EDITS[name], undisturbed(name)
    park(timed_place, name)
    before = list(executed)
    deployed["edited"] = True
    facts = Facts()
    with timed_place.engine(observers=[facts]) as engine:
        handle = engine.get("run")
        handle.signal("go", "now")
        facts.wait("run_blocked", "run")
        info = handle.info()
        assert (info.status, info.reason) == (RunStatus.BLOCKED, "nondeterminism")
        difference, recorded, produced = rows_of(info.report)
        assert difference.startswith(edit.difference)
        assert edit.site("recorded") in recorded
        assert (edit.site("produced") or edit.produced) in produced
        assert_blocking_event(handle)
        assert executed == before, "a diverged run must not execute anything"

        deployed["edited"] = False
        timed_place.forward(2 * HOUR_S)
        handle.resume()
        assert outcome_of(handle) == expected
    assert len(executed) == len(set(executed)), "a completed step was executed again"
    assert executed[: len(before)] == before


def assert_blocking_event(handle: Handle[object]) -> None:
    """The last event names the one it is about, and the error that callers get carries the same report."""
    history = handle.history()
    blocked = history[-1]
    assert isinstance(blocked, RunBlocked)
    assert 1 < blocked.seq < len(history)
    assert f"at event {blocked.seq}" in blocked.report
    with pytest.raises(RunBlockedError) as caught:
        handle.result(timeout=PATIENCE_S)
    assert (caught.value.reason, caught.value.report) == ("nondeterminism", blocked.report)


@pytest.mark.parametrize("name", TOLERATED)
def test_an_edit_without_a_trace_in_the_history_is_not_reported(memory_timed: Place, name: str) -> None:
    expected = undisturbed(name)
    park(memory_timed, name)
    deployed["edited"] = True
    memory_timed.forward(2 * HOUR_S)
    with memory_timed.engine() as engine:
        handle = engine.get("run")
        handle.signal("go", "now")
        assert outcome_of(handle) == expected
    assert len(executed) == len(set(executed)), "a completed step was executed again"


def test_the_report_shows_both_argument_lists_and_where_they_part(memory_timed: Place) -> None:
    park(memory_timed, "sync argument_changed")
    deployed["edited"] = True
    with memory_timed.engine() as engine:
        handle = engine.get("run")
        handle.signal("go", "now")
        handle.wait(PATIENCE_S)
        difference, recorded, produced = rows_of(handle.info().report)
    assert re.fullmatch(r"arguments, from byte \d+: recorded '2.*', produced '3.*'", difference)
    assert recorded.split()[1:4] == ["main#1", "step", "edits.add"]
    assert recorded.endswith('{"number":2.0}')
    assert produced.endswith('{"number":3.0}')


def test_a_run_taken_over_in_the_middle_of_a_step_is_compared_as_well(memory_timed: Place) -> None:
    """The first owner is closed without draining; what its step returns later is refused."""
    stuck.clear()
    facts = Facts()
    first = memory_timed.engine(observers=[facts])
    first.start(crashing.options(id="run"))
    facts.wait("step_started", "run", times=2)
    first.close(drain=False)
    deployed["edited"] = True
    with memory_timed.engine() as second:
        handle = second.get("run")
        assert outcome_of(handle)[:2] == ("blocked", "nondeterminism")
        stuck.set()
        deployed["edited"] = False
        handle.resume()
        assert outcome_of(handle) == ("completed", [1, 2])
    assert [key for key in executed if key.endswith("/0")] == ["run/1/main/0"]


def test_a_run_that_still_does_not_fit_is_blocked_again(memory_timed: Place) -> None:
    park(memory_timed, "sync argument_changed")
    deployed["edited"] = True
    with memory_timed.engine() as engine:
        handle = engine.get("run")
        handle.signal("go", "now")
        for times in range(1, 4):
            assert outcome_of(handle)[:2] == ("blocked", "nondeterminism")
            events = [event for event in handle.history() if isinstance(event, RunBlocked)]
            assert len(events) == times
            assert len({event.report for event in events}) == 1
            handle.resume()
            handle.wait(PATIENCE_S)


def test_other_runs_of_the_same_workflow_are_not_held_up(memory_timed: Place) -> None:
    park(memory_timed, "sync argument_changed")
    deployed["edited"] = True
    with memory_timed.engine() as engine:
        engine.signal("run", "go", "now")
        other = engine.start(sync_flow.options(id="other"), "sync argument_changed")
        other.signal("go", "now")
        assert outcome_of(other) == ("completed", [3, "now"])
        assert outcome_of(engine.get("run"))[:2] == ("blocked", "nondeterminism")


@pytest.mark.parametrize("flow", [swallowing, swallowing_async], ids=["sync", "async"])
def test_a_diverged_run_is_parked_even_if_its_code_catches_everything_for_ever(
    memory_timed: Place, flow: fluxo.Workflow[[], None], caplog: pytest.LogCaptureFixture
) -> None:
    facts = Facts()
    with memory_timed.engine(observers=[facts]) as engine:
        engine.start(flow.options(id="run"))
        facts.wait("run_waiting", "run")
    caplog.clear()
    deployed["edited"] = True
    before = list(executed)
    with memory_timed.engine() as engine:
        handle = engine.get("run")
        handle.signal("go", "now")
        assert outcome_of(handle)[:2] == ("blocked", "nondeterminism")
    deployed["edited"] = False
    assert executed == before
