"""
The rules of the log (PROTOCOL), seen through engines.

Owns: one test or more per rule, where a store's own tests do not show it already. Rules 1, 6 and 14 as promises of a
store alone are in the conformance suite, rule 11 is in the tests of the committer, rules 8, 17 and 21 are about what
does not exist yet. Races are not waited for: a meddler between engine and store acts at the very moment.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, cast

import pytest

import fluxo
from fluxo import (
    Engine,
    RunCancelledError,
    RunNotFoundError,
    RunStatus,
    StoreUnavailableError,
    UsageError,
    step,
    workflow,
)
from fluxo.codec.event import decode_event
from fluxo.codec.signal import encode_signal
from fluxo.ids import new_nonce
from fluxo.model.events import (
    Event,
    RunCancelled,
    RunClaimed,
    RunCompleted,
    RunReopened,
    RunStarted,
    RunWaiting,
    SignalReceived,
    SignalTimedOut,
    StepCompleted,
)
from fluxo.store import Append, Message, Outcome, Projection, Store, Unknown
from tests.e2e.places import PATIENCE_S, HandClock, Place

QUICK = timedelta(seconds=0.2)
"""A lease whose heartbeats come often; the live are not judged by it within one process."""

Real = Callable[[Sequence[Append]], list[Outcome]]
Meddling = Callable[[Real, Sequence[Append]], list[Outcome]]


class Meddler:
    """A store that hands each append to a test before (or instead of) the real one."""

    def __init__(self, real: Store, meddling: Meddling, *, deaf: bool = False) -> None:
        self._real = real
        self._meddling = meddling
        self._deaf = deaf

    def append(self, batch: Sequence[Append]) -> list[Outcome]:
        return self._meddling(self._real.append, batch)

    def wait(self, timeout_s: float) -> bool:
        return self._real.wait(timeout_s) and not self._deaf

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


class Gate:
    """A place in a step's body where a test holds it."""

    def __init__(self, who: str, *, shut: bool = False) -> None:
        self.who = who
        self.reached = threading.Event()
        self.opened = threading.Event()
        if not shut:
            self.opened.set()

    def enter(self) -> str:
        self.reached.set()
        assert self.opened.wait(PATIENCE_S)
        return self.who


@step(name="protocol.enter")
def enter(number: int) -> str:
    gate: Gate = fluxo.resource("gate")
    return gate.enter()


@step(name="protocol.stumble")
def stumble() -> str:
    trips: list[int] = fluxo.resource("trips")
    if trips:
        trips.pop()
        raise ValueError("stumbled")
    return "walked"


@workflow(name="protocol.doors")
def doors(count: int) -> list[str]:
    return [enter(number) for number in range(count)]


@workflow(name="protocol.adoors")
async def adoors(count: int) -> list[str]:
    return [await enter.aio(number) for number in range(count)]


@workflow(name="protocol.beside")
def beside(count: int) -> list[str]:
    return enter.map(range(count))


@workflow(name="protocol.walk")
def walk() -> str:
    return stumble()


@workflow(name="protocol.listen")
def listen(count: int) -> list[str]:
    return [fluxo.wait_signal("word", str) for _ in range(count)]


@workflow(name="protocol.alisten")
async def alisten(count: int) -> list[str]:
    return [await fluxo.aio.wait_signal("word", str) for _ in range(count)]


@workflow(name="protocol.patient")
def patient() -> str:
    try:
        return fluxo.wait_signal("word", str, timeout=10)
    except fluxo.SignalTimeoutError:
        return "too late"


@workflow(name="protocol.timers")
async def timers() -> None:
    import asyncio

    await asyncio.gather(fluxo.aio.sleep(7200), fluxo.aio.sleep(3600), fluxo.aio.wait_signal("word", timeout=5400))


def meddled(place: Place, meddling: Meddling, *, deaf: bool = False, **options: Any) -> Engine:
    store = cast(Store, Meddler(place.store(), meddling, deaf=deaf))
    return Engine(store, clock=place.clock, **options)


def plainly(append: Real, batch: Sequence[Append]) -> list[Outcome]:
    return append(batch)


def events_of(append: Append) -> list[Event]:
    return [decode_event(row[3]) for row in append.events]


def declare_dead(place: Place, owner: str | None) -> None:
    """What another worker does to one whose lease has run out."""
    assert owner is not None
    place.look().unregister(owner)


def kinds(engine: Engine, run_id: str) -> list[type]:
    return [type(event) for event in engine.history(run_id)]


@pytest.mark.parametrize("flow", [doors, adoors, beside], ids=["sync", "async", "parallel"])
def test_nothing_of_an_owner_is_written_once_its_run_was_taken_over(place: Place, flow: Any) -> None:
    """Rule 2: after a conflict everything queued for that activation is dead."""
    slow = Gate("old", shut=True)
    with (
        place.engine(resources={"gate": slow}) as old,
        place.engine(resources={"gate": Gate("new")}) as new,
    ):
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


def deliver_while_parking(place: Place) -> Meddling:
    """A signal that arrives after the owner has looked into the inbox, and before its parking is written."""
    done: list[bool] = []

    def meddling(append: Real, batch: Sequence[Append]) -> list[Outcome]:
        parking = [one for one in batch if isinstance(events_of(one)[-1], RunWaiting)]
        if parking and not done:
            done.append(True)
            run = place.look().find(_any_run()).runs[0]
            message = Message(run.namespace, run.run_id, "signal", "word", "key", encode_signal("come", "signal"))
            place.look().deliver([message])
        return append(batch)

    return meddling


def _any_run() -> Any:
    from fluxo.store import RunQuery

    return RunQuery("default")


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
        store = place.look()
        (worker,) = store.workers()
        run = store.get("default", handle.id)
        tail = store.tail(run.key) if run is not None else None
        assert run is not None
        assert tail is not None
        _own(store, run.key, tail, worker.worker_id)
        place.until(lambda: handle.info().owner is None)
        assert handle.status() is RunStatus.PENDING
    with place.engine(queues=("elsewhere",), resources={"gate": Gate("other")}) as other:
        assert other.get(handle.id).result(PATIENCE_S) == ["other"]


def _own(store: Store, key: int, tail: Any, worker_id: str) -> None:
    """A claim whose answer never reached its worker."""
    from fluxo.codec.event import chain, encode_event

    nonce = new_nonce()
    body = encode_event(RunClaimed(decode_event(tail[3]).at_us, worker_id, False))
    row = (tail[0] + 1, nonce, chain(tail[2], nonce, body), body)
    store.append([Append(key, tail[0], tail[2], [row], Projection(RunStatus.RUNNING, None, 0, worker_id, nonce))])


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
        started = handle.history()[0]
        assert parked.wake_at is not None
        assert timedelta(0) <= parked.wake_at - parked.created_at - timedelta(hours=1) < timedelta(seconds=PATIENCE_S)
        assert isinstance(started, RunStarted)
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
            place.until(lambda: handle.info().owner not in (first, None))
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


@workflow(name="protocol.walk_and_listen")
def walk_and_listen() -> str:
    before = fluxo.now()
    enter(1)
    assert fluxo.now() >= before
    word = fluxo.wait_signal("word", str)
    assert fluxo.now() >= before
    return word
