"""
A run whose code no longer fits its history is parked with a report, and goes on once the code is put right.

Owns: that every edit with a trace in what is recorded is reported, with both rows and their source lines; that
nothing is executed or lost meanwhile; and that edits without one are not reported. Must not know how it is found.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from fluxo import Handle, RunBlockedError, RunStatus
from fluxo.model.events import RunBlocked
from tests.e2e import edits_async, edits_sync
from tests.e2e.edits import EDITS, HOUR_S, async_flow, deployed, sync_flow
from tests.e2e.places import PATIENCE_S, Facts, HandClock, Place
from tests.replaying import executed, outcome_of, record

assert EDITS, f"{edits_sync} and {edits_async} fill it"

REPORTED = [name for name, edit in EDITS.items() if edit.difference]
TOLERATED = [name for name, edit in EDITS.items() if not edit.difference]


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
    outcome = record(flow, name, signals=[("go", "now")], leap_s=2 * HOUR_S).outcome
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
