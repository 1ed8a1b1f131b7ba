"""
Everything once: rules 15 to 20 of the log (PROTOCOL, part C), seen through engines.

Owns: one test or more per rule. Rule 17 is about rolled-over logs, rule 21 about stores that do not exist yet.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import cast

import pytest

import fluxo
from fluxo import RunStatus, UsageError, workflow
from fluxo.model.events import RunWaiting, SignalReceived, SignalTimedOut
from fluxo.store import Append, Outcome
from tests.e2e.meddling import Gate, Real, declare_dead, enter, events_of, kinds, listen, meddled
from tests.e2e.places import PATIENCE_S, HandClock, Place


@workflow(name="protocol.patient")
def patient() -> str:
    try:
        return fluxo.wait_signal("word", str, timeout=10)
    except fluxo.SignalTimeoutError:
        return "too late"


def test_a_message_whose_consumption_is_in_the_log_alone_is_not_consumed_again(place: Place) -> None:
    """Rule 15: marking the inbox is garbage collection; a new owner goes by the log."""

    def forget_to_mark(append: Real, batch: Sequence[Append]) -> list[Outcome]:
        return append([_without_marks(one) for one in batch])

    with meddled(place, forget_to_mark) as engine:
        handle = engine.start(listen, 2)
        handle.signal("word", "one")
        place.until(lambda: SignalReceived in kinds(engine, handle.id))
        place.until(lambda: handle.status() is RunStatus.WAITING)
    with place.engine() as heir:
        heir.signal(handle.id, "word", "two")
        assert heir.get(handle.id).result(PATIENCE_S) == ["one", "two"]


def _without_marks(append: Append) -> Append:
    return Append(append.key, append.prev_seq, append.prev_digest, append.events, append.projection, (), append.new)


def test_the_key_of_a_consumed_signal_is_known_for_as_long_as_the_run(place: Place) -> None:
    """Rule 15: a repeated key is answered as the first time, before and after the end; a new one is refused there."""
    with place.engine() as engine:
        handle = engine.start(listen, 2)
        for _ in range(3):
            handle.signal("word", "one", key="first")
        place.until(lambda: SignalReceived in kinds(engine, handle.id))
        handle.signal("word", "one", key="first")
        handle.signal("word", "two", key="second")
        assert handle.result(PATIENCE_S) == ["one", "two"]
        handle.signal("word", "one", key="first")
        with pytest.raises(UsageError, match="has ended"):
            handle.signal("word", "one", key="third")


@pytest.mark.parametrize("colour", ["sync", "async"])
def test_a_workflow_is_given_nothing_that_is_not_durable_yet(place: Place, colour: str) -> None:
    """Rule 16: results, and which signal was chosen, are in the log before the workflow sees them."""
    order: list[str] = []

    def note(append: Real, batch: Sequence[Append]) -> list[Outcome]:
        outcomes = append(batch)
        order.extend(type(event).__name__ for one in batch for event in events_of(one))
        return outcomes

    @workflow(name=f"protocol.ordered.{colour}")
    def ordered() -> None:
        order.append(enter(1))
        order.append(fluxo.wait_signal("word", str))

    @workflow(name=f"protocol.aordered.{colour}")
    async def aordered() -> None:
        order.append(await enter.aio(1))
        order.append(await fluxo.aio.wait_signal("word", str))

    with place.engine(worker=False) as client:
        handle = client.start(ordered) if colour == "sync" else client.start(aordered)
        handle.signal("word", "word")
    with meddled(place, note, resources={"gate": Gate("door")}) as engine:
        engine.get(handle.id).result(PATIENCE_S)
    assert order == ["RunClaimed", "StepCompleted", "door", "SignalReceived", "word", "RunCompleted"]


@pytest.mark.parametrize("sent_after_s, result", [(9.0, "come"), (11.0, "too late")])
def test_a_signal_races_its_timeout_by_when_it_was_delivered(
    timed_place: Place, sent_after_s: float, result: str
) -> None:
    """Rule 18: in time is in time, however late the owner wakes; and too late stays too late."""
    place = timed_place
    with place.engine() as engine:
        handle = engine.start(patient)
        place.until(lambda: handle.status() is RunStatus.WAITING)
    with place.engine(worker=False) as client:
        place.forward(sent_after_s)
        client.signal(handle.id, "word", "come")
        place.forward(100)
    with place.engine() as heir:
        assert heir.get(handle.id).result(PATIENCE_S) == result
        expected = SignalReceived if result == "come" else SignalTimedOut
        assert expected in kinds(heir, handle.id)


def test_a_stale_owner_that_parks_leaves_the_row_of_the_run_alone(place: Place) -> None:
    """Rule 19: a projection rides on an event that won, or is not written."""
    parking, taken = threading.Event(), threading.Event()

    def hold(append: Real, batch: Sequence[Append]) -> list[Outcome]:
        if any(isinstance(events_of(one)[-1], RunWaiting) for one in batch) and not parking.is_set():
            parking.set()
            assert taken.wait(PATIENCE_S)
        return append(batch)

    with place.engine() as new, meddled(place, hold) as old:
        handle = old.start(listen, 1)
        assert parking.wait(PATIENCE_S)
        declare_dead(place, handle.info().owner)
        place.until(lambda: handle.status() is RunStatus.WAITING)
        standing = new.get(handle.id).info()
        taken.set()
        place.until(lambda: old.stats().active == 0)
        assert new.get(handle.id).info() == standing
        new.signal(handle.id, "word", "come")
        assert new.get(handle.id).result(PATIENCE_S) == ["come"]


@workflow(name="protocol.walk_and_listen")
def walk_and_listen() -> str:
    before = fluxo.now()
    enter(1)
    assert fluxo.now() >= before
    word = fluxo.wait_signal("word", str)
    assert fluxo.now() >= before
    return word


def test_recorded_time_never_runs_backwards_whatever_the_clocks_do(timed_place: Place) -> None:
    """Rule 20: neither when a clock is set back within an activation, nor when the next owner's clock is behind."""
    place, clock = timed_place, cast(HandClock, timed_place.clock)
    gate = Gate("me", shut=True)
    with place.engine(resources={"gate": gate}) as engine:
        handle = engine.start(walk_and_listen)
        assert gate.reached.wait(PATIENCE_S)
        clock.set_back(3600)
        gate.opened.set()
        place.until(lambda: handle.status() is RunStatus.WAITING)
    clock.set_back(3600)
    with place.engine(resources={"gate": gate}) as heir:
        heir.signal(handle.id, "word", "come")
        assert heir.get(handle.id).result(PATIENCE_S) == "come"
        times = [event.at_us for event in heir.history(handle.id)]
    assert times == sorted(times)
