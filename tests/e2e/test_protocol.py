"""
One linear history: rules 1 to 6 of the log (PROTOCOL, part A), seen through engines.

Owns: one test or more per rule, where a store's own tests do not show it already; rules 1 and 6 as promises of a
store alone are in the conformance suite. Races are not waited for: a meddler between engine and store acts at the very
moment.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

import fluxo
from fluxo import RunCancelledError, RunNotFoundError, RunStatus, StoreUnavailableError, UsageError, step, workflow
from fluxo.limits import CRASH_LOOP_TAKEOVERS_MAX
from fluxo.model.events import (
    RunBlocked,
    RunCancelled,
    RunClaimed,
    RunCompleted,
    RunReopened,
    RunStarted,
    StepCompleted,
)
from fluxo.store import Append, Outcome, Unknown
from tests.e2e.meddling import (
    QUICK,
    Gate,
    Real,
    adoors,
    beside,
    claim_by_hand,
    declare_dead,
    doors,
    events_of,
    kinds,
    meddled,
)
from tests.e2e.places import PATIENCE_S, Place


@step(name="protocol.stumble")
def stumble() -> str:
    trips: list[int] = fluxo.resource("trips")
    if trips:
        trips.pop()
        raise ValueError("stumbled")
    return "walked"


@workflow(name="protocol.walk")
def walk() -> str:
    return stumble()


@pytest.mark.parametrize("flow", [doors, adoors, beside], ids=["sync", "async", "parallel"])
def test_nothing_of_an_owner_is_written_once_its_run_was_taken_over(place: Place, flow: Any) -> None:
    """Rule 2: after a conflict everything queued for that activation is dead."""
    slow = Gate("old", shut=True)
    with place.engine(resources={"gate": slow}) as old, place.engine(resources={"gate": Gate("new")}) as new:
        handle = old.start(flow, 3)
        assert slow.reached.wait(PATIENCE_S)
        declare_dead(place, handle.info().owner)
        place.until(lambda: handle.status() is RunStatus.COMPLETED)
        log = new.history(handle.id)
        slow.opened.set()
        place.until(lambda: old.stats().active == 0)
        assert new.history(handle.id) == log
        assert handle.result(PATIENCE_S) == ["new"] * 3
        assert new.get(handle.id).result(PATIENCE_S) == ["new"] * 3


def test_a_claim_behind_the_end_of_a_run_is_refused(place: Place) -> None:
    """Rule 3: a claim goes to the tail that was inspected; if the run has ended meanwhile, it loses."""
    with place.engine(worker=False) as client:
        handle = client.start(doors, 1)

        def end_first(append: Real, batch: Sequence[Append]) -> list[Outcome]:
            client.cancel(handle.id, force=True)
            return append(batch)

        with meddled(place, end_first, resources={"gate": Gate("late")}) as late:
            assert late.recover() == 0
            assert late.stats().active == 0
        assert kinds(client, handle.id) == [RunStarted, RunCancelled]


@pytest.mark.parametrize("flow", [doors, adoors], ids=["sync", "async"])
def test_a_run_that_another_finished_after_it_was_seen_as_due_is_left_alone(place: Place, flow: Any) -> None:
    """Rule 3: the tail counts only if the run is still what made it due; an end is a tail, too."""
    with place.engine(worker=False) as client:
        handle = client.start(flow, 1)
        finished: list[bool] = []

        def finish_first() -> None:
            if not finished:
                finished.append(True)
                with place.engine(resources={"gate": Gate("quick")}) as quick:
                    assert quick.get(handle.id).result(PATIENCE_S) == ["quick"]

        with meddled(place, before_tail=finish_first, resources={"gate": Gate("late")}) as late:
            assert late.get(handle.id).result(PATIENCE_S) == ["quick"]
            assert late.stats().active == 0
        assert finished
        assert kinds(client, handle.id) == [RunStarted, RunClaimed, StepCompleted, RunCompleted]


def test_a_run_that_another_took_after_it_was_seen_as_due_is_not_taken_from_it(place: Place) -> None:
    """Rule 3: or the living would be robbed by whoever looked a moment earlier."""
    gate = Gate("quick", shut=True)
    with place.engine(worker=False) as client, place.engine(resources={"gate": gate}, queues=("other",)) as quick:
        handle = client.start(doors.options(queue="other"), 1)

        def take_first() -> None:
            assert gate.reached.wait(PATIENCE_S)

        with meddled(place, before_tail=take_first, resources={"gate": Gate("late")}, queues=("other",)) as late:
            assert late.recover() == 0
            gate.opened.set()
            assert quick.get(handle.id).result(PATIENCE_S) == ["quick"]
        assert kinds(client, handle.id) == [RunStarted, RunClaimed, StepCompleted, RunCompleted]


@pytest.mark.parametrize("flow", [doors, adoors], ids=["sync", "async"])
def test_a_claimer_that_is_overtaken_before_it_reads_the_log_writes_nothing(place: Place, flow: Any) -> None:
    """Rule 3: what a claim fences is fenced for the claimer as well, once another claim follows its own."""
    with place.engine(worker=False) as client:
        handle = client.start(flow, 2)
        overtaken: list[bool] = []

        def be_overtaken(append: Real, batch: Sequence[Append]) -> list[Outcome]:
            outcomes = append(batch)
            if not overtaken and any(isinstance(event, RunClaimed) for event in events_of(batch[0])):
                overtaken.append(True)
                declare_dead(place, handle.info().owner)
                with place.engine(resources={"gate": Gate("second")}) as second:
                    assert second.get(handle.id).result(PATIENCE_S) == ["second"] * 2
            return outcomes

        with meddled(place, be_overtaken, resources={"gate": Gate("first")}) as first:
            assert first.get(handle.id).result(PATIENCE_S) == ["second"] * 2
            place.until(lambda: first.stats().active == 0)
        assert overtaken
        log = [RunStarted, RunClaimed, RunClaimed, StepCompleted, StepCompleted, RunCompleted]
        assert kinds(client, handle.id) == log


@pytest.mark.parametrize("flow", [doors, adoors, beside], ids=["sync", "async", "parallel"])
@pytest.mark.parametrize("written", [True, False], ids=["written", "lost"])
def test_an_append_of_unknown_outcome_is_sent_again_unchanged_until_it_is_known(
    place: Place, flow: Any, written: bool
) -> None:
    """Rule 4: unknown is resolved by the identical append, whether or not the first one had been written."""
    sent: dict[tuple[int, int], list[Append]] = {}

    def doubt(append: Real, batch: Sequence[Append]) -> list[Outcome]:
        fresh = [one for one in batch if one.new is None and (one.key, one.prev_seq) not in sent]
        for one in batch:
            if one.new is None:
                sent.setdefault((one.key, one.prev_seq), []).append(one)
        if not fresh:
            return append(batch)
        if written:
            append(batch)
        return [Unknown("the connection was lost")] * len(batch)

    with meddled(place, doubt, resources={"gate": Gate("me")}) as engine:
        handle = engine.start(flow, 3)
        assert handle.result(PATIENCE_S) == ["me"] * 3
        assert kinds(engine, handle.id) == [RunStarted, *[StepCompleted] * 3, RunCompleted]
    assert sent
    for tries in sent.values():
        assert len(tries) > 1
        assert all(one == tries[0] for one in tries)


@pytest.mark.parametrize("written", [True, False], ids=["written", "lost"])
def test_a_start_of_unknown_outcome_is_repeated_with_its_id_and_is_one_run(place: Place, written: bool) -> None:
    """Rule 4: the caller is told that it is not known, and that the same id settles it."""
    first = [True]

    def doubt(append: Real, batch: Sequence[Append]) -> list[Outcome]:
        if batch[0].new is not None and first:
            first.clear()
            if written:
                append(batch)
            return [Unknown("the connection was lost")]
        return append(batch)

    with meddled(place, doubt, lease=QUICK, resources={"gate": Gate("me")}) as engine:
        with pytest.raises(StoreUnavailableError, match="start it again with this id"):
            engine.start(doors.options(id="once"), 1)
        assert engine.start(doors.options(id="once"), 1).result(PATIENCE_S) == ["me"]
        assert kinds(engine, "once").count(RunStarted) == 1
        assert len(engine.list().runs) == 1


def test_of_two_resumes_one_wins_and_the_other_is_told_how_the_run_stands(place: Place) -> None:
    """Rule 5: a reopening goes to exactly the seq behind the end it read."""
    trips = [1]
    with place.engine(resources={"trips": trips}) as other:
        handle = other.start(walk)
        assert handle.wait(PATIENCE_S)
        assert handle.status() is RunStatus.FAILED

        def resume_first(append: Real, batch: Sequence[Append]) -> list[Outcome]:
            if handle.status() is RunStatus.FAILED:
                handle.resume()
                assert handle.result(PATIENCE_S) == "walked"
            return append(batch)

        with meddled(place, resume_first, worker=False) as late, pytest.raises(UsageError, match="is completed"):
            late.resume(handle.id)
        assert kinds(other, handle.id).count(RunReopened) == 1
        assert handle.result(PATIENCE_S) == "walked"


@pytest.mark.parametrize("moment", ["before the tail is read", "before it is written"])
def test_a_run_that_ended_while_it_was_about_to_be_blocked_stays_ended(place: Place, moment: str) -> None:
    """Rule 5: also the event that blocks a run goes behind the tail that gave the reason, or nowhere."""
    with place.engine(worker=False) as client:
        handle = client.start(doors, 1)
        for number in range(1 + CRASH_LOOP_TAKEOVERS_MAX):
            claim_by_hand(place, handle.id, f"dead worker {number}", unclean=number > 0)

        def end_at(now: str) -> None:
            if now == moment:
                client.cancel(handle.id, force=True)

        def end_first(append: Real, batch: Sequence[Append]) -> list[Outcome]:
            assert any(isinstance(event, RunBlocked) for event in events_of(batch[0]))
            end_at("before it is written")
            return append(batch)

        with meddled(place, end_first, before_tail=lambda: end_at("before the tail is read")) as late:
            assert late.recover() == 0
        assert kinds(client, handle.id)[-1] is RunCancelled
        assert kinds(client, handle.id).count(RunClaimed) == 1 + CRASH_LOOP_TAKEOVERS_MAX


@pytest.mark.parametrize("flow", [doors, adoors, beside], ids=["sync", "async", "parallel"])
def test_a_forced_cancel_fences_the_owner(place: Place, flow: Any) -> None:
    """Rule 5: it is an append at the inspected tail like any other, and the last one."""
    gate = Gate("owner", shut=True)
    with place.engine(resources={"gate": gate}) as owner, place.engine(worker=False) as client:
        handle = owner.start(flow, 3)
        assert gate.reached.wait(PATIENCE_S)
        assert client.cancel(handle.id, force=True)
        gate.opened.set()
        place.until(lambda: owner.stats().active == 0)
        assert kinds(client, handle.id) == [RunStarted, RunCancelled]
        with pytest.raises(RunCancelledError):
            handle.result(PATIENCE_S)


def test_an_owner_cannot_write_into_a_run_that_was_purged(place: Place) -> None:
    """Rule 6: neither into what is gone, nor into a new run under the old id."""
    gate = Gate("zombie", shut=True)
    with place.engine(resources={"gate": gate}) as owner, place.engine(worker=False) as client:
        owner.start(doors.options(id="again"), 2)
        assert gate.reached.wait(PATIENCE_S)
        client.cancel("again", force=True)
        place.until(lambda: client.purge(older_than=0) == 1)
        with pytest.raises(RunNotFoundError):
            client.get("again")
        anew = client.start(doors.options(id="again", queue="elsewhere"), 2)
        gate.opened.set()
        place.until(lambda: owner.stats().active == 0)
        assert kinds(client, "again") == [RunStarted]
        assert anew.status() is RunStatus.PENDING
