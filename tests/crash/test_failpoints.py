"""
SIGKILL at every named place, at every hit of it, for workflows of both colours.

Owns: the proof that one crash (or two, one within the recovery from the other) changes nothing but how often an
effect may have happened. Theory: DESIGN §6, PROTOCOL part A.
"""

from __future__ import annotations

import itertools
import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fluxo import Engine, UsageError, step, workflow
from fluxo.model.events import CancelRequested, RunCancelled, RunClaimed, SignalReceived, StepCompleted, StepRetried
from fluxo.testing.failpoints import VARIABLE, Failpoint, arm
from tests.crash.flows import FLOWS, WIDTH, acall, astumble, aundo, be_called, call, expected, stumble, undo
from tests.crash.judge import judge
from tests.crash.processes import Nursery
from tests.crash.worker import finish, finish_on_a_loop, settle
from tests.crash.world import World
from tests.e2e.places import Facts


@step(name="crash.next")
def following(number: int) -> int:
    return number + 1


@workflow(name="crash.count_to")
def count_to(end: int) -> int:
    number = 0
    while number < end:
        number = following(number)
    return number


VALUE, WORD = 5, 17
WORKERS = {"line": finish, "aline": finish_on_a_loop, "fan": finish, "afan": finish_on_a_loop}
STEPS = {"line": 3, "aline": 3, "fan": WIDTH + 2, "afan": WIDTH + 2}
PLACES = ("before_effect", "after_effect", "after_commit", "after_ack")
HITS = {"before_effect": 3, "after_effect": 3, "after_commit": 6, "after_ack": 5, "during_takeover": 1}
"""How often the sequential workflows pass each place: 3 steps, a timer, a signal, an end; claimed once."""


def begin(folder: Path, name: str) -> World:
    """A run that waits for its first worker, with the signal that it will want."""
    folder.mkdir(parents=True, exist_ok=True)
    world = World(folder)
    with Engine(world.store, worker=False) as client:
        handle = client.start(FLOWS[name].options(id=name), str(folder), VALUE)
        handle.signal("word", WORD, key="the word")
    return world


def live(nursery: Nursery, world: World, name: str, plan: str = "") -> bool:
    """One worker's life; whether it lived to see the right result."""
    child = nursery.fork(WORKERS[name], str(world.folder), plan)
    code = child.ended()
    if code == -signal.SIGKILL:
        return False
    assert code == 0, f"the worker ended with {code}"
    assert json.loads(child.lines()[-1]) == [name, expected(name, VALUE, WORD)]
    return True


@pytest.mark.parametrize("plan", ["nowhere", "after_ack:0", "after_ack:x", "after_ack:1:SIGNONE", ":2"])
def test_a_plan_that_could_never_strike_is_refused(plan: str) -> None:
    with pytest.raises(UsageError, match="failpoint plan"):
        Failpoint(plan)


def test_a_plan_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "after_ack:3:SIGSTOP")
    armed = arm(Engine("memory://"))
    assert (armed.name, armed.nth, armed.signal) == ("after_ack", 3, signal.SIGSTOP)


def test_a_failpoint_without_a_plan_counts_what_a_run_passes() -> None:
    engine = Engine("memory://")
    failpoint = arm(engine, "")
    with engine:
        assert engine.run(count_to, 3) == 3
    assert failpoint.hits == {"before_effect": 3, "after_effect": 3, "after_commit": 4, "after_ack": 3}


@pytest.mark.parametrize("name", ["line", "aline"])
@pytest.mark.parametrize("place", HITS)
def test_a_kill_at_any_hit_of_a_failpoint_loses_nothing_and_repeats_at_most_the_step_it_hit(
    nursery: Nursery, tmp_path: Path, name: str, place: str
) -> None:
    for nth in itertools.count(1):
        world = begin(tmp_path / str(nth), name)
        if live(nursery, world, name, f"{place}:{nth}"):
            break
        assert live(nursery, world, name)
        judge(world, name)
        repeated = 1 if place == "after_effect" else 0
        assert world.effects().total() == STEPS[name] + repeated
        assert max(world.effects().values()) == 1 + repeated
    judge(world, name)
    assert set(world.effects().values()) == {1}
    assert nth - 1 == HITS[place]


@pytest.mark.parametrize("name", ["fan", "afan"])
@pytest.mark.parametrize("place", PLACES)
def test_a_kill_amid_parallel_steps_repeats_only_steps_that_were_under_way(
    nursery: Nursery, tmp_path: Path, name: str, place: str
) -> None:
    for nth in itertools.count(1):
        world = begin(tmp_path / str(nth), name)
        if live(nursery, world, name, f"{place}:{nth}"):
            break
        assert live(nursery, world, name)
        judge(world, name)
        assert len(world.effects()) == STEPS[name]
        assert max(world.effects().values()) <= 2
        assert world.labels()["last"] == 1 or world.effects().total() == STEPS[name] + 1
    assert nth > 2


@pytest.mark.parametrize("name", ["line", "aline", "fan", "afan"])
@pytest.mark.parametrize("place", PLACES)
def test_a_kill_during_the_takeover_after_a_kill_is_no_worse_than_one_kill(
    nursery: Nursery, tmp_path: Path, name: str, place: str
) -> None:
    world = begin(tmp_path / "twice", name)
    assert not live(nursery, world, name, f"{place}:2")
    assert not live(nursery, world, name, "during_takeover:1")
    assert live(nursery, world, name)
    events = judge(world, name)
    claims = [event for event in events if isinstance(event, RunClaimed)]
    assert [claim.unclean for claim in claims] == [False, True, True]
    assert max(world.effects().values()) <= 2


@pytest.mark.parametrize("name", ["line", "aline"])
def test_a_second_kill_at_any_place_of_the_second_life_loses_nothing(
    nursery: Nursery, tmp_path: Path, name: str
) -> None:
    for first, second in itertools.product(("after_effect:2", "after_commit:2"), PLACES):
        world = begin(tmp_path / f"{first} {second}".replace(":", "-"), name)
        assert not live(nursery, world, name, first)
        assert not live(nursery, world, name, f"{second}:1")
        assert live(nursery, world, name)
        judge(world, name)
        hits = (first + second).count("after_effect")
        assert world.effects().total() == STEPS[name] + hits


@pytest.mark.parametrize("flow", [stumble, astumble], ids=["sync", "async"])
@pytest.mark.parametrize("place", PLACES)
def test_a_kill_between_the_attempts_of_a_step_neither_forgets_nor_adds_an_attempt(
    nursery: Nursery, tmp_path: Path, flow: Any, place: str
) -> None:
    def begin_to_stumble(world: World) -> None:
        with Engine(world.store, worker=False) as client:
            client.start(flow.options(id="run"), str(world.folder), VALUE)

    for world, harmed in killed_at_each_hit(nursery, tmp_path, place, begin_to_stumble):
        events = judge(world, "run")
        assert [event.attempt for event in events if isinstance(event, StepRetried)] == [1, 2]
        assert [event.attempts for event in events if isinstance(event, StepCompleted)] == [3]
        assert set(world.labels()) == {"tripped", "walked"}
        assert world.effects().total() == 3 + (harmed and place == "after_effect")


@pytest.mark.parametrize("flow", [undo, aundo], ids=["sync", "async"])
@pytest.mark.parametrize("place", PLACES)
def test_a_kill_while_a_run_is_being_cancelled_does_not_keep_it_from_cleaning_up(
    nursery: Nursery, tmp_path: Path, flow: Any, place: str
) -> None:
    def begin_to_cancel(world: World) -> None:
        facts = Facts()
        with Engine(world.store, observers=[facts]) as engine:
            handle = engine.start(flow.options(id="run"), str(world.folder), VALUE)
            facts.wait("run_waiting")
        with Engine(world.store, worker=False) as client:
            assert client.cancel(handle.id)

    for world, harmed in killed_at_each_hit(nursery, tmp_path, place, begin_to_cancel):
        events = judge(world, "run")
        assert isinstance(events[-1], RunCancelled)
        assert sum(isinstance(event, CancelRequested) for event in events) == 1
        assert world.labels()["done"] == 1
        assert world.labels()["undone"] == 1 + (harmed and place == "after_effect")


@pytest.mark.parametrize("flow", [call, acall], ids=["sync", "async"])
@pytest.mark.parametrize("place", ["after_effect", "after_commit"])
def test_a_signal_from_a_run_that_is_killed_while_it_sends_is_one_signal(
    nursery: Nursery, tmp_path: Path, flow: Any, place: str
) -> None:
    def begin_to_call(world: World) -> None:
        with Engine(world.store, worker=False) as client:
            client.start(flow.options(id="caller"), "called")
            client.start(be_called.options(id="called"))

    for world, _ in killed_at_each_hit(nursery, tmp_path, place, begin_to_call):
        judge(world, "caller")
        received = [event for event in judge(world, "called") if isinstance(event, SignalReceived)]
        assert [event.payload for event in received] == [b"1"]
        with Engine(world.store, worker=False) as client:
            assert client.stats().messages_unconsumed == 0


def killed_at_each_hit(
    nursery: Nursery, folder: Path, place: str, begin: Callable[[World], None]
) -> Iterator[tuple[World, bool]]:
    """Worlds of runs that began alike, each killed at another hit of the place (True); at last one that was not."""
    for nth in itertools.count(1):
        world = World(folder / str(nth))
        world.folder.mkdir()
        begin(world)
        code = nursery.fork(settle, str(world.folder), f"{place}:{nth}").ended()
        if code == 0:
            assert nth > 1, f"{place} was never passed"
            yield world, False
            return
        assert code == -signal.SIGKILL
        assert nursery.fork(settle, str(world.folder)).ended() == 0
        yield world, True
