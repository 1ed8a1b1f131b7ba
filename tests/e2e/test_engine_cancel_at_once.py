"""
Cancelling a run without asking it.

Owns: force, and runs that nobody executes. Must not know how a run is asked (`test_engine_cancel.py`).
"""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

import fluxo
from fluxo import Cancelled, RunCancelledError, UsageError, step, workflow
from fluxo.model.events import RunCancelled, StepCompleted
from tests.e2e.places import Place


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


def test_a_run_that_no_worker_has_begun_is_cancelled_at_once(place: Place) -> None:
    ran: list[int] = []

    @workflow
    def never() -> None:
        ran.append(1)

    with place.engine(worker=False) as client:
        handle = client.start(never)
        assert handle.cancel()
        assert handle.status() == "cancelled"
        with pytest.raises(RunCancelledError):
            handle.result(timeout=10)
    with place.engine() as engine:
        assert engine.recover() == 0
    assert ran == []


@both(carry_on, carry_on_later)
def test_force_ends_a_run_without_asking_it(place: Place, flow: Any) -> None:
    with place.engine() as engine:
        handle = engine.start(flow)
        place.until(lambda: handle.status() == "waiting")
        assert handle.cancel(force=True)
        with pytest.raises(RunCancelledError):
            handle.result(timeout=10)
        ended = handle.history()[-1]
        assert isinstance(ended, RunCancelled)
        assert ended.forced
        assert not [event for event in handle.history() if isinstance(event, StepCompleted)]


def test_what_a_run_does_after_it_was_ended_by_force_is_refused(place: Place) -> None:
    started, may_end, ended = threading.Event(), threading.Event(), threading.Event()

    @step
    def slow() -> None:
        started.set()
        may_end.wait(10)
        ended.set()

    @workflow
    def works() -> str:
        slow()
        return "too late"

    with place.engine() as engine:
        handle = engine.start(works)
        assert started.wait(10)
        assert handle.cancel(force=True)
        before = handle.history()
        may_end.set()
        assert ended.wait(10)
        place.until(lambda: engine.stats().active == 0)
        assert handle.history() == before
        assert handle.status() == "cancelled"


def test_a_blocked_run_is_cancelled_at_once(place: Place) -> None:
    with place.engine() as engine:
        handle = engine.start(wait_for_go)
        handle.signal("go", 7)
        place.until(lambda: handle.status() == "blocked")
        assert handle.cancel()
        assert handle.status() == "cancelled"
        with pytest.raises(RunCancelledError):
            handle.result(timeout=10)


def test_a_cancelled_run_cannot_be_resumed(place: Place) -> None:
    with place.engine() as engine:
        handle = engine.start(wait_for_go)
        handle.cancel(force=True)
        with pytest.raises(UsageError, match="is cancelled: only failed and blocked runs can be resumed"):
            handle.resume()
