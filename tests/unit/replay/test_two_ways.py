"""
There are short ways and long ways to the same facts: nobody can tell which was taken.

Owns: that a step answered in place and one answered the long way round give the same outcome and the same commands,
and that facts committed together reach a sync workflow one by one, as on replay. Must not know how drivers do it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

import fluxo
from fluxo import Engine, MemoryStore, step, workflow
from fluxo.model.events import CancelRequested, StepCompleted
from fluxo.replay.command import Command, CommandScope
from fluxo.replay.machine import Machine
from fluxo.runtime.ports import Ports
from tests.e2e import asyncio_tasks, asyncio_waits
from tests.e2e.asyncio_programs import PROGRAMS
from tests.e2e.places import HandClock
from tests.replaying import RUN_ID, Recording, Replay, body_ran, outcome_of, record

assert PROGRAMS, f"{asyncio_tasks} and {asyncio_waits} fill it"

Trace = list[tuple[str, int, int, str, bytes | None]]

HOUR_S = 3600.0
clock = HandClock()


class HeldThreads:
    """Stands in for a thread pool: attempts begin only when a step of the workflow says so, last one first."""

    def __init__(self) -> None:
        self.jobs: list[Callable[[], None]] = []

    def submit(self, job: Callable[[], None]) -> None:
        self.jobs.append(job)

    def run(self) -> None:
        while self.jobs:
            self.jobs.pop()()

    def close(self) -> None:
        """Nothing runs here."""


held = HeldThreads()


@step(name="ways.number")
def number(value: int) -> int:
    body_ran()
    return value


@step(name="ways.finish_all")
def finish_all(pass_s: float = 0.0) -> None:
    body_ran()
    held.run()
    clock.forward(pass_s)


@step(name="ways.refuse")
def refuse() -> None:
    body_ran()
    raise ValueError("no")


@workflow(name="ways.race")
def race() -> list[Any]:
    futures = [number.submit(value) for value in range(4)]
    finish_all()
    seen: list[Any] = [fluxo.wait_any(*futures).result(), [future.done() for future in futures]]
    seen.append([future.result() for future in fluxo.as_completed(futures)])
    return [*seen, number(9)]


@workflow(name="ways.late", timeout=HOUR_S)
def late() -> list[Any]:
    future = number.submit(1)
    finish_all(2 * HOUR_S)
    seen: list[Any] = [future.result()]
    try:
        seen.append(number(2))
    except fluxo.Cancelled:
        seen.append(number(3))
    return seen


@workflow(name="ways.sequence")
def sequence() -> list[Any]:
    seen: list[Any] = [number(value) for value in range(3)]
    futures = [number.submit(value) for value in range(3, 6)]
    try:
        refuse()
    except ValueError as error:
        seen.append(str(error))
    fluxo.sleep(HOUR_S)
    seen += number.map(range(6, 9), concurrency=2)
    return seen + fluxo.gather(*futures) + [number(9)]


@pytest.fixture
def new_clock() -> Iterator[None]:
    clock.__init__()  # type: ignore[misc]
    yield
    held.jobs.clear()


def record_held(definition: Any) -> Recording:
    """Run a workflow whose submitted steps wait for `finish_all`."""
    store = MemoryStore(clock)
    with Engine(store, ports=Ports(clock=clock)) as engine:
        engine._node.core.step_threads = held  # type: ignore[assignment]
        outcome = outcome_of(engine.start(definition.options(id=RUN_ID)))
    return Recording(store, RUN_ID, outcome)


@pytest.mark.usefixtures("new_clock")
def test_facts_committed_together_reach_the_workflow_one_by_one_as_on_replay() -> None:
    recording = record_held(race)
    assert recording.outcome == ("completed", [3, [False, False, False, True], [3, 2, 1, 0], 9])
    steps = [event.position for event in recording.history if isinstance(event, StepCompleted)]
    assert steps == [4, 3, 2, 1, 0, 5]
    recording.assert_replays(range(6, len(recording.history)))


@pytest.mark.usefixtures("new_clock")
def test_a_result_that_came_before_the_end_of_the_runs_time_reaches_the_workflow_first() -> None:
    recording = record_held(late)
    assert recording.outcome == ("completed", [1, 3])
    kinds = [type(event) for event in recording.history]
    assert kinds.index(CancelRequested) == 3
    recording.assert_replays(range(4, len(recording.history)))


SYNC_PROGRAMS: dict[str, Any] = {"sequence": sequence}


@pytest.mark.parametrize("name", [*PROGRAMS, *SYNC_PROGRAMS])
def test_a_step_answered_in_place_leaves_the_same_trace_as_one_answered_the_long_way(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    recording = record(SYNC_PROGRAMS.get(name) or PROGRAMS[name].workflow)
    last = len(recording.history) - 1
    short, short_trace = traced(recording, last, monkeypatch)
    monkeypatch.setattr(Machine, "recorded", lambda *_: None)
    long, long_trace = traced(recording, last, monkeypatch)
    assert short.outcome == long.outcome == recording.outcome
    assert short_trace == long_trace
    assert short.executed == long.executed


def traced(recording: Recording, n: int, monkeypatch: pytest.MonkeyPatch) -> tuple[Replay, Trace]:
    """Continue from the first `n` events and note which commands the code issued, either way."""
    trace: Trace = []
    issue, recorded = Machine.issue, Machine.recorded

    def noting_issue(self: Machine, *args: Any) -> Command:
        command = issue(self, *args)
        trace.append((command.scope, command.position, command.ordinal, command.name, command.args))
        return command

    def noting_recorded(self: Machine, scope: CommandScope, *args: Any) -> StepCompleted | None:
        event = recorded(self, scope, *args)
        if event is not None:
            trace.append((event.scope, event.position, event.ordinal, event.name, event.args))
        return event

    with monkeypatch.context() as patch:
        patch.setattr(Machine, "issue", noting_issue)
        patch.setattr(Machine, "recorded", noting_recorded)
        replay = recording.go_on(n)
    return replay, trace
