"""
A run whose code no longer fits its history is parked with a report, and goes on once the code is put right.

Owns: that every edit with a trace in what is recorded is reported, with both rows and their source lines; that
nothing is executed or lost meanwhile; and that edits without one are not reported. Must not know how it is found.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

from fluxo import Handle, RunBlockedError, RunStatus, UsageError
from fluxo.model.events import RunBlocked
from tests.e2e import edits_async, edits_sync
from tests.e2e.edits import EDITS, HOUR_S, async_flow, deployed, sync_flow
from tests.e2e.places import PATIENCE_S, Facts, Place
from tests.replaying import executed

assert EDITS, f"{edits_sync} and {edits_async} fill it"

REPORTED = [name for name, edit in EDITS.items() if edit.difference]
TOLERATED = [name for name, edit in EDITS.items() if not edit.difference]


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


def finish(handle: Handle[object]) -> object:
    """Let the unedited program run to its end; no step may have run twice by then."""
    result = handle.result(timeout=PATIENCE_S)
    assert set(Counter(executed).values()) == {1} or not executed
    return result


def unedited_result(place: Place, name: str) -> object:
    """What the program returns if nobody edits it."""
    flow = sync_flow if name.startswith("sync") else async_flow
    with place.engine() as engine:
        handle = engine.start(flow.options(id="unedited"), name)
        handle.signal("go", "now")
        for _ in range(2):
            if not handle.wait(0.05):
                place.forward(2 * HOUR_S)
        return handle.result(timeout=PATIENCE_S)
