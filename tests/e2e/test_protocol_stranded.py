"""
No run stranded: rules 7 to 14 of the log (PROTOCOL, part B), seen through engines.

Owns: one test or more per rule. Rule 8 is about child runs, which do not exist yet; rule 11 is in the tests of the
committer, rule 14 in the conformance suite, rule 13 with real processes in tests/crash.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

import fluxo
from fluxo import Engine, Handle, RunStatus, workflow
from fluxo.clock import from_us
from fluxo.codec.signal import encode_signal
from fluxo.limits import (
    CRASH_LOOP_ALONE_FROM,
    CRASH_LOOP_BACKOFF_S,
    CRASH_LOOP_PATIENCE_S,
    CRASH_LOOP_TAKEOVERS_MAX,
)
from fluxo.model.events import RunClaimed, RunWaiting
from fluxo.store import Append, Message, Outcome, RunQuery
from tests.e2e.meddling import (
    QUICK,
    Gate,
    Meddling,
    Real,
    alisten,
    claim_by_hand,
    declare_dead,
    doors,
    events_of,
    kinds,
    listen,
    meddled,
)
from tests.e2e.places import PATIENCE_S, Place


@workflow(name="protocol.timers")
async def timers() -> None:
    await asyncio.gather(fluxo.aio.sleep(7200), fluxo.aio.sleep(3600), fluxo.aio.wait_signal("word", timeout=5400))


def deliver_while_parking(place: Place) -> Meddling:
    """A signal that arrives after the owner has looked into the inbox, and before its parking is written."""
    done: list[bool] = []

    def meddling(append: Real, batch: Sequence[Append]) -> list[Outcome]:
        parking = [one for one in batch if isinstance(events_of(one)[-1], RunWaiting)]
        if parking and not done:
            done.append(True)
            run = place.look().find(RunQuery("default")).runs[0]
            message = Message(run.namespace, run.run_id, "signal", "word", "key", encode_signal("come", "signal"))
            place.look().deliver([message])
        return append(batch)

    return meddling


@pytest.mark.parametrize("flow", [listen, alisten], ids=["sync", "async"])
@pytest.mark.parametrize("deaf", [False, True], ids=["hinted", "no-hints"])
def test_a_signal_that_arrives_while_its_run_parks_wakes_it(place: Place, flow: Any, deaf: bool) -> None:
    """Rule 7: deliverer and owner write different counters, so that neither can hide what the other did."""
    with meddled(place, deliver_while_parking(place), deaf=deaf, lease=QUICK) as engine:
        assert engine.start(flow, 1).result(PATIENCE_S) == ["come"]


@pytest.mark.parametrize("flow", [listen, alisten], ids=["sync", "async"])
def test_a_signal_that_arrives_while_its_run_parks_makes_it_due_for_the_next_owner(place: Place, flow: Any) -> None:
    """Rule 7: also when the one that parked it never looks again."""
    with meddled(place, deliver_while_parking(place), deaf=True) as engine:
        handle = engine.start(flow, 2)
        place.until(lambda: handle.status() is RunStatus.WAITING)
    with place.engine() as heir:
        heir.signal(handle.id, "word", "again")
        assert heir.get(handle.id).result(PATIENCE_S) == ["come", "again"]


def test_a_run_that_the_store_holds_for_a_worker_and_its_memory_does_not_is_found_again(place: Place) -> None:
    """Rule 9: each heartbeat tells the worker what it owns; what it does not know of is released."""
    with place.engine(lease=QUICK, resources={"gate": Gate("me")}) as engine, place.engine(worker=False) as client:
        owner = engine.start(doors, 1)
        owner.result(PATIENCE_S)
        handle = client.start(doors.options(queue="elsewhere"), 1)
        (worker,) = place.look().workers()
        claim_by_hand(place, handle.id, worker.worker_id)
        place.until(lambda: handle.info().owner is None)
        assert handle.status() is RunStatus.PENDING
    with place.engine(queues=("elsewhere",), resources={"gate": Gate("other")}) as other:
        assert other.get(handle.id).result(PATIENCE_S) == ["other"]


def test_a_worker_that_was_declared_dead_drops_its_runs_and_starts_over_under_a_new_name(place: Place) -> None:
    """Rule 10: a heartbeat that moves nothing means that others may have everything already."""
    gate = Gate("me", shut=True)
    with place.engine(lease=QUICK, resources={"gate": gate}) as engine:
        handle = engine.start(doors, 2)
        assert gate.reached.wait(PATIENCE_S)
        before = handle.info().owner
        declare_dead(place, before)
        place.until(lambda: len(place.look().workers()) == 1)
        gate.opened.set()
        assert handle.result(PATIENCE_S) == ["me"] * 2
        (claim,) = [event for event in handle.history() if isinstance(event, RunClaimed)]
        assert claim.worker not in ("", before)
        assert [worker.worker_id for worker in place.look().workers()] == [claim.worker]


def test_parking_and_handing_back_say_when_the_earliest_timer_is_due(place: Place) -> None:
    """Rule 12: in the same transaction, so that whoever looks next knows when to wake the run."""
    with place.engine() as engine:
        handle = engine.start(timers)
        place.until(lambda: handle.status() is RunStatus.WAITING)
        parked = handle.info()
        assert parked.wake_at == from_us(handle.history()[0].at_us) + timedelta(hours=1)
    with place.engine(worker=False) as client:
        released = client.get(handle.id).info()
        assert released.owner is None
        assert released.status is RunStatus.WAITING
        assert released.wake_at == parked.wake_at


@pytest.mark.parametrize("flow", [listen, alisten], ids=["sync", "async"])
def test_an_owner_that_was_replaced_hands_nothing_back(place: Place, flow: Any) -> None:
    """Rules 12 and 19: what an old owner writes about a run depends on its nonce, and changes nothing."""
    with place.engine() as new:
        with place.engine() as old:
            handle = old.start(flow, 2)
            place.until(lambda: handle.status() is RunStatus.WAITING)
            first = handle.info().owner
            declare_dead(place, first)
            place.until(lambda: handle.info().owner not in (first, None) and handle.status() is RunStatus.WAITING)
            second = handle.info()
        assert new.get(handle.id).info() == second
        new.signal(handle.id, "word", "one")
        new.signal(handle.id, "word", "two")
        assert new.get(handle.id).result(PATIENCE_S) == ["one", "two"]


def test_only_the_takeover_of_a_run_that_was_executing_counts_as_a_crash(place: Place) -> None:
    """Rule 13: a run that merely waited when its worker died has not killed it."""
    with place.engine() as new, place.engine() as old:
        handle = old.start(listen, 1)
        place.until(lambda: handle.status() is RunStatus.WAITING)
        declare_dead(place, handle.info().owner)
        place.until(lambda: RunClaimed in kinds(new, handle.id))
        new.signal(handle.id, "word", "come")
        assert new.get(handle.id).result(PATIENCE_S) == ["come"]
        assert [event.unclean for event in new.history(handle.id) if isinstance(event, RunClaimed)] == [False]


def suspect(place: Place, client: Engine, strikes: int, **options: Any) -> Handle[list[str]]:
    """A run whose last workers died while executing it, without an event between."""
    handle = client.start(doors.options(**options), 1)
    for number in range(strikes):
        claim_by_hand(place, handle.id, f"dead worker {number}", unclean=number > 0)
    return handle


@pytest.mark.parametrize("strikes", range(CRASH_LOOP_ALONE_FROM, CRASH_LOOP_TAKEOVERS_MAX + 1))
def test_a_run_whose_workers_keep_dying_rests_twice_as_long_each_time(timed_place: Place, strikes: int) -> None:
    """Rule 13: the back-off is counted from when the engine met it, and nothing is claimed before it is over."""
    place = timed_place
    with place.engine(worker=False) as client:
        handle = suspect(place, client, strikes)
        with place.engine(resources={"gate": Gate("me")}) as engine:
            place.forward(0.99 * rest_s(strikes))
            assert engine.recover() == 0
            assert kinds(client, handle.id).count(RunClaimed) == strikes
            place.forward(0.02 * rest_s(strikes))
            assert handle.result(PATIENCE_S) == ["me"]


def test_a_death_elsewhere_prolongs_the_rest_here(timed_place: Place) -> None:
    """Rule 13: or a run that kills its workers would go through all of them without a pause."""
    place, strikes = timed_place, CRASH_LOOP_ALONE_FROM
    with place.engine(worker=False) as client:
        handle = suspect(place, client, strikes)
        with place.engine(resources={"gate": Gate("me")}) as engine:
            claim_by_hand(place, handle.id, "dead worker elsewhere", unclean=True)
            assert engine.recover() == 0
            place.forward(1.01 * rest_s(strikes))
            assert engine.recover() == 0
            place.forward(1.01 * rest_s(strikes + 1))
            assert handle.result(PATIENCE_S) == ["me"]


def test_a_suspect_begins_when_nothing_else_executes_and_nothing_else_begins_meanwhile(timed_place: Place) -> None:
    """Rule 13: so that what it may do to its process is done to nobody else."""
    place, gate = timed_place, Gate("me", shut=True)
    with place.engine(worker=False) as client:
        handle = suspect(place, client, CRASH_LOOP_ALONE_FROM)
        with place.engine(resources={"gate": gate}) as engine:
            busy = engine.start(doors, 1)
            assert gate.reached.wait(PATIENCE_S)
            place.forward(CRASH_LOOP_PATIENCE_S / 2)
            assert engine.recover() == 0
            busy_may_go, alone = gate.opened, Gate("me", shut=True)
            gate.reached, gate.opened = alone.reached, alone.opened
            busy_may_go.set()
            assert busy.result(PATIENCE_S) == ["me"]

            assert alone.reached.wait(PATIENCE_S)
            after = client.start(doors, 1)
            assert engine.recover() == 0
            assert after.status() is RunStatus.PENDING
            alone.opened.set()
            assert handle.result(PATIENCE_S) == ["me"]
            assert after.result(PATIENCE_S) == ["me"]


def test_a_suspect_does_not_wait_for_a_quiet_moment_for_ever(timed_place: Place) -> None:
    """Rule 13: no run is stranded behind an engine that is never idle."""
    place, gate = timed_place, Gate("me", shut=True)
    with place.engine(worker=False) as client:
        handle = suspect(place, client, CRASH_LOOP_ALONE_FROM)
        with place.engine(resources={"gate": gate}) as engine:
            busy = engine.start(doors, 1)
            assert gate.reached.wait(PATIENCE_S)
            place.forward(2 * CRASH_LOOP_PATIENCE_S)
            place.until(lambda: handle.info().owner == busy.info().owner)
            gate.opened.set()
            assert handle.result(PATIENCE_S) == ["me"]


def rest_s(strikes: int) -> float:
    return CRASH_LOOP_BACKOFF_S * 2.0 ** (strikes - CRASH_LOOP_ALONE_FROM)
