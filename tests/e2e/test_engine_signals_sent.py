"""
Signals that runs send: to other runs, from workflows and from steps.

Owns: that each is sent once. Must not know how a signal is waited for (`test_engine_signals.py`).
"""

from __future__ import annotations

from typing import Any

import pytest

import fluxo
from fluxo import (
    Retry,
    RunNotFoundError,
    step,
    workflow,
)
from fluxo.model.events import StepCompleted
from tests.e2e.places import Facts, Place


@workflow
def collect(names: list[str]) -> list[Any]:
    return [fluxo.wait_signal(name) for name in names]


@pytest.mark.parametrize("colour", ["sync", "async"])
def test_a_run_signals_another_once(place: Place, colour: str) -> None:
    @workflow
    def ring(other: str) -> str:
        fluxo.signal(other, "n", "from a run")
        return fluxo.wait_signal("go", str)

    @workflow
    async def ring_later(other: str) -> str:
        await fluxo.aio.signal(other, "n", "from a run")
        return await fluxo.aio.wait_signal("go", str)

    facts = Facts()
    with place.engine(observers=[facts]) as engine:
        engine.start(collect.options(id="rung"), ["n", "n"])
        engine.start((ring if colour == "sync" else ring_later).options(id="ringing"), "rung")
        facts.wait("run_waiting", "ringing")
    with place.engine() as engine:
        engine.signal("ringing", "go", "on")
        assert engine.get("ringing").result(timeout=10) == "on"
        engine.signal("rung", "n", "from outside")
        assert engine.get("rung").result(timeout=10) == ["from a run", "from outside"]
        sent = [event for event in engine.history("ringing") if isinstance(event, StepCompleted)]
        assert [event.name for event in sent] == ["fluxo.signal"]


def test_a_run_that_signals_nobody_learns_so(place: Place) -> None:
    @workflow
    def ring() -> str:
        try:
            fluxo.signal("nobody", "n")
        except RunNotFoundError as error:
            return error.run_id
        return "sent"

    with place.engine() as engine:
        assert engine.run(ring) == "nobody"


def test_each_signal_that_one_step_sends_arrives_once(place: Place) -> None:
    attempts: list[int] = []

    @step(retry=Retry(max_attempts=2, initial=0))
    def ring(other: str) -> None:
        attempts.append(fluxo.info().attempt)
        for number in range(3):
            fluxo.signal(other, "n", number)
        if len(attempts) == 1:
            raise ConnectionError("lost the line")

    @workflow
    def flow(other: str) -> None:
        ring(other)

    with place.engine() as engine:
        handle = engine.start(collect, ["n"] * 4)
        engine.run(flow, handle.id)
        handle.signal("n", "last")
        assert handle.result(timeout=10) == [0, 1, 2, "last"]
    assert attempts == [1, 2]


def test_a_step_may_signal_through_its_engine(place: Place) -> None:
    engine = place.engine()

    @step
    def ring(other: str) -> None:
        engine.signal(other, "n", "from a step", key=fluxo.info().idempotency_key)

    @workflow
    def flow(other: str) -> None:
        ring(other)

    with engine:
        handle = engine.start(collect, ["n"])
        engine.run(flow, handle.id)
        assert handle.result(timeout=10) == ["from a step"]
