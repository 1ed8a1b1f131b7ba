"""
Several processes on one SQLite file.

Owns: what users of embedded engines rely on when a second process opens the same file: work is shared, nobody is
robbed, the dead are replaced at once, and what one does the other sees soon. Bounds of time are generous here; figures
are measured in bench/.
"""

from __future__ import annotations

import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fluxo import Engine, RunStatus
from fluxo.model.events import RunClaimed, RunStarted, SignalReceived
from fluxo.stores.sql.sqlite import opening
from tests.crash.judge import judge, log_of, run_ids
from tests.crash.processes import Nursery
from tests.crash.world import World
from tests.e2e import children
from tests.e2e.children import aserve, ask_along, idle, listen, serve, start_same, work_along

SEEN_S_MAX = 0.5
"""Goal: 50 ms on an idle machine. Without looking at the file it would be a heartbeat, 2.5 s."""
IDLE_PART_MAX = 0.05
"""Goal: 1 % of a core."""


@pytest.fixture(scope="module")
def running_nursery() -> Iterator[Nursery]:
    nursery = Nursery("tests.e2e.children", "fluxo.stores.sql", "fluxo.engine.aio", "fluxo.runtime.async_run")
    yield nursery
    nursery.close()


@pytest.fixture
def nursery(running_nursery: Nursery) -> Iterator[Nursery]:
    yield running_nursery
    running_nursery.clear()


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture
def client(world: World) -> Iterator[Engine]:
    """An engine in the test's own process that starts and asks, and executes nothing."""
    with Engine(world.store, worker=False) as client:
        yield client


def served(nursery: Nursery, main: Callable[..., None], *args: Any) -> Any:
    """A worker process that has recovered and listens."""
    child = nursery.fork(main, *args)
    assert child.line() == "serving"
    return child


def claims(world: World, run_id: str) -> list[RunClaimed]:
    return [event for event in log_of(world, run_id) if isinstance(event, RunClaimed)]


def p95(values: list[float]) -> float:
    return sorted(values)[round(0.95 * (len(values) - 1))]


def test_the_runs_of_a_process_that_is_gone_are_taken_over_at_once(
    nursery: Nursery, world: World, client: Engine
) -> None:
    hour_s = 3600.0
    child = served(nursery, serve, str(world.folder), hour_s)
    handle = client.start(ask_along.options(id="orphan"), str(world.folder))
    assert child.line() == "question is under way"
    assert client.stats().workers == 1
    child.kill()
    child.ended()
    heir = nursery.fork(serve, str(world.folder), hour_s)
    assert {heir.line(), heir.line()} == {"serving", "question is under way"}
    heir.say("answer")
    assert handle.result(timeout=10) == "answer"
    assert [claim.unclean for claim in claims(world, "orphan")] == [False, True]
    assert client.stats().workers == 1, "the dead worker is still on the list"


def test_recover_takes_nothing_from_a_live_owner(nursery: Nursery, world: World, client: Engine) -> None:
    child = served(nursery, serve, str(world.folder))
    handle = client.start(ask_along.options(id="held"), str(world.folder))
    assert child.line() == "question is under way"
    owner = handle.info().owner
    with Engine(world.store) as engine:
        assert engine.recover() == 0
        assert handle.info().owner == owner
    child.say("answer")
    assert handle.result(timeout=10) == "answer"
    assert len(claims(world, "held")) == 1
    assert set(world.effects().values()) == {1}


def test_two_processes_share_the_runs_of_one_file(nursery: Nursery, world: World, client: Engine) -> None:
    workers = [served(nursery, serve, str(world.folder), 10.0, 1) for _ in range(2)]
    handles = [client.start(ask_along, str(world.folder)) for _ in range(4)]
    for _ in range(2):
        # Neither is answered before both ask: each has a run, though one alone could have taken all.
        assert [worker.line() for worker in workers] == ["question is under way"] * 2
        for worker in workers:
            worker.say("answer")
    assert [handle.result(timeout=10) for handle in handles] == ["answer"] * 4
    assert sorted(world.workers().values()) == [2, 2]
    for run_id in run_ids(world):
        judge(world, run_id)


def test_processes_that_start_the_same_id_at_once_create_one_run(nursery: Nursery, world: World) -> None:
    starters = [nursery.fork(start_same, str(world.folder)) for _ in range(6)]
    for starter in starters:
        assert starter.line() == "ready"
    for starter in starters:
        starter.say("go")
    results = {int(starter.line()) for starter in starters}
    assert [starter.ended() for starter in starters] == [0] * 6
    assert run_ids(world) == ["same"]
    assert results == set(world.workers()), "each was given the result of the one that executed"
    assert world.effects().total() == 1
    events = judge(world, "same")
    assert sum(isinstance(event, RunStarted) for event in events) == 1


def test_a_file_that_another_engine_is_just_making_is_not_taken_for_a_foreign_one(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    look_up = opening._pragma
    other = threading.Thread(target=lambda: Engine(world.store, worker=False).__enter__().close())

    def look_up_slowly(connection: sqlite3.Connection, name: str) -> Any:
        found = look_up(connection, name)
        if name == "application_id" and other.ident is None:
            # All the time that the other could need; while it waits for this one to have looked, it makes nothing.
            other.start()
            other.join(0.3)
        return found

    monkeypatch.setattr(opening, "_pragma", look_up_slowly)
    with Engine(world.store, worker=False) as engine:
        assert engine.stats().events == 0
    other.join()


@pytest.mark.parametrize("flow", ["talk", "atalk"])
@pytest.mark.parametrize("main", [serve, aserve])
def test_sigterm_lets_the_step_under_way_finish_and_hands_the_run_back(
    nursery: Nursery, world: World, client: Engine, main: Callable[..., None], flow: str
) -> None:
    child = served(nursery, main, str(world.folder))
    handle = client.start(getattr(children, flow).options(id="handed"), str(world.folder))
    assert child.line() == "first is under way"
    child.kill(signal.SIGTERM)
    for answer in ("one", "two"):
        child.say(answer)
    assert child.ended() == 0
    # Whether the signal is handled before the answer that follows it is the operating system's business.
    begun = child.lines()
    assert handle.info().owner is None
    assert client.stats().workers == 0

    heir = nursery.fork(main, str(world.folder))
    if begun:
        assert heir.line() == "serving"
    else:
        assert {heir.line(), heir.line()} == {"serving", "second is under way"}
        heir.say("two")
    handle.signal("last", "three")
    assert handle.result(timeout=10) == ["one", "two", "three"]
    judge(world, "handed")
    assert set(world.effects().values()) == {1}
    assert [claim.unclean for claim in claims(world, "handed")] == [False, False]


def test_sigterm_hands_a_waiting_run_back_as_waiting(nursery: Nursery, world: World, client: Engine) -> None:
    child = served(nursery, serve, str(world.folder))
    handle = client.start(children.wait.options(id="waiting"), str(world.folder))
    assert child.line() == "waiting"
    child.kill(signal.SIGTERM)
    assert child.ended() == 0
    assert handle.info().owner is None
    assert handle.status() in (RunStatus.WAITING, RunStatus.PENDING)
    served(nursery, serve, str(world.folder))
    handle.signal("last", "come")
    assert handle.result(timeout=10) == "come"
    judge(world, "waiting")
    assert world.effects().total() == 1


def test_a_signal_from_another_process_is_seen_soon(nursery: Nursery, world: World, client: Engine) -> None:
    count = 20
    child = served(nursery, serve, str(world.folder))
    handle = client.start(listen, str(world.folder), count)
    sent_us = []
    for number in range(count):
        sent_us.append(time.time_ns() // 1000)
        handle.signal("ping")
        assert child.line() == f"heard {number}"
    assert handle.result(timeout=10) == count
    received_us = [event.at_us for event in handle.history() if isinstance(event, SignalReceived)]
    assert p95([(got - sent) / 1e6 for sent, got in zip(sent_us, received_us, strict=True)]) < SEEN_S_MAX


def test_a_run_started_by_another_process_is_seen_soon(nursery: Nursery, world: World, client: Engine) -> None:
    served(nursery, serve, str(world.folder))
    delays_s = []
    for _ in range(20):
        handle = client.start(work_along, str(world.folder))
        handle.result(timeout=10)
        started, claimed = handle.history()[:2]
        delays_s.append((claimed.at_us - started.at_us) / 1e6)
    assert p95(delays_s) < SEEN_S_MAX


def test_an_idle_engine_leaves_the_processor_alone(nursery: Nursery, world: World) -> None:
    child = nursery.fork(idle, str(world.folder), 1.5)
    assert float(child.line()) < IDLE_PART_MAX
    assert child.ended() == 0
