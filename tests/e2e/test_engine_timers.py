"""
Durable timers.

Owns: when a sleep ends, across restarts and whatever the wall clock does. Must not know signals' deadlines.
"""

from __future__ import annotations

import asyncio
import threading
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

import fluxo
from fluxo import RunFailedError, RunTimeoutError, UsageError, step, workflow
from fluxo.clock import from_us
from fluxo.model.events import RunWaiting, TimerFired
from tests.e2e.places import Facts, HandClock, Place


@workflow
def sleep_for(seconds: float) -> str:
    fluxo.sleep(seconds)
    return "awake"


@workflow
async def sleep_for_later(seconds: float) -> str:
    await asyncio.sleep(seconds)
    return "awake"


@workflow
def sleep_until(at: datetime) -> str:
    fluxo.sleep_until(at)
    return "awake"


@workflow
async def sleep_until_later(at: datetime) -> str:
    await fluxo.aio.sleep_until(at)
    return "awake"


SLEEPS = pytest.mark.parametrize("flow", [sleep_for, sleep_for_later], ids=["sync", "async"])
SLEEPS_UNTIL = pytest.mark.parametrize("flow", [sleep_until, sleep_until_later], ids=["sync", "async"])


def fired(events: tuple[Any, ...]) -> int:
    return sum(isinstance(event, TimerFired) for event in events)


@SLEEPS
@pytest.mark.parametrize("seconds", [0, -5, 0.001])
def test_a_sleep_that_is_over_at_once_does_not_park(place: Place, flow: Any, seconds: float) -> None:
    with place.engine() as engine:
        handle = engine.start(flow, seconds)
        assert handle.result(timeout=10) == "awake"
        assert not [event for event in handle.history() if isinstance(event, RunWaiting)]


def test_sleeps_take_timedeltas_as_well(place: Place) -> None:
    @workflow
    def naps() -> str:
        fluxo.sleep(timedelta(milliseconds=1))
        fluxo.sleep(timedelta(days=-1))
        return "awake"

    @workflow
    async def naps_later() -> str:
        await fluxo.aio.sleep(timedelta(milliseconds=1))
        await fluxo.aio.sleep(0.001)
        return "awake"

    with place.engine() as engine:
        assert engine.run(naps) == engine.run(naps_later) == "awake"


@SLEEPS_UNTIL
def test_a_time_in_the_past_is_due_at_once(place: Place, flow: Any) -> None:
    with place.engine() as engine:
        assert engine.run(flow, datetime(1999, 12, 31, tzinfo=UTC)) == "awake"


@SLEEPS_UNTIL
def test_a_time_may_be_given_in_any_zone(timed_place: Place, flow: Any) -> None:
    facts = Facts()
    at = (from_us(timed_place.clock.now_us()) + timedelta(hours=1)).astimezone(timezone(timedelta(hours=5)))
    with timed_place.engine(observers=[facts]) as engine:
        handle = engine.start(flow.options(id="until"), at)
        facts.wait("run_waiting", "until")
        assert handle.info().wake_at == at


def test_a_time_without_a_zone_is_refused(place: Place) -> None:
    with place.engine() as engine, pytest.raises(RunFailedError, match="sleep_until needs an aware datetime") as failed:
        engine.run(sleep_until, datetime(2030, 1, 1))  # noqa: DTZ001 - what is refused
    assert type(failed.value.__cause__) is UsageError


@SLEEPS
def test_a_long_sleep_parks_with_its_time_and_another_engine_continues_it(timed_place: Place, flow: Any) -> None:
    facts = Facts()
    began = from_us(timed_place.clock.now_us())
    with timed_place.engine(observers=[facts]) as engine:
        handle = engine.start(flow.options(id="long"), 86_400)
        facts.wait("run_waiting", "long")
        assert handle.status() == "waiting"
        assert handle.info().wake_at == began + timedelta(days=1)
    timed_place.forward(86_399)
    with timed_place.engine() as early:
        assert early.get("long").status() == "waiting"
        assert early.get("long").info().owner is None
    timed_place.forward(1)
    with timed_place.engine() as later:
        assert later.get("long").result(timeout=10) == "awake"
        assert fired(later.history("long")) == 1


@SLEEPS
def test_a_sleeping_run_survives_a_crash(timed_place: Place, flow: Any) -> None:
    facts = Facts()
    crashed = timed_place.engine(observers=[facts])
    crashed.start(flow.options(id="long"), 3600)
    facts.wait("run_waiting", "long")
    crashed.close(drain=False)
    timed_place.forward(3600)
    with timed_place.engine() as later:
        assert later.get("long").result(timeout=10) == "awake"
        assert fired(later.history("long")) == 1


def test_a_worker_that_stays_up_wakes_a_run_whose_thread_it_took_back(
    timed_place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fluxo.runtime.sync_run.THREAD_WAIT_S", 0.01)
    with timed_place.engine() as engine:
        handle = engine.start(sleep_for, 3600)
        timed_place.until(lambda: handle.status() == "waiting" and handle.info().owner is None)
        timed_place.forward(3600)
        assert handle.result(timeout=10) == "awake"


@SLEEPS
def test_a_clock_set_back_neither_fires_early_nor_twice(timed_place: Place, flow: Any) -> None:
    assert isinstance(timed_place.clock, HandClock)
    facts = Facts()
    with timed_place.engine(observers=[facts]) as engine:
        engine.start(flow.options(id="long"), 3600)
        facts.wait("run_waiting", "long")
    timed_place.forward(1800)
    timed_place.clock.set_back(7200)
    with timed_place.engine() as early:
        assert early.get("long").status() == "waiting"
    timed_place.forward(7200 + 1799)
    with timed_place.engine() as early:
        assert early.get("long").status() == "waiting"
    timed_place.forward(1)
    with timed_place.engine() as later:
        assert later.get("long").result(timeout=10) == "awake"
        events = later.history("long")
    assert fired(events) == 1
    assert [event.at_us for event in events] == sorted(event.at_us for event in events)


def test_recorded_time_never_runs_backwards(timed_place: Place) -> None:
    clock = timed_place.clock
    assert isinstance(clock, HandClock)

    @step
    def set_back() -> None:
        clock.set_back(60)

    @workflow
    def watch_the_clock() -> list[float]:
        times = [fluxo.now()]
        for _ in range(3):
            set_back()
            times.append(fluxo.now())
        return [(time - times[0]).total_seconds() for time in times]

    with timed_place.engine() as engine:
        handle = engine.start(watch_the_clock)
        assert handle.result(timeout=10) == [0, 0, 0, 0]
        events = handle.history()
    assert [event.at_us for event in events] == sorted(event.at_us for event in events)


def test_timers_that_are_due_together_fire_in_the_order_of_their_times(timed_place: Place) -> None:
    @workflow
    async def alarms() -> list[int]:
        rang: list[int] = []

        async def ring(after: int) -> None:
            await asyncio.sleep(after)
            rang.append(after)

        await asyncio.gather(*(ring(after) for after in (50, 20, 40, 20, 30)))
        return rang

    facts = Facts()
    with timed_place.engine(observers=[facts]) as engine:
        engine.start(alarms.options(id="alarms"))
        facts.wait("run_waiting", "alarms")
    timed_place.forward(3600)
    with timed_place.engine() as later:
        assert later.get("alarms").result(timeout=10) == [20, 20, 30, 40, 50]


def test_a_durable_timeout_is_measured_from_recorded_time(timed_place: Place) -> None:
    @workflow
    async def impatient() -> str:
        try:
            async with asyncio.timeout(60):
                await fluxo.aio.wait_signal("never")
        except TimeoutError:
            return "gave up"
        return "came"

    facts = Facts()
    with timed_place.engine(observers=[facts]) as engine:
        engine.start(impatient.options(id="impatient"))
        facts.wait("run_waiting", "impatient")
    timed_place.forward(60)
    with timed_place.engine() as later:
        assert later.get("impatient").result(timeout=10) == "gave up"


@SLEEPS
def test_a_run_that_takes_longer_than_its_timeout_fails(timed_place: Place, flow: Any) -> None:
    facts = Facts()
    with timed_place.engine(observers=[facts]) as engine:
        engine.start(flow.options(id="late", timeout=timedelta(minutes=1)), 3600)
        facts.wait("run_waiting", "late")
    timed_place.forward(59)
    with timed_place.engine() as early:
        assert early.get("late").status() == "waiting"
    timed_place.forward(1)
    with timed_place.engine() as later:
        with pytest.raises(RunFailedError, match="did not end within its timeout of 60 s") as failed:
            later.get("late").result(timeout=10)
        assert later.get("late").status() == "failed"
    assert isinstance(failed.value.__cause__, RunTimeoutError)
    assert isinstance(failed.value.__cause__, TimeoutError)


def test_a_run_within_its_timeout_is_left_alone(place: Place) -> None:
    with place.engine() as engine:
        assert engine.run(sleep_for.options(timeout=60), 0.001) == "awake"
        assert engine.run(sleep_for_later.options(timeout=60), 0.001) == "awake"


def test_resuming_a_run_that_timed_out_gives_it_its_timeout_anew(timed_place: Place) -> None:
    @workflow(timeout=60)
    def patient() -> str:
        return fluxo.wait_signal("go", str)

    facts = Facts()
    with timed_place.engine(observers=[facts]) as engine:
        engine.start(patient.options(id="patient"))
        facts.wait("run_waiting", "patient")
    timed_place.forward(61)
    with timed_place.engine() as later:
        handle = later.get("patient")
        assert handle.wait(timeout=10)
        assert handle.status() == "failed"
        handle.resume()
        handle.signal("go", "on")
        assert handle.result(timeout=10) == "on"


@pytest.mark.parametrize("flow", [sleep_for, sleep_for_later], ids=["sync", "async"])
def test_time_spent_waiting_for_a_worker_is_not_slept(timed_place: Place, flow: Any) -> None:
    with timed_place.engine(worker=False) as client:
        client.start(flow.options(id="queued"), 60)
    timed_place.forward(3600)
    picked_up = from_us(timed_place.clock.now_us())
    facts = Facts()
    with timed_place.engine(observers=[facts]) as engine:
        facts.wait("run_waiting", "queued")
        assert engine.get("queued").info().wake_at == picked_up + timedelta(minutes=1)
    timed_place.forward(60)
    with timed_place.engine() as later:
        assert later.get("queued").result(timeout=10) == "awake"


@pytest.mark.parametrize("starter", ["the worker", "a client"])
def test_a_run_begun_again_after_a_crash_has_the_time_it_had_before(timed_place: Place, starter: str) -> None:
    seen: list[datetime] = []
    let_go = threading.Event()

    @step
    def act(at: datetime) -> None:
        seen.append(at)
        if len(seen) == 1:
            let_go.wait(10)

    @workflow
    def acts() -> None:
        act(fluxo.now())

    with timed_place.engine(worker=starter == "the worker") as first:
        first.start(acts.options(id="acts"))
        if starter == "a client":
            timed_place.forward(60)
        began = from_us(timed_place.clock.now_us())
        with timed_place.engine() as crashed:
            timed_place.until(lambda: len(seen) == 1)
            timed_place.forward(3600)
            first.close(drain=False)
            crashed.close(drain=False)
    with timed_place.engine() as later:
        assert later.get("acts").wait(timeout=10)
    let_go.set()
    assert seen == [began, began]
