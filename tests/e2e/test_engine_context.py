"""
Time, chance and facts inside a run, and what observers are told.

Owns: that they are equal on replay, and silent then. Must not know how replay works.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from datetime import timedelta
from typing import Any

import pytest

import fluxo
from fluxo import Retry, RunFailedError, step, workflow
from fluxo.clock import from_us
from tests.e2e.places import Facts, Place


@step
def act() -> int:
    return 1


@step
def fail() -> None:
    raise ValueError("no stock")


def replayed(place: Place, flow: Any, *, times: int = 2) -> Any:
    """Start the workflow, let `times` - 1 further engines replay it up to its signal, and return its result."""
    for _ in range(times):
        facts = Facts()
        with place.engine(observers=[facts]) as engine:
            engine.start(flow.options(id="replayed"))
            engine.signal("replayed", "come on")
            facts.wait("run_waiting", "replayed")
    with place.engine() as engine:
        engine.signal("replayed", "go")
        return engine.get("replayed").result(timeout=10)


def test_time_and_chance_are_equal_on_replay(place: Place) -> None:
    seen: list[tuple[Any, ...]] = []

    @workflow
    def draws() -> None:
        first = (fluxo.now(), fluxo.uuid4(), fluxo.random().random())
        act()
        seen.append((*first, fluxo.now(), fluxo.uuid4(), fluxo.random().randint(1, 10**9)))
        fluxo.wait_signal("go")

    replayed(place, draws)
    assert len(seen) == 3
    assert seen[0] == seen[1] == seen[2]
    assert len({seen[0][1], seen[0][4]}) == 2


def test_each_strand_of_an_async_run_draws_numbers_of_its_own(place: Place) -> None:
    seen: list[list[Any]] = []

    @workflow
    async def draws() -> None:
        async def draw() -> tuple[uuid.UUID, float]:
            await act.aio()
            return fluxo.uuid4(), fluxo.random().random()

        seen.append(await asyncio.gather(draw(), draw(), draw()))
        await fluxo.aio.wait_signal("go")

    replayed(place, draws)
    assert seen[0] == seen[1] == seen[2]
    assert len({drawn for drawn, _ in seen[0]}) == 3


def test_two_runs_draw_different_numbers(place: Place) -> None:
    @workflow
    def draw() -> tuple[uuid.UUID, float]:
        return fluxo.uuid4(), fluxo.random().random()

    with place.engine() as engine:
        drawn = [engine.run(draw) for _ in range(5)]
    assert len({str(one) for one, _ in drawn}) == len({number for _, number in drawn}) == 5
    assert {one.version for one, _ in drawn} == {4}


def test_now_is_the_recorded_time_of_what_the_workflow_last_saw(timed_place: Place) -> None:
    began = from_us(timed_place.clock.now_us())

    @step
    def take_a_minute() -> None:
        timed_place.clock.forward(60)  # type: ignore[attr-defined]

    @workflow
    def watch() -> list[float]:
        times = [fluxo.now()]
        take_a_minute()
        times.append(fluxo.now())
        return [(time - began).total_seconds() for time in times]

    with timed_place.engine() as engine:
        assert engine.run(watch) == [0.0, 60.0]


def test_info_says_where_the_caller_is(place: Place) -> None:
    @step(name="look around")
    def look() -> tuple[str, str | None, int, str]:
        info = fluxo.info()
        return info.run_id, info.step, info.attempt, info.idempotency_key

    @workflow(name="looking", version="3")
    def looks() -> tuple[Any, ...]:
        info = fluxo.info()
        return info.run_id, info.workflow, info.version, info.step, info.attempt, info.idempotency_key, *look()

    with place.engine() as engine:
        result = engine.run(looks.options(id="here"))
    assert result[:6] == ("here", "looking", "3", None, 0, "")
    assert result[6:9] == ("here", "look around", 1)
    assert "here" in result[9]


def test_info_says_whether_the_workflow_is_being_replayed(place: Place) -> None:
    seen: list[list[bool]] = []

    @workflow
    def looks() -> None:
        before = fluxo.info().replaying
        act()
        seen.append([before, fluxo.info().replaying])
        fluxo.wait_signal("go")
        seen.append([fluxo.info().replaying])

    replayed(place, looks, times=1)
    assert seen == [[False, False], [True, True], [False]]


def test_the_logger_is_silent_on_replay_and_names_the_run(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    @step(name="logging step")
    def say() -> None:
        fluxo.logger.info("in the step")

    @workflow(name="logging workflow")
    def logs() -> None:
        fluxo.logger.info("before")
        say()
        fluxo.logger.info("after %d step", 1, extra={"order": 42})
        fluxo.wait_signal("go")
        fluxo.logger.info("at the end")

    with caplog.at_level(logging.INFO, "fluxo.run"):
        replayed(place, logs)
    records = [record for record in caplog.records if record.levelno == logging.INFO and hasattr(record, "run_id")]
    assert [record.getMessage() for record in records] == ["before", "in the step", "after 1 step", "at the end"]
    assert {record.run_id for record in records} == {"replayed"}  # type: ignore[attr-defined]
    assert [record.step for record in records] == [None, "logging step", None, None]  # type: ignore[attr-defined]
    assert records[2].order == 42  # type: ignore[attr-defined]


def test_observers_hear_of_each_new_fact_once(place: Place) -> None:
    @workflow
    def flow() -> int:
        act()
        fluxo.wait_signal("go")
        return act()

    first = Facts()
    with place.engine(observers=[first]) as engine:
        engine.start(flow.options(id="seen"))
        first.wait("run_waiting", "seen")
    second = Facts()
    with place.engine(observers=[second]) as engine:
        engine.signal("seen", "go")
        engine.get("seen").result(timeout=10)
        second.wait("run_completed", "seen")
    assert first.names() == ["run_started", "step_started", "step_completed", "run_waiting"]
    assert second.names() == ["run_resumed", "step_started", "step_completed", "run_completed"]


@pytest.mark.parametrize("way", ["run", "start", "client"])
def test_observers_hear_of_a_start_whichever_way_it_is_made(place: Place, way: str) -> None:
    facts = Facts()

    @workflow
    def quick() -> int:
        return 1

    if way == "client":
        with place.engine(worker=False, observers=[facts]) as client:
            client.start(quick.options(id="quick"))
    else:
        with place.engine(observers=[facts]) as engine:
            if way == "run":
                engine.run(quick.options(id="quick"))
            else:
                engine.start(quick.options(id="quick")).result(timeout=10)
            facts.wait("run_completed", "quick")
    started = [fact for fact in facts.seen if fact[0] == "run_started"]
    assert [fact[1:3] for fact in started] == [("quick", quick.name)]


def test_observers_hear_of_failures_retries_blocks_and_cancellations(place: Place) -> None:
    attempts: list[int] = []

    @step(retry=Retry(max_attempts=2, initial=0))
    def flaky() -> None:
        attempts.append(1)
        raise ValueError("no stock")

    @workflow
    def fails() -> None:
        flaky()

    @workflow
    def waits() -> int:
        return fluxo.wait_signal("go", int)

    facts = Facts()
    with place.engine(observers=[facts]) as engine:
        engine.start(fails).wait(timeout=10)
        cancelled, blocked = engine.start(waits), engine.start(waits)
        facts.wait("run_waiting", cancelled.id)
        cancelled.cancel()
        cancelled.wait(timeout=10)
        blocked.signal("go", "no number")
        blocked.wait(timeout=10)
        for fact in ("run_failed", "run_cancelled", "run_blocked"):
            facts.wait(fact)
    details = {fact: rest for fact, *rest in facts.seen}
    assert [fact for fact in facts.names() if fact.startswith("step")] == [
        "step_started",
        "step_retried",
        "step_started",
        "step_failed",
    ]
    assert details["step_failed"][1:3] == [flaky.name, 2]
    assert details["run_failed"][3].message == "no stock"
    assert details["run_blocked"][3] == "undecodable"


def test_an_observer_that_raises_never_hurts_a_run(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    class Clumsy:
        def __getattr__(self, hook: str) -> Any:
            def hurt(*_: Any) -> None:
                raise RuntimeError(f"stumbled in {hook}")

            return hurt

    @workflow
    def flow() -> int:
        return act()

    @workflow
    def fails() -> None:
        fail()

    facts = Facts()
    with place.engine(observers=[Clumsy(), facts]) as engine:
        assert engine.run(flow) == 1
        with pytest.raises(RunFailedError, match="no stock"):
            engine.run(fails)
        facts.wait("run_failed")
    assert "observer Clumsy raised; the run is not affected" in caplog.text
    assert facts.names().count("run_completed") == 1


def test_facts_have_their_recorded_time(timed_place: Place) -> None:
    @workflow
    def flow() -> int:
        return act()

    facts = Facts()
    with timed_place.engine(observers=[facts]) as engine:
        timed_place.forward(timedelta(days=1).total_seconds())
        handle = engine.start(flow)
        handle.result(timeout=10)
        facts.wait("run_completed")
        at_us = [event.at_us for event in handle.history()]
    told = {fact: rest for fact, *rest in facts.seen}
    assert [told["run_started"][2], told["step_completed"][3], told["run_completed"][2]] == at_us
