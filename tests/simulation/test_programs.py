"""
Random programs, drawn and shrunk by Hypothesis: the oracle agrees, and no crash makes a difference.

Owns: the properties. Must not know how a program is played; the same by the thousand, from raw seeds, is
``python -m tests.simulation``.
"""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fluxo.authoring.workflow import WorkflowBase
from fluxo.engine.rehearsal import Rehearsal
from fluxo.testing.simulation.faults import CrashAt
from fluxo.testing.simulation.invariants import Invariants
from fluxo.testing.trial import RUN_ID, attempt
from tests.simulation.programs import Program, drawn, permitted, shapes, smaller
from tests.simulation.proofs import RENDERINGS, START, Tally, case_of, problem_of, prove, result_of, storm

SHAPES = shapes()


@st.composite
def programs(draw: st.DrawFn) -> Program:
    """A program whose choices are Hypothesis's own, so that it shrinks."""
    return drawn(lambda choices: draw(st.integers(0, choices - 1)))


@pytest.mark.parametrize("rendering", RENDERINGS, ids=lambda rendering: rendering.name)
@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_survives_a_crash_at_every_point(shape: str, rendering: WorkflowBase) -> None:
    tally = Tally()
    assert prove(SHAPES[shape], rendering, tally) is None
    assert tally.crashes == tally.runs - 1 > 10


def test_the_corpus_has_at_least_thirty_shapes() -> None:
    assert len({str(program) for program in SHAPES.values()}) >= 30


@settings(max_examples=40, deadline=None)
@given(programs(), st.sampled_from(RENDERINGS))
def test_a_random_program_comes_to_what_the_oracle_permits_and_every_prefix_replays(
    program: Program, rendering: WorkflowBase
) -> None:
    trial = attempt(case_of(program, rendering), watch=Invariants)
    assert result_of(trial) in permitted(program, START)
    with Rehearsal() as rehearsal:
        for length in range(1, len(trial.rows) + 1):
            rehearsed = rehearsal.replay(RUN_ID, trial.rows[:length], rendering)
            assert rehearsed.holds, rehearsed


@settings(max_examples=30, deadline=None)
@given(programs(), st.sampled_from(RENDERINGS), st.lists(st.integers(0, 80), min_size=1, max_size=5, unique=True))
def test_several_crashes_make_no_difference_either(
    program: Program, rendering: WorkflowBase, schedule: list[int]
) -> None:
    base = attempt(case_of(program, rendering), watch=Invariants)
    assert problem_of(program, rendering, tuple(schedule), base) == ""


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**40))
def test_a_cluster_in_a_storm_comes_to_rest_with_what_the_oracle_permits(seed: int) -> None:
    assert storm(seed, Tally()) == ""


@settings(max_examples=60, deadline=None)
@given(programs())
def test_shrinking_ends(program: Program) -> None:
    for _ in range(200):
        less = smaller(program)
        if not less:
            return
        program = less[-1]
    raise AssertionError(f"still shrinking: {program}")


def test_the_same_program_under_the_same_schedule_leaves_the_same_log() -> None:
    case = case_of(SHAPES["gather in a sequence"], RENDERINGS[1])
    first, second = (attempt(case, CrashAt(9, 21)) for _ in range(2))
    assert first.rows == second.rows
    assert first.points == second.points
