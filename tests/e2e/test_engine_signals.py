"""
Signals: kept until they are waited for, in order, once.

Owns: sending, waiting, deadlines, types and keys of signals. Must not know who else changes a run.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest

import fluxo
from fluxo import (
    EncodeError,
    LimitExceededError,
    RunBlockedError,
    RunFailedError,
    RunNotFoundError,
    Signal,
    SignalTimeoutError,
    UsageError,
    workflow,
)
from fluxo.model.events import SignalReceived
from tests.e2e.places import Facts, Place


@dataclass(frozen=True)
class Approval:
    by: str
    amount: Decimal


@workflow
def collect(names: list[str]) -> list[Any]:
    return [fluxo.wait_signal(name) for name in names]


@workflow
async def collect_later(names: list[str]) -> list[Any]:
    return [await fluxo.aio.wait_signal(name) for name in names]


@workflow
def approve(timeout: float | None = None) -> Approval:
    return fluxo.wait_signal("approval", Approval, timeout=timeout)


@workflow
async def approve_later(timeout: float | None = None) -> Approval:
    return await fluxo.aio.wait_signal("approval", Approval, timeout=timeout)


COLLECTS = pytest.mark.parametrize("flow", [collect, collect_later], ids=["sync", "async"])
APPROVES = pytest.mark.parametrize("flow", [approve, approve_later], ids=["sync", "async"])
YES = Approval("Ada", Decimal("9.50"))


@COLLECTS
def test_signals_of_one_name_come_in_the_order_they_were_sent(place: Place, flow: Any) -> None:
    with place.engine() as engine:
        handle = engine.start(flow, ["n"] * 5)
        for number in range(5):
            handle.signal("n", number)
        assert handle.result(timeout=10) == [0, 1, 2, 3, 4]


@COLLECTS
def test_a_signal_sent_before_its_wait_is_kept(place: Place, flow: Any) -> None:
    with place.engine() as engine:
        handle = engine.start(flow, ["first", "second"])
        handle.signal("second", 2)
        handle.signal("first", 1)
        assert handle.result(timeout=10) == [1, 2]


@COLLECTS
def test_a_signal_sent_before_any_worker_has_the_run_is_kept(place: Place, flow: Any) -> None:
    with place.engine(worker=False) as client:
        handle = client.start(flow.options(id="early"), ["n", "n"])
        handle.signal("n", "one")
        handle.signal("n", "two")
        assert handle.status() == "pending"
    with place.engine() as engine:
        assert engine.get("early").result(timeout=10) == ["one", "two"]


@COLLECTS
def test_a_signal_sent_while_no_worker_runs_is_kept(place: Place, flow: Any) -> None:
    facts = Facts()
    with place.engine(observers=[facts]) as engine:
        engine.start(flow.options(id="idle"), ["n"])
        facts.wait("run_waiting", "idle")
    with place.engine(worker=False) as client:
        client.signal("idle", "n", "while away")
    with place.engine() as engine:
        assert engine.get("idle").result(timeout=10) == ["while away"]


@COLLECTS
def test_a_signal_without_a_payload_is_none(place: Place, flow: Any) -> None:
    with place.engine() as engine:
        handle = engine.start(flow, ["go"])
        handle.signal("go")
        assert handle.result(timeout=10) == [None]


@APPROVES
def test_a_payload_comes_as_the_type_that_was_asked_for(place: Place, flow: Any) -> None:
    with place.engine() as engine:
        handle = engine.start(flow)
        handle.signal("approval", YES)
        assert handle.result(timeout=10) == YES


@pytest.mark.parametrize("payload", [True, 7, 1.5, "text", b"bytes", [1, "two"], {"a": 1}, Decimal("1.10"), None])
def test_plain_payloads_come_back_as_they_were(memory_place: Place, payload: Any) -> None:
    with memory_place.engine() as engine:
        handle = engine.start(collect, ["n"])
        handle.signal("n", payload)
        (came,) = handle.result(timeout=10)
    assert (came, type(came)) == (payload, type(payload))


@APPROVES
def test_a_payload_of_another_type_blocks_the_run_and_is_not_lost(place: Place, flow: Any) -> None:
    with place.engine() as engine:
        handle = engine.start(flow.options(id="typed"))
        handle.signal("approval", ["not", "an", "approval"])
        with pytest.raises(RunBlockedError, match=r"blocked \(undecodable\)") as blocked:
            handle.result(timeout=10)
        assert "signal 'approval'" in blocked.value.report
        assert handle.status() == "blocked"
        assert handle.info().reason == "undecodable"
        (received,) = [event for event in handle.history() if isinstance(event, SignalReceived)]
        assert b"an" in received.payload


def test_a_blocked_signal_is_read_again_once_the_type_is_right(place: Place) -> None:
    wanted: list[Any] = [int]

    @workflow
    def typed() -> Any:
        return fluxo.wait_signal("number", wanted[0])

    with place.engine() as engine:
        handle = engine.start(typed)
        handle.signal("number", "seven")
        with pytest.raises(RunBlockedError):
            handle.result(timeout=10)
        wanted[0] = str
        handle.resume()
        assert handle.result(timeout=10) == "seven"


@APPROVES
def test_no_signal_in_time_is_a_timeout(place: Place, flow: Any) -> None:
    message = r"signal approval did not arrive within 0\.01 s"
    with place.engine() as engine, pytest.raises(RunFailedError, match=message) as failed:
        engine.run(flow, 0.01)
    assert isinstance(failed.value.__cause__, SignalTimeoutError)
    assert isinstance(failed.value.__cause__, TimeoutError)


def test_a_workflow_may_go_on_without_the_signal(place: Place) -> None:
    @workflow
    def remind() -> list[str]:
        said = []
        try:
            fluxo.wait_signal("answer", timeout=0)
        except SignalTimeoutError:
            said.append("reminded")
        return [*said, fluxo.wait_signal("answer", str, timeout=3600)]

    with place.engine() as engine:
        handle = engine.start(remind)
        place.until(lambda: handle.status() == "waiting")
        handle.signal("answer", "yes")
        assert handle.result(timeout=10) == ["reminded", "yes"]


@APPROVES
def test_a_signal_delivered_before_the_deadline_wins_however_late_the_owner_wakes(
    timed_place: Place, flow: Any
) -> None:
    facts = Facts()
    with timed_place.engine(observers=[facts]) as engine:
        engine.start(flow.options(id="close"), 60.0)
        facts.wait("run_waiting", "close")
    timed_place.forward(60)
    with timed_place.engine(worker=False) as client:
        client.signal("close", "approval", YES)
    timed_place.forward(3600)
    with timed_place.engine() as later:
        assert later.get("close").result(timeout=10) == YES


@APPROVES
def test_a_signal_delivered_after_the_deadline_loses(timed_place: Place, flow: Any) -> None:
    facts = Facts()
    with timed_place.engine(observers=[facts]) as engine:
        engine.start(flow.options(id="late"), 60.0)
        facts.wait("run_waiting", "late")
    timed_place.forward(60.000001)
    with timed_place.engine(worker=False) as client:
        client.signal("late", "approval", YES)
    with timed_place.engine() as later, pytest.raises(RunFailedError, match="did not arrive within 60 s"):
        later.get("late").result(timeout=10)


def test_a_signal_that_lost_against_the_deadline_is_there_for_the_next_wait(timed_place: Place) -> None:
    @workflow
    def twice() -> tuple[str, Any]:
        try:
            return "first", fluxo.wait_signal("n", timeout=60)
        except SignalTimeoutError:
            return "second", fluxo.wait_signal("n")

    facts = Facts()
    with timed_place.engine(observers=[facts]) as engine:
        engine.start(twice.options(id="twice"))
        facts.wait("run_waiting", "twice")
    timed_place.forward(61)
    with timed_place.engine(worker=False) as client:
        client.signal("twice", "n", 1)
    with timed_place.engine() as later:
        assert later.get("twice").result(timeout=10) == ("second", 1)


def test_a_key_makes_a_signal_idempotent(place: Place) -> None:
    with place.engine() as engine:
        handle = engine.start(collect, ["n", "n"])
        for _ in range(3):
            handle.signal("n", "once", key="order-1")
        handle.signal("n", "other", key="order-2")
        assert handle.result(timeout=10) == ["once", "other"]


def test_a_key_that_was_delivered_is_fine_also_after_the_end(place: Place) -> None:
    with place.engine() as engine:
        handle = engine.start(collect, ["n"])
        handle.signal("n", 1, key="known")
        assert handle.result(timeout=10) == [1]
        handle.signal("n", 1, key="known")
        with pytest.raises(UsageError, match="has ended: it can no longer receive signal 'n'"):
            handle.signal("n", 1, key="unknown")
        assert len([event for event in handle.history() if isinstance(event, SignalReceived)]) == 1


def test_a_signal_to_a_run_that_has_ended_is_refused(place: Place) -> None:
    with place.engine() as engine:
        handle = engine.start(collect, [])
        handle.result(timeout=10)
        before = handle.history()
        with pytest.raises(UsageError, match=f"run '{handle.id}' has ended"):
            handle.signal("n")
        assert handle.history() == before


def test_a_signal_to_nobody_is_refused(place: Place) -> None:
    with place.engine() as engine, pytest.raises(RunNotFoundError, match="no run 'nobody'"):
        engine.signal("nobody", "n")


def test_a_payload_that_is_not_data_is_refused_and_nothing_is_sent(place: Place) -> None:
    with place.engine() as engine:
        handle = engine.start(collect, ["n"])
        with pytest.raises(EncodeError, match="signal 'n'"):
            handle.signal("n", object())
        with pytest.raises(LimitExceededError):
            handle.signal("n", "x" * 3_000_000)
        assert engine.stats().messages_unconsumed == 0
        handle.signal("n", "fine")
        assert handle.result(timeout=10) == ["fine"]


def test_a_full_inbox_refuses_more(memory_place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fluxo.stores.memory.INBOX_MESSAGES_MAX", 2)
    with memory_place.engine(worker=False) as client:
        handle = client.start(collect, ["n"])
        handle.signal("n", 1)
        handle.signal("n", 2)
        with pytest.raises(LimitExceededError, match="let the run consume its signals first"):
            handle.signal("n", 3)


@pytest.mark.parametrize("name", ["", " n", "n\n", "x" * 256])
def test_names_that_cannot_serve_are_refused_at_both_ends(memory_place: Place, name: str) -> None:
    with memory_place.engine() as engine:
        handle = engine.start(collect, [name])
        with pytest.raises(UsageError, match="signal name"):
            handle.signal(name)
        with pytest.raises(RunFailedError, match="signal name"):
            handle.result(timeout=10)


@pytest.mark.parametrize("colour", ["sync", "async"])
def test_whichever_signal_comes_first_is_taken(place: Place, colour: str) -> None:
    @workflow
    def decide() -> list[Signal[Any]]:
        return [fluxo.wait_any_signal("yes", "no"), fluxo.wait_any_signal("yes", "no")]

    @workflow
    async def decide_later() -> list[Signal[Any]]:
        return [await fluxo.aio.wait_any_signal("yes", "no"), await fluxo.aio.wait_any_signal("yes", "no")]

    with place.engine() as engine:
        handle = engine.start(decide if colour == "sync" else decide_later)
        handle.signal("maybe", 0)
        handle.signal("no", 1)
        handle.signal("yes", 2)
        assert handle.result(timeout=10) == [Signal("no", 1), Signal("yes", 2)]


def test_waiting_for_none_of_any_signals_is_refused(memory_place: Place) -> None:
    @workflow
    def decide() -> None:
        fluxo.wait_any_signal()

    with memory_place.engine() as engine, pytest.raises(RunFailedError, match="at least one name"):
        engine.run(decide)


def test_parallel_waits_for_one_name_are_served_in_the_order_they_were_issued(place: Place) -> None:
    @workflow
    async def compete() -> list[Any]:
        return await asyncio.gather(*(fluxo.aio.wait_signal("n") for _ in range(3)))

    with place.engine() as engine:
        handle = engine.start(compete)
        for number in range(3):
            handle.signal("n", number)
        assert handle.result(timeout=10) == [0, 1, 2]


def test_a_wait_that_was_given_up_takes_no_signal(place: Place) -> None:
    @workflow
    async def give_up() -> Any:
        first = asyncio.create_task(fluxo.aio.wait_signal("n"))
        await asyncio.sleep(0)
        first.cancel()
        return await fluxo.aio.wait_signal("n")

    with place.engine() as engine:
        handle = engine.start(give_up)
        handle.signal("n", "for the second")
        assert handle.result(timeout=10) == "for the second"


@APPROVES
def test_a_signal_that_is_there_already_beats_a_timeout_of_zero(place: Place, flow: Any) -> None:
    with place.engine(worker=False) as client:
        client.start(flow.options(id="quick"), 0)
        client.signal("quick", "approval", YES)
    with place.engine() as engine:
        assert engine.get("quick").result(timeout=10) == YES
