"""
Attempts of steps: retries, back-off, timeouts.

Owns: how often, when and how long a step is tried. Must not know the arithmetic of delays
(`tests/unit/authoring/test_retry.py`).
"""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

import fluxo
from fluxo import EncodeError, Retry, RunFailedError, StepTimeoutError, step, workflow
from fluxo.model.events import StepCompleted, StepFailed, StepRetried
from tests.e2e.places import Facts, Place

AT_ONCE = Retry(max_attempts=3, initial=0)
LATER = Retry(max_attempts=3, initial=3600, maximum=3600, multiplier=1, jitter=0)


class CardDeclinedError(Exception):
    def __init__(self, code: int, reason: str) -> None:
        super().__init__(code, reason)
        self.code = code


@pytest.fixture(params=["sync", "async"])
def colour(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def flow_over(colour: str, body: Any, **options: Any) -> Any:
    """A workflow of this colour that calls one step with `body` and returns what it returns."""
    if colour == "sync":
        plain = step(**options)(body)

        @workflow(name="flow over one sync step")
        def flow() -> Any:
            return plain()

        return flow

    async def later() -> Any:
        return body()

    awaited = step(**options)(later)

    @workflow(name="flow over one async step")
    async def flow_later() -> Any:
        return await awaited()

    return flow_later


def test_a_step_is_tried_again_until_it_succeeds(place: Place, colour: str) -> None:
    attempts: list[int] = []

    def flaky() -> str:
        attempts.append(fluxo.info().attempt)
        if len(attempts) < 3:
            raise ConnectionError("away")
        return "there"

    with place.engine() as engine:
        handle = engine.start(flow_over(colour, flaky, retry=AT_ONCE))
        assert handle.result(timeout=10) == "there"
        events = handle.history()
    assert attempts == [1, 2, 3]
    assert [event.attempt for event in events if isinstance(event, StepRetried)] == [1, 2]
    assert [event.attempts for event in events if isinstance(event, StepCompleted)] == [3]


def test_exhausted_attempts_raise_the_last_original_error(place: Place, colour: str) -> None:
    attempts: list[int] = []

    def broken() -> None:
        attempts.append(fluxo.info().attempt)
        raise CardDeclinedError(len(attempts), "no funds")

    with place.engine() as engine:
        handle = engine.start(flow_over(colour, broken, retry=AT_ONCE))
        with pytest.raises(RunFailedError, match="CardDeclinedError") as failed:
            handle.result(timeout=10)
        failures = [event for event in handle.history() if isinstance(event, StepFailed)]
    cause = failed.value.__cause__
    assert type(cause) is CardDeclinedError
    assert (cause.args, cause.code) == ((3, "no funds"), 3)
    assert attempts == [1, 2, 3]
    assert [failure.attempts for failure in failures] == [3]


def test_without_a_retry_there_is_one_attempt(place: Place, colour: str) -> None:
    attempts: list[int] = []

    def broken() -> None:
        attempts.append(fluxo.info().attempt)
        raise ConnectionError("away")

    with place.engine() as engine, pytest.raises(RunFailedError):
        engine.run(flow_over(colour, broken))
    assert attempts == [1]


def test_errors_outside_retry_on_and_inside_give_up_on_are_final(place: Place, colour: str) -> None:
    attempts: list[str] = []

    def raises(error: Exception) -> Any:
        def body() -> None:
            attempts.append(type(error).__name__)
            raise error

        return body

    picky = Retry(max_attempts=5, initial=0, retry_on=(OSError,), give_up_on=(FileNotFoundError,))
    with place.engine() as engine:
        for error in (ValueError("x"), FileNotFoundError("y"), ConnectionError("z")):
            with pytest.raises(RunFailedError) as failed:
                engine.run(flow_over(colour, raises(error), retry=picky))
            assert type(failed.value.__cause__) is type(error)
    assert attempts == ["ValueError", "FileNotFoundError"] + ["ConnectionError"] * 5


def test_a_crash_during_back_off_keeps_the_attempt_and_the_time_of_the_next(timed_place: Place, colour: str) -> None:
    attempts: list[int] = []

    def flaky() -> str:
        attempts.append(fluxo.info().attempt)
        if len(attempts) == 1:
            raise ConnectionError("away")
        return "there"

    facts = Facts()
    flow = flow_over(colour, flaky, retry=LATER)
    started_us = timed_place.clock.now_us()
    crashed = timed_place.engine(observers=[facts])
    handle = crashed.start(flow.options(id="patient"))
    facts.wait("run_waiting", "patient")
    crashed.close(drain=False)
    timed_place.forward(3000)
    with timed_place.engine() as early:
        timed_place.until(lambda: early.get("patient").status() == "waiting")
        assert attempts == [1]
        info = early.get("patient").info()
        assert info.wake_at is not None
        assert info.wake_at.timestamp() * 1_000_000 == pytest.approx(started_us + 3600 * 1_000_000)
    timed_place.forward(600)
    with timed_place.engine() as later:
        assert later.get("patient").result(timeout=10) == "there"
        retried = [event for event in later.history("patient") if isinstance(event, StepRetried)]
    assert attempts == [1, 2]
    assert [event.retry_at_us for event in retried] == [started_us + 3600 * 1_000_000]
    assert handle.id == "patient"


def test_the_idempotency_key_is_stable_over_attempts_and_recoveries(timed_place: Place, colour: str) -> None:
    keys: list[str] = []

    def flaky() -> None:
        keys.append(fluxo.info().idempotency_key)
        if len(keys) < 3:
            raise ConnectionError("away")

    flow = flow_over(colour, flaky, retry=LATER)
    facts = Facts()
    with timed_place.engine(observers=[facts]) as engine:
        engine.start(flow.options(id="keyed"))
        facts.wait("step_retried", "keyed")
    for _ in range(2):
        timed_place.forward(2 * 3600)
        facts = Facts()
        with timed_place.engine(observers=[facts]) as engine:
            facts.wait("step_started", "keyed")
    assert len(keys) == 3
    assert len(set(keys)) == 1
    assert "keyed" in keys[0]


def test_idempotency_keys_are_unique_to_each_call(place: Place) -> None:
    keys: list[str] = []

    @step
    def note() -> None:
        keys.append(fluxo.info().idempotency_key)

    @step
    async def note_later() -> None:
        keys.append(fluxo.info().idempotency_key)

    @workflow
    def calls() -> None:
        note()
        note()
        fluxo.gather(note.submit(), note.submit())

    @workflow
    async def calls_later() -> None:
        await note_later()
        await asyncio.gather(note_later(), note_later(), note.aio())

    with place.engine() as engine:
        engine.run(calls)
        engine.run(calls)
        engine.run(calls_later)
    assert len(set(keys)) == len(keys) == 12


def test_a_sync_attempt_that_takes_too_long_is_abandoned_and_its_late_result_dropped(place: Place) -> None:
    may_go_on, has_gone_on = threading.Event(), threading.Event()

    @step(timeout=0.02)
    def hang() -> str:
        assert may_go_on.wait(10)
        has_gone_on.set()
        return "late"

    @step
    def witness() -> bool:
        may_go_on.set()
        return has_gone_on.wait(10)

    @workflow
    def impatient() -> tuple[str, bool]:
        try:
            return hang(), False
        except StepTimeoutError as error:
            return error.step, witness()

    with place.engine() as engine:
        handle = engine.start(impatient)
        name, gone_on = handle.result(timeout=10)
        events = handle.history()
    assert gone_on
    assert name.endswith("hang")
    assert [type(event).__name__ for event in events[1:]] == ["StepFailed", "StepCompleted", "RunCompleted"]


def test_an_async_attempt_that_takes_too_long_is_cancelled(place: Place) -> None:
    cancelled: list[bool] = []

    @step(timeout=0.02)
    async def hang() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    @workflow
    async def impatient() -> None:
        await hang()

    @workflow
    def impatient_too() -> None:
        hang.submit().result()

    with place.engine() as engine:
        for flow in (impatient, impatient_too):
            with pytest.raises(RunFailedError, match=r"did not finish within 0.02 s") as failed:
                engine.run(flow)  # type: ignore[call-overload]
            assert type(failed.value.__cause__) is StepTimeoutError
    assert cancelled == [True, True]


def test_each_attempt_has_a_timeout_of_its_own(place: Place) -> None:
    attempts: list[int] = []
    for_ever = threading.Event()

    @step(timeout=0.02, retry=AT_ONCE)
    def hang_first() -> str:
        attempts.append(fluxo.info().attempt)
        if len(attempts) < 3:
            for_ever.wait(10)
        return "at last"

    @workflow
    def stubborn() -> str:
        return hang_first()

    with place.engine() as engine:
        assert engine.run(stubborn) == "at last"
    for_ever.set()
    assert attempts == [1, 2, 3]


def test_a_timeout_can_be_caught_as_the_builtin_one(place: Place) -> None:
    for_ever = threading.Event()

    @step(timeout=0.01)
    def hang() -> None:
        for_ever.wait(10)

    @workflow
    def impatient() -> str:
        try:
            hang()
        except TimeoutError:
            return "caught"
        return "finished"

    with place.engine() as engine:
        assert engine.run(impatient) == "caught"
    for_ever.set()


def test_a_step_within_its_timeout_is_left_alone(place: Place, colour: str) -> None:
    with place.engine() as engine:
        assert engine.run(flow_over(colour, lambda: "quick", timeout=60)) == "quick"


def test_a_result_that_is_not_data_fails_the_step_by_name_and_at_once(place: Place, colour: str) -> None:
    attempts: list[int] = []

    def give_lock() -> Any:
        attempts.append(fluxo.info().attempt)
        return threading.Lock()

    with place.engine() as engine, pytest.raises(RunFailedError, match="EncodeError") as failed:
        engine.run(flow_over(colour, give_lock, retry=AT_ONCE))
    assert isinstance(failed.value.__cause__, EncodeError)
    assert "give_lock" in str(failed.value) or "later" in str(failed.value)
    assert attempts == [1]
