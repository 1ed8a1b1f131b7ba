"""
Several engines over one store: clients, queues, takeovers, lost heartbeats, crash loops.

Owns: who executes a run. Must not know processes: here all engines live in one (`test_processes.py` has several).
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

import fluxo
from fluxo import RunBlockedError, RunStatus, limits, step, workflow
from fluxo.authoring import registry
from fluxo.model.events import RunClaimed, StepCompleted
from fluxo.store import Store
from tests.e2e.places import Facts, Place


@step
def add(number: int) -> int:
    return number + 1


@workflow
def add_two(number: int) -> int:
    return add(add(number))


@workflow
async def add_two_later(number: int) -> int:
    return await add.aio(await add.aio(number))


@workflow
def wait_for_go() -> str:
    return fluxo.wait_signal("go", str)


@workflow
async def wait_for_go_later() -> str:
    return await fluxo.aio.wait_signal("go", str)


class DeafStore:
    """A store whose hints get lost."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._nudged = threading.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def nudge(self) -> None:
        self._nudged.set()

    def wait(self, timeout_s: float) -> bool:
        self._nudged.wait(timeout_s)
        return False


class Hanging:
    """A step that hangs while `hangs` is set, and what is needed to let it go."""

    def __init__(self) -> None:
        self.hangs = True
        self.started = threading.Event()
        self.let_go = threading.Event()
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        self.started.set()
        if self.hangs:
            self.let_go.wait(20)
        return "done"


@pytest.fixture
def hanging() -> Iterator[Hanging]:
    hanging = Hanging()
    yield hanging
    hanging.let_go.set()


def flow_that_hangs(hanging: Hanging) -> fluxo.Workflow[[], str]:
    @step
    def hang() -> str:
        return hanging()

    @workflow
    def hangs() -> str:
        return hang()

    return hangs


def crash(place: Place, hanging: Hanging, **options: Any) -> None:
    """An engine takes the run, is killed while it executes the step, and comes no further."""
    hanging.started.clear()
    engine = place.engine(**options)
    with engine:
        assert hanging.started.wait(10)
        engine.close(drain=False)


def test_a_client_starts_and_a_worker_executes(place: Place) -> None:
    with place.engine(worker=False) as client, place.engine() as worker:
        handles = [client.start(flow, 1) for flow in (add_two, add_two_later)]
        assert [handle.result(timeout=10) for handle in handles] == [3, 3]
        assert client.run(add_two, 5) == 7
        assert client.recover() == 0
        assert (client.stats().active, client.stats().workers) == (0, 1)
        assert worker.stats().runs["completed"] == 3


def test_a_client_without_a_worker_leaves_the_run_pending(place: Place) -> None:
    with place.engine(worker=False) as client:
        handle = client.start(add_two.options(id="later"), 1)
        assert not handle.wait(timeout=0.05)
        assert handle.status() is RunStatus.PENDING
    with place.engine() as worker:
        assert worker.get("later").result(timeout=10) == 3


def test_a_client_learns_of_an_end_although_no_hint_reaches_it(memory_place: Place) -> None:
    deaf = fluxo.Engine(DeafStore(memory_place.store()), worker=False, lease=timedelta(seconds=0.2))
    with deaf, memory_place.engine() as worker:
        handle = deaf.start(wait_for_go)
        memory_place.until(lambda: handle.status() is RunStatus.WAITING)
        worker.signal(handle.id, "go", "on")
        assert handle.result(timeout=10) == "on"


def test_two_workers_share_the_runs_and_none_executes_twice(place: Place) -> None:
    ran: list[int] = []

    @step
    def note(number: int) -> int:
        ran.append(number)
        return number

    @workflow
    def noted(number: int) -> int:
        return note(number)

    with place.engine(worker=False) as client, place.engine(), place.engine():
        handles = [client.start(noted, number) for number in range(30)]
        assert [handle.result(timeout=10) for handle in handles] == list(range(30))
    assert sorted(ran) == list(range(30))


def test_a_run_waits_for_a_worker_of_its_queue(place: Place) -> None:
    with place.engine() as engine:
        handle = engine.start(add_two.options(queue="vip"), 1)
        assert not handle.wait(timeout=0.05)
        assert (handle.status(), handle.info().queue) == (RunStatus.PENDING, "vip")
        with place.engine(queues=("vip",)) as vip:
            assert handle.result(timeout=10) == 3
            left = vip.start(add_two, 5)
            assert left.result(timeout=10) == 7
            claims = [event for event in left.history() if isinstance(event, RunClaimed)]
            assert len(claims) == 1


def test_recover_takes_what_a_dead_worker_left(place: Place, hanging: Hanging) -> None:
    flow = flow_that_hangs(hanging)
    dead = place.engine()
    dead.start(flow.options(id="orphan"))
    assert hanging.started.wait(10)
    dead.close(drain=False)
    hanging.hangs = False
    with place.engine() as engine:
        assert engine.get("orphan").result(timeout=10) == "done"
        (claim,) = [event for event in engine.history("orphan") if isinstance(event, RunClaimed)]
    assert claim.unclean
    assert hanging.calls == 2


def test_recover_never_takes_from_the_living(place: Place, hanging: Hanging) -> None:
    with place.engine() as owner:
        handle = owner.start(flow_that_hangs(hanging))
        assert hanging.started.wait(10)
        with place.engine() as other:
            assert other.recover() == 0
        hanging.let_go.set()
        assert handle.result(timeout=10) == "done"
        assert not [event for event in handle.history() if isinstance(event, RunClaimed)]
    assert hanging.calls == 1


def test_what_a_dead_worker_still_brings_is_refused(place: Place, hanging: Hanging) -> None:
    flow = flow_that_hangs(hanging)
    dead = place.engine()
    dead.start(flow.options(id="orphan"))
    assert hanging.started.wait(10)
    dead.close(drain=False)
    hanging.hangs = False
    with place.engine() as engine:
        assert engine.get("orphan").result(timeout=10) == "done"
        before = engine.history("orphan")
        hanging.let_go.set()
        place.until(lambda: dead._node.worker.active == {})
        assert engine.history("orphan") == before
        assert len([event for event in before if isinstance(event, StepCompleted)]) == 1


@pytest.mark.parametrize("flow", [wait_for_go, wait_for_go_later], ids=["sync", "async"])
def test_a_worker_declared_dead_drops_its_runs_and_takes_them_anew(
    place: Place, flow: Any, caplog: pytest.LogCaptureFixture
) -> None:
    facts = Facts()
    with place.engine(lease=timedelta(seconds=0.2), observers=[facts]) as engine:
        handle = engine.start(flow)
        facts.wait("run_waiting", handle.id)
        owner = handle.info().owner
        assert owner is not None
        place.look().unregister(owner)
        facts.wait("run_resumed", handle.id)
        facts.wait("run_waiting", handle.id, times=2)
        assert "it drops its runs and registers anew" in caplog.text
        assert handle.info().owner not in (None, owner)
        handle.signal("go", "on")
        assert handle.result(timeout=10) == "on"


def test_a_waiting_run_that_was_ended_elsewhere_is_dropped_here(place: Place) -> None:
    with place.engine(lease=timedelta(seconds=0.2)) as engine:
        handle = engine.start(wait_for_go_later)
        place.until(lambda: handle.status() is RunStatus.WAITING)
        with place.engine(worker=False) as client:
            assert client.cancel(handle.id, force=True)
        with pytest.raises(fluxo.RunCancelledError):
            handle.result(timeout=10)
        place.until(lambda: engine.stats().active == 0)


@pytest.fixture
def unregistered() -> Callable[[fluxo.Workflow[Any, Any]], None]:
    def forget(flow: fluxo.Workflow[Any, Any]) -> None:
        del registry._workflows[flow.name, flow.version]

    return forget


def test_an_unregistered_workflow_is_left_for_others_and_named_once(
    place: Place, caplog: pytest.LogCaptureFixture, unregistered: Callable[[fluxo.Workflow[Any, Any]], None]
) -> None:
    @workflow(name="known elsewhere", version="7")
    def elsewhere() -> int:
        return 7

    with place.engine(worker=False) as client:
        handle = client.start(elsewhere.options(id="foreign"))
        unregistered(elsewhere)
        with caplog.at_level(logging.WARNING, "fluxo.engine"), place.engine(lease=timedelta(seconds=0.2)) as worker:
            assert worker.run(add_two, 1) == 3
            place.until(lambda: "known elsewhere" in caplog.text)
            assert handle.status() is RunStatus.PENDING
            assert len(handle.history()) == 1
            assert worker.get("foreign").status() is RunStatus.PENDING
        named = [record.getMessage() for record in caplog.records if "known elsewhere" in record.getMessage()]
        assert len(named) == 1
        assert "version '7'" in named[0]
        assert "foreign" in named[0]
        workflow(name="known elsewhere", version="7")(elsewhere.fn)
        with place.engine():
            assert handle.result(timeout=10) == 7


def test_a_result_is_readable_where_the_workflow_is_not_registered(
    place: Place, unregistered: Callable[[fluxo.Workflow[Any, Any]], None]
) -> None:
    @workflow(name="known here")
    def here() -> list[int]:
        return [1, 2]

    with place.engine() as engine:
        engine.run(here.options(id="read"))
        unregistered(here)
        assert engine.get("read").result(timeout=10) == [1, 2]


@pytest.fixture
def no_back_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fluxo.engine.claims.CRASH_LOOP_BACKOFF_S", 0.0)


def test_a_run_that_kills_its_workers_is_blocked(
    place: Place, hanging: Hanging, no_back_off: None, caplog: pytest.LogCaptureFixture
) -> None:
    flow = flow_that_hangs(hanging)
    with place.engine(worker=False) as client:
        client.start(flow.options(id="killer"))
    for _ in range(limits.CRASH_LOOP_TAKEOVERS_MAX + 1):
        crash(place, hanging)
    with place.engine() as engine:
        handle = engine.get("killer")
        with pytest.raises(RunBlockedError, match=r"blocked \(crash_loop\)"):
            handle.result(timeout=10)
        assert handle.info().reason == "crash_loop"
        assert engine.run(add_two, 1) == 3
        claims = [event for event in handle.history() if isinstance(event, RunClaimed)]
    assert [claim.unclean for claim in claims] == [False] + [True] * limits.CRASH_LOOP_TAKEOVERS_MAX
    assert hanging.calls == limits.CRASH_LOOP_TAKEOVERS_MAX + 1
    assert "it runs alone" in caplog.text


def test_resume_resets_the_count_of_crashes(place: Place, hanging: Hanging, no_back_off: None) -> None:
    flow = flow_that_hangs(hanging)
    with place.engine(worker=False) as client:
        client.start(flow.options(id="killer"))
    for _ in range(limits.CRASH_LOOP_TAKEOVERS_MAX + 1):
        crash(place, hanging)
    with place.engine() as engine:
        assert engine.get("killer").wait(timeout=10)
        assert engine.get("killer").status() is RunStatus.BLOCKED
    with place.engine(worker=False) as client:
        client.resume("killer")
    crash(place, hanging)
    hanging.hangs = False
    with place.engine() as engine:
        assert engine.get("killer").result(timeout=10) == "done"


def test_progress_resets_the_count_of_crashes(place: Place, hanging: Hanging, no_back_off: None) -> None:
    @step
    def hang(number: int) -> str:
        return hanging()

    @workflow
    def hangs_twice() -> list[str]:
        return [hang(0), hang(1)]

    with place.engine(worker=False) as client:
        client.start(hangs_twice.options(id="slow"))
    for _ in range(limits.CRASH_LOOP_TAKEOVERS_MAX):
        crash(place, hanging)
    hanging.hangs = False
    facts = Facts()
    engine = place.engine(observers=[facts])
    with engine:
        facts.wait("step_completed", "slow")
        assert engine.get("slow").result(timeout=10) == ["done", "done"]


def test_waiting_runs_are_not_suspects_however_often_their_worker_dies(place: Place) -> None:
    run_ids = []
    for _ in range(limits.CRASH_LOOP_TAKEOVERS_MAX + 2):
        facts = Facts()
        engine = place.engine(observers=[facts])
        if not run_ids:
            run_ids.append(engine.start(wait_for_go).id)
        with engine:
            engine.signal(run_ids[0], "come on")
            facts.wait("run_waiting", run_ids[0])
            engine.close(drain=False)
    with place.engine() as engine:
        engine.signal(run_ids[0], "go", "on")
        assert engine.get(run_ids[0]).result(timeout=10) == "on"


def test_more_runs_than_threads_take_turns(place: Place) -> None:
    with place.engine(concurrency=2) as engine:
        handles = [engine.start(add_two, number) for number in range(20)]
        assert [handle.result(timeout=10) for handle in handles] == [number + 2 for number in range(20)]
