"""
Cancelling runs.

Owns: where a cancellation arrives, what may still be done, and what callers see. Must not know timeouts.
"""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

import fluxo
from fluxo import Cancelled, Retry, RunCancelledError, RunFailedError, step, workflow
from fluxo.model.events import CancelRequested, RunCancelled, StepCompleted
from tests.e2e.places import Facts, Place


@step
def undo(what: str) -> str:
    return what


@step
async def undo_later(what: str) -> str:
    return what


@workflow
def wait_for_go() -> str:
    return fluxo.wait_signal("go", str)


@workflow
async def wait_for_go_later() -> str:
    return await fluxo.aio.wait_signal("go", str)


@workflow
def clean_up() -> None:
    try:
        fluxo.sleep(3600)
    finally:
        undo("booking")
        undo("payment")


@workflow
async def clean_up_later() -> None:
    try:
        await asyncio.sleep(3600)
    finally:
        await undo_later("booking")
        await undo.aio("payment")


@workflow
def carry_on() -> str:
    try:
        fluxo.sleep(3600)
    except Cancelled:
        undo("booking")
    return fluxo.wait_signal("go", str)


@workflow
async def carry_on_later() -> str:
    try:
        await asyncio.sleep(3600)
    except asyncio.CancelledError:
        await undo_later("booking")
    return await fluxo.aio.wait_signal("go", str)


def both(one: Any, other: Any) -> Any:
    return pytest.mark.parametrize("flow", [one, other], ids=["sync", "async"])


@both(wait_for_go, wait_for_go_later)
def test_a_waiting_run_is_cancelled_at_its_wait(place: Place, flow: Any) -> None:
    with place.engine() as engine:
        handle = engine.start(flow)
        place.until(lambda: handle.status() == "waiting")
        assert handle.cancel()
        with pytest.raises(RunCancelledError, match=f"run '{handle.id}' was cancelled"):
            handle.result(timeout=10)
        assert handle.status() == "cancelled"
        asked, ended = handle.history()[-2:]
    assert isinstance(asked, CancelRequested)
    assert isinstance(ended, RunCancelled)
    assert not ended.forced


@both(wait_for_go, wait_for_go_later)
def test_a_run_that_waits_where_no_worker_is_gets_cancelled_by_the_next(place: Place, flow: Any) -> None:
    facts = Facts()
    with place.engine(observers=[facts]) as engine:
        engine.start(flow.options(id="idle"))
        facts.wait("run_waiting", "idle")
    with place.engine(worker=False) as client:
        assert client.cancel("idle")
        assert client.get("idle").status() == "waiting"
    with place.engine() as engine, pytest.raises(RunCancelledError):
        engine.get("idle").result(timeout=10)


@both(clean_up, clean_up_later)
def test_clean_up_steps_run_and_are_recorded(place: Place, flow: Any) -> None:
    with place.engine() as engine:
        handle = engine.start(flow)
        place.until(lambda: handle.status() == "waiting")
        handle.cancel()
        with pytest.raises(RunCancelledError):
            handle.result(timeout=10)
        events = handle.history()
    assert len([event for event in events if isinstance(event, StepCompleted)]) == 2


@both(carry_on, carry_on_later)
def test_a_run_that_swallows_the_cancellation_goes_on(place: Place, flow: Any) -> None:
    with place.engine() as engine:
        handle = engine.start(flow)
        place.until(lambda: handle.status() == "waiting")
        assert handle.cancel()
        handle.signal("go", "went on")
        assert handle.result(timeout=10) == "went on"
        assert handle.status() == "completed"


@both(carry_on, carry_on_later)
def test_what_a_cancellation_led_to_is_replayed(place: Place, flow: Any) -> None:
    facts = Facts()
    with place.engine(observers=[facts]) as engine:
        handle = engine.start(flow.options(id="carry"))
        facts.wait("run_waiting", "carry")
        handle.cancel()
        facts.wait("run_waiting", "carry", times=2)
    with place.engine() as engine:
        engine.signal("carry", "go", "went on")
        assert engine.get("carry").result(timeout=10) == "went on"
        events = engine.history("carry")
    assert len([event for event in events if isinstance(event, StepCompleted)]) == 1
    assert len([event for event in events if isinstance(event, CancelRequested)]) == 1


def test_a_shield_defers_the_cancellation_to_the_first_wait_after_it(place: Place) -> None:
    @workflow
    def shielded() -> None:
        with fluxo.shield():
            fluxo.wait_signal("inside")
            undo("inside")
        undo("outside")

    facts = Facts()
    with place.engine(observers=[facts]) as engine:
        handle = engine.start(shielded)
        facts.wait("run_waiting")
        assert handle.cancel()
        handle.signal("inside")
        with pytest.raises(RunCancelledError):
            handle.result(timeout=10)
        done = [event.args for event in handle.history() if isinstance(event, StepCompleted)]
    assert len(done) == 1
    assert b"inside" in (done[0] or b"")


def test_asyncio_shield_keeps_a_step_from_being_cancelled(place: Place) -> None:
    may_end = threading.Event()

    @step
    def slow() -> str:
        assert may_end.wait(10)
        return "finished"

    @workflow
    async def shielded() -> str:
        working = asyncio.ensure_future(slow.aio())
        try:
            return await asyncio.shield(working)
        except asyncio.CancelledError:
            return await working

    facts = Facts()
    with place.engine(observers=[facts]) as engine:
        handle = engine.start(shielded)
        facts.wait("step_started")
        handle.cancel()
        may_end.set()
        assert handle.result(timeout=10) == "finished"


def test_a_cancellation_interrupts_an_async_step(place: Place) -> None:
    interrupted = threading.Event()

    @step
    async def hang() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            interrupted.set()

    @workflow
    async def hangs() -> None:
        await hang()

    @workflow
    async def hangs_twice() -> None:
        await asyncio.gather(hang(), hang())

    for flow in (hangs, hangs_twice):
        interrupted.clear()
        facts = Facts()
        with place.engine(observers=[facts]) as engine:
            handle = engine.start(flow)
            facts.wait("step_started")
            assert handle.cancel()
            with pytest.raises(RunCancelledError):
                handle.result(timeout=10)
            assert interrupted.wait(10)


def test_a_step_on_a_thread_is_let_finish_but_not_waited_for(place: Place) -> None:
    may_end, ended = threading.Event(), threading.Event()

    @step
    def slow() -> None:
        may_end.wait(10)
        ended.set()

    @workflow
    def waits() -> None:
        slow.submit().result()

    facts = Facts()
    with place.engine(observers=[facts]) as engine:
        handle = engine.start(waits)
        facts.wait("step_started")
        handle.cancel()
        with pytest.raises(RunCancelledError):
            handle.result(timeout=10)
        assert not ended.is_set()
        may_end.set()
        assert ended.wait(10)
        assert not [event for event in handle.history() if isinstance(event, StepCompleted)]


def test_a_cancellation_during_an_inline_step_arrives_at_the_next_wait(place: Place) -> None:
    started, may_end = threading.Event(), threading.Event()

    @step
    def slow() -> None:
        started.set()
        assert may_end.wait(10)

    @workflow
    def works() -> None:
        slow()
        fluxo.sleep(3600)

    with place.engine() as engine:
        handle = engine.start(works)
        assert started.wait(10)
        assert handle.cancel()
        may_end.set()
        with pytest.raises(RunCancelledError):
            handle.result(timeout=10)
        assert len([event for event in handle.history() if isinstance(event, StepCompleted)]) == 1


def test_a_run_between_two_attempts_is_cancelled_there(place: Place) -> None:
    @step(retry=Retry(initial=3600, maximum=3600))
    def flaky() -> None:
        raise ConnectionError("away")

    @workflow
    def tries() -> None:
        flaky()

    @workflow
    async def tries_later() -> None:
        await flaky.aio()

    with place.engine() as engine:
        for flow in (tries, tries_later):
            handle = engine.start(flow)  # type: ignore[call-overload]
            place.until(lambda handle=handle: handle.status() == "waiting")  # type: ignore[misc]
            assert handle.cancel()
            with pytest.raises(RunCancelledError):
                handle.result(timeout=10)


def test_cancelling_what_has_ended_changes_nothing(place: Place) -> None:
    @workflow
    def done() -> int:
        return 7

    with place.engine() as engine:
        handle = engine.start(done)
        assert handle.result(timeout=10) == 7
        before = handle.history()
        assert not handle.cancel()
        assert not handle.cancel(force=True)
        assert not engine.cancel(handle.id)
        assert handle.history() == before


def test_an_error_raised_while_cleaning_up_fails_the_run(place: Place) -> None:
    @workflow
    def clumsy() -> None:
        try:
            fluxo.sleep(3600)
        finally:
            raise ValueError("dropped it")

    with place.engine() as engine:
        handle = engine.start(clumsy)
        place.until(lambda: handle.status() == "waiting")
        handle.cancel()
        with pytest.raises(RunFailedError, match="dropped it") as failed:
            handle.result(timeout=10)
    assert type(failed.value.__cause__) is ValueError


def test_cancellation_is_raised_once(place: Place) -> None:
    @workflow
    def counts() -> list[str]:
        seen = []
        for _ in range(3):
            try:
                fluxo.sleep(0.001)
                fluxo.wait_signal("go", timeout=0.001)
            except Cancelled:
                seen.append("cancelled")
            except TimeoutError:
                seen.append("timeout")
        return seen

    with place.engine(worker=False) as client:
        handle = client.start(counts.options(id="counts"))
        client.signal("counts", "other")
    with place.engine() as engine:
        handle = engine.get("counts")
        handle.result(timeout=10)

    with place.engine() as engine:
        handle = engine.start(carry_on)
        place.until(lambda: handle.status() == "waiting")
        assert handle.cancel()
        assert handle.cancel()
        handle.signal("go", "went on")
        assert handle.result(timeout=10) == "went on"
