"""
Schedules that once failed, kept.

Owns: program, rendering and crash points of each, and what it showed. Must not know how schedules are found.
"""

from __future__ import annotations

import pytest

from fluxo.testing.judging import judge
from fluxo.testing.quiet import quiet
from fluxo.testing.simulation.faults import CrashAt
from fluxo.testing.simulation.invariants import Invariants
from fluxo.testing.trial import Trial, attempt
from tests.simulation.programs import Program
from tests.simulation.proofs import RENDERINGS, case_of, problem_of

RACE: Program = ["race", [["flaky", 8, 1], ["flaky", 5, 1]]]


def trial_of(program: Program, rendering: str, *schedule: int) -> Trial:
    [workflow] = [each for each in RENDERINGS if each.name == rendering]
    with quiet():
        return attempt(case_of(program, workflow), CrashAt(*schedule), watch=Invariants)


def test_a_loser_recorded_just_before_the_end_changes_nothing() -> None:
    base, late = trial_of(RACE, "programs.sync"), trial_of(RACE, "programs.sync", 16, 43)
    assert [len(base.facts), len(late.facts)] == [1, 2]
    assert judge(base, late) is None
    assert judge(late, base) is None
    [rendering] = [each for each in RENDERINGS if each.name == "programs.sync"]
    assert problem_of(RACE, rendering, (16, 43), base) == ""


def test_a_step_that_only_one_of_two_trials_has_begun_is_no_loser() -> None:
    one, two = trial_of(["ok", 3], "programs.sync"), trial_of(["seq", [["ok", 3], ["ok", 4]]], "programs.sync")
    two.outcome = one.outcome
    found = judge(one, two)
    assert found is not None
    assert "ended otherwise" in found.what


@pytest.mark.parametrize("rendering", [each.name for each in RENDERINGS])
def test_every_pair_of_crashes_around_a_race_is_survived(rendering: str) -> None:
    base = trial_of(["race", [["ok", 8], ["ok", 5]]], rendering)
    for first in range(len(base.points)):
        late = trial_of(["race", [["ok", 8], ["ok", 5]]], rendering, first)
        assert judge(base, late) is None, first
