"""
The laws of replay, for programs nobody wrote.

Owns: what must hold for each: every prefix of its history goes on to the same result and the same commands, runs
nothing again that was recorded, and the whole history replays to the very order that was observed; so it does after
crashes, cancellations and resumed failures. Must not know how replay works.
"""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from fluxo.model.events import CancelRequested, CommandEvent, Event, RunReopened, StepRetried
from tests.property.programs import (
    Node,
    async_program,
    cancellable,
    cancellable_async,
    failing,
    failing_tangled,
    plain,
    sync_program,
    tangled,
    unprompted,
    world,
)
from tests.replaying import FOR_EVER_S, RUN_ID, Recording, outcome_of, record, simulated


def signals_of(program: Node) -> list[tuple[str, int]]:
    """As many numbered signals as the program waits for."""
    return [("s", number) for number in range(str(program).count("'signal'"))]


def commands(history: tuple[Event, ...]) -> set[tuple[str, int, str, bytes | None]]:
    """Which commands a history holds outcomes of."""
    assert not any(isinstance(event, RunReopened) for event in history)
    return {
        (event.scope, event.position, event.name, event.args)
        for event in history
        if isinstance(event, CommandEvent) and not isinstance(event, StepRetried)
    }


def assert_laws(recording: Recording) -> None:
    """Each prefix of the history goes on to the same result; the whole of it to the same observations."""
    assert recording.outcome[0] == "completed"
    result, observed = recording.outcome[1]
    last = len(recording.history) - 1
    for n in range(1, last + 1):
        replay = recording.go_on(n)
        assert replay.outcome[0] == "completed", replay.outcome
        assert replay.outcome[1][0] == result
        assert replay.history[:n] == recording.history[:n]
        assert commands(replay.history) == commands(recording.history)
        assert not recording.keys(n) & set(replay.executed)
        if n == last:
            assert replay.outcome[1][1] == observed


@given(plain)
def test_a_program_gives_the_same_result_in_both_colours_and_from_every_prefix(program: Node) -> None:
    recordings = [
        record(definition, program, signals=signals_of(program)) for definition in (sync_program, async_program)
    ]
    results = [recording.outcome[1][0] for recording in recordings]
    assert results[0] == results[1]
    for recording in recordings:
        assert_laws(recording)


@given(tangled, st.lists(st.floats(0, 1, exclude_max=True), min_size=2, max_size=5))
def test_a_run_that_crashes_again_and_again_ends_as_if_it_never_had(program: Node, cuts: list[float]) -> None:
    undisturbed = record(async_program, program)
    recording, survived = undisturbed, 1
    for cut in cuts:
        survived += int(cut * (len(recording.history) - survived))
        replay = recording.go_on(survived)
        assert not recording.keys(survived) & set(replay.executed)
        assert replay.history[:survived] == recording.history[:survived]
        recording = replay.recording
    assert recording.outcome[1][0] == undisturbed.outcome[1][0]
    assert commands(recording.history) == commands(undisturbed.history)


@given(
    st.one_of(st.tuples(st.just(cancellable), unprompted), st.tuples(st.just(cancellable_async), tangled)), st.data()
)
def test_a_run_cancelled_at_any_point_ends_alike_from_there_on(chosen: tuple[Any, Node], data: st.DataObject) -> None:
    definition, program = chosen
    undisturbed = record(definition, program)
    n = data.draw(st.integers(1, len(undisturbed.history) - 1), "events before the cancellation")
    cancelled = undisturbed.go_on(n, cancelled=True).recording
    assert cancelled.outcome[0] in ("cancelled", "completed")
    # Where it is cancelled may decide whether it is: a TaskGroup that is aborting anyway swallows a cancellation.
    asked = [seq for seq, event in enumerate(cancelled.history, 1) if isinstance(event, CancelRequested)]
    cancelled.assert_replays(range(asked[0] if asked else 1, len(cancelled.history)))


@given(tangled)
def test_tangled_tasks_give_the_same_result_from_every_prefix(program: Node) -> None:
    assert_laws(record(async_program, program))


@given(st.one_of(st.tuples(st.just(sync_program), failing), st.tuples(st.just(async_program), failing_tangled)))
def test_a_failed_run_that_is_resumed_ends_as_if_it_had_never_failed(chosen: tuple[Any, Node]) -> None:
    definition, program = chosen
    undisturbed = record(definition, program)
    resumed = fail_and_resume(definition, program)
    assert resumed.outcome[0] == "completed", resumed.outcome
    assert resumed.outcome[1][0] == undisturbed.outcome[1][0]
    reopened = [seq for seq, event in enumerate(resumed.history, 1) if isinstance(event, RunReopened)]
    for n in range(reopened[0] if reopened else 1, len(resumed.history)):
        replay = resumed.go_on(n)
        assert replay.outcome[1][0] == undisturbed.outcome[1][0]
        assert not resumed.keys(n) & set(replay.executed)


def fail_and_resume(definition: Any, program: Node) -> Recording:
    """Run a program while the world is broken, and resume it, if it failed, once it is not."""
    with simulated() as node:
        world["broken"] = True
        try:
            handle = node.engine.start(definition.options(id=RUN_ID), program)
            outcome = outcome_of(handle, FOR_EVER_S)
        finally:
            world["broken"] = False
        if outcome[0] == "failed":
            handle.resume()
            outcome = outcome_of(handle, FOR_EVER_S)
        return Recording(node.cluster.store, RUN_ID, outcome)
