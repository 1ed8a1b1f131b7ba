"""
What a resume keeps fits what it lets run again: the resumed history replays like any other.

Owns: failed and timed-out runs whose cause is undone while their other facts stay. Must not know how much is voided
(tests/unit/replay/test_history.py).
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import pytest

import fluxo
from fluxo import Handle, step, workflow
from fluxo.model.events import RunReopened, StepCompleted
from tests.e2e.places import Facts, Place
from tests.replaying import Recording, body_ran, executed, outcome_of

HOUR_S = 3600.0
broken = True


@pytest.fixture(autouse=True)
def break_it() -> None:
    global broken
    broken = True


def mend_it() -> None:
    global broken
    broken = False


@step(name="resume.note")
def note(text: str) -> str:
    body_ran()
    return text


@step(name="resume.fragile")
def fragile(text: str) -> str:
    body_ran()
    if broken:
        raise ConnectionError(f"{text} is away")
    return text


@workflow(name="resume.late", timeout=HOUR_S)
def late() -> list[str]:
    seen = [note("before")]
    try:
        seen.append(fluxo.wait_signal("go", str))
    except fluxo.Cancelled:
        note("cleaned up")
        note("cleaned up more")
        raise
    return [*seen, note("after"), note("after that")]


@workflow(name="resume.late_async", timeout=HOUR_S)
async def late_async() -> list[str]:
    seen = [await note.aio("before")]

    async def child() -> None:
        try:
            await asyncio.sleep(1000 * HOUR_S)
        finally:
            await note.aio("child cleaned up")

    task = asyncio.create_task(child())
    try:
        seen.append(await fluxo.aio.wait_signal("go", str))
    except asyncio.CancelledError:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await note.aio("cleaned up")
        raise
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    return [*seen, await note.aio("after")]


@workflow(name="resume.handled")
def handled() -> list[str]:
    siblings = [note.submit(f"sibling {number}") for number in range(3)]
    middle = fragile.submit("middle")
    siblings.append(note.submit("sibling 3"))
    seen = [sibling.result() for sibling in siblings]
    try:
        seen.append(middle.result())
    except ConnectionError:
        note("handler")
        fluxo.sleep(0.001)
        raise
    return [*seen, note("after")]


@workflow(name="resume.handled_async")
async def handled_async() -> list[str]:
    async def guarded() -> str:
        try:
            return await fragile.aio("middle")
        except ConnectionError:
            await note.aio("handler")
            raise

    siblings = [asyncio.create_task(two_notes(f"sibling {number}")) for number in range(3)]
    done = await asyncio.gather(*siblings)
    return [*done, await guarded(), await note.aio("after")]


async def two_notes(text: str) -> str:
    await note.aio(f"{text} a")
    return await note.aio(f"{text} b")


def resumed(handle: Handle[Any], place: Place) -> Recording:
    """The resumed run, once it is over, with all its history."""
    return Recording(place.look(), handle.id, outcome_of(handle))


def reopened_at(recording: Recording) -> int:
    [seq] = [seq for seq, event in enumerate(recording.history, 1) if isinstance(event, RunReopened)]
    return seq


@pytest.mark.parametrize("flow", [late, late_async], ids=["sync", "async"])
def test_a_run_that_ran_out_of_time_gets_a_new_time_and_forgets_its_cleanup(
    timed_place: Place, flow: fluxo.Workflow[[], list[str]]
) -> None:
    facts = Facts()
    parked = timed_place.engine(observers=[facts])
    parked.start(flow.options(id="late"))
    facts.wait("run_waiting")
    parked.close()
    timed_place.forward(2 * HOUR_S)
    facts = Facts()
    with timed_place.engine(observers=[facts]) as engine:
        handle = engine.get("late")
        assert outcome_of(handle)[:2] == ("failed", "RunTimeoutError")
        before = len(executed)
        handle.resume()
        facts.wait("run_waiting")
        handle.signal("go", "at last")
        recording = resumed(handle, timed_place)
    assert recording.outcome[0] == "completed"
    assert recording.outcome[1][:2] == ["before", "at last"]
    assert "late/1/main/0" not in executed[before:]
    recording.assert_replays(range(reopened_at(recording), len(recording.history)))


@pytest.mark.parametrize("flow", [handled, handled_async], ids=["sync", "async"])
def test_siblings_stay_handlers_go_and_what_is_left_replays(place: Place, flow: fluxo.Workflow[[], list[str]]) -> None:
    with place.engine() as engine:
        handle = engine.start(flow.options(id="handled"))
        assert outcome_of(handle) == ("failed", "ConnectionError", "middle is away")
        kept = {event.args for event in handle.history() if isinstance(event, StepCompleted)}
        before = len(executed)
        mend_it()
        handle.resume()
        recording = resumed(handle, place)
    assert recording.outcome[0] == "completed"
    assert recording.outcome[1][-2:] == ["middle", "after"]
    assert len(executed) == before + 2
    assert len(kept) >= 5
    recording.assert_replays(range(reopened_at(recording), len(recording.history)))


@workflow(name="resume.several")
def several() -> list[str]:
    try:
        fragile("first")
    except ConnectionError:
        note("went without it")
    return fragile.map("abcd")


@workflow(name="resume.several_async")
async def several_async() -> list[str]:
    try:
        await fragile.aio("first")
    except ConnectionError:
        await note.aio("went without it")
    return await fragile.aio.map("abcd")


@pytest.mark.parametrize("flow", [several, several_async], ids=["sync", "async"])
def test_one_resume_runs_all_failed_siblings_again_but_no_failure_that_was_handled(
    place: Place, flow: fluxo.Workflow[[], list[str]]
) -> None:
    with place.engine() as engine:
        handle = engine.start(flow.options(id="several"))
        assert outcome_of(handle)[:2] == ("failed", "ConnectionError")
        before = len(executed)
        mend_it()
        handle.resume()
        recording = resumed(handle, place)
    assert recording.outcome == ("completed", ["a", "b", "c", "d"])
    assert "several/1/main/0" not in executed[before:]
    recording.assert_replays(range(reopened_at(recording), len(recording.history)))
