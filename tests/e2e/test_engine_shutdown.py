"""
KeyboardInterrupt and SystemExit in steps: a shutdown of the worker, never an outcome.

Owns: that nothing is recorded and the run goes back. Must not know signals to the process (`test_engine_serve.py`).
"""

from __future__ import annotations

import asyncio

import pytest

import fluxo
from fluxo import step, workflow
from fluxo.model.events import RunFailed, StepFailed, StepRetried
from tests.e2e.places import Place


@pytest.fixture
def no_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run whose step asked for a shutdown is due again at once."""
    for driver in ("sync_run", "async_run"):
        monkeypatch.setattr(f"fluxo.runtime.{driver}.SHUTDOWN_PAUSE_S", 0.001)


@pytest.mark.usefixtures("no_rest")
@pytest.mark.parametrize("shutdown", [KeyboardInterrupt, SystemExit])
def test_a_shutdown_in_a_step_beside_a_timer_is_no_outcome(place: Place, shutdown: type[BaseException]) -> None:
    """With something else open the step goes the long way."""
    attempts: list[int] = []

    @step
    def interrupted() -> str:
        attempts.append(fluxo.info().attempt)
        if len(attempts) == 1:
            raise shutdown
        return "done"

    @step
    def beside() -> str:
        return "beside"

    @workflow
    def work() -> str:
        future = beside.submit()
        return interrupted() + future.result()

    engine = place.engine()
    with engine:
        with pytest.raises(shutdown):
            engine.run(work.options(id="work"))
        assert engine.get("work").result(timeout=10) == "donebeside"
        events = engine.history("work")
    assert attempts == [1, 1]
    assert not [event for event in events if isinstance(event, StepFailed | StepRetried | RunFailed)]


@pytest.mark.usefixtures("no_rest")
@pytest.mark.parametrize("shutdown", [KeyboardInterrupt, SystemExit])
def test_a_shutdown_in_a_step_is_no_outcome(place: Place, shutdown: type[BaseException]) -> None:
    attempts: list[int] = []

    @step
    def interrupted() -> str:
        attempts.append(fluxo.info().attempt)
        if len(attempts) == 1:
            raise shutdown
        return "done"

    @workflow
    def work() -> str:
        return interrupted()

    engine = place.engine()
    with engine:
        with pytest.raises(shutdown):
            engine.run(work.options(id="work"))
        assert engine.get("work").result(timeout=10) == "done"
        events = engine.history("work")
    assert attempts == [1, 1]
    assert not [event for event in events if isinstance(event, StepFailed | StepRetried | RunFailed)]


@pytest.mark.usefixtures("no_rest")
@pytest.mark.parametrize("way", ["submitted", "submitted async", "awaited in a thread", "awaited", "gathered"])
def test_a_shutdown_in_a_step_beside_the_workflow_is_no_outcome_either(place: Place, way: str) -> None:
    attempts: list[int] = []

    @step
    def interrupted() -> str:
        attempts.append(fluxo.info().attempt)
        if len(attempts) == 1:
            raise SystemExit
        return "done"

    @step
    async def interrupted_later() -> str:
        return interrupted()

    @workflow
    def submits(later: bool) -> str:
        return interrupted_later.submit().result() if later else interrupted.submit().result()

    @workflow
    async def awaits(way: str) -> str:
        if way == "awaited":
            return await interrupted_later()
        if way == "gathered":
            return (await asyncio.gather(interrupted_later(), asyncio.sleep(0)))[0]
        return await interrupted.aio()

    with place.engine() as engine:
        submitted = way.startswith("submitted")
        handle = engine.start(submits, "async" in way) if submitted else engine.start(awaits, way)
        assert handle.result(timeout=10) == "done"
        events = handle.history()
    assert attempts == [1, 1]
    assert not [event for event in events if isinstance(event, StepFailed)]


def test_a_step_that_always_asks_for_a_shutdown_rests_in_between(place: Place) -> None:
    attempts: list[int] = []

    @step
    def interrupted() -> None:
        attempts.append(fluxo.info().attempt)
        raise SystemExit

    @workflow
    def work() -> None:
        interrupted.submit().result()

    with place.engine() as engine:
        handle = engine.start(work)
        place.until(lambda: handle.status() == "pending")
        wake_at = handle.info().wake_at
        assert wake_at is not None
        assert wake_at > handle.info().created_at
    assert attempts == [1]
