"""
One seed, one proof: a random program that must survive what is done to it.

Owns: what is done (a crash at every point, at every pair of points, a storm over a cluster), the verdict of the oracle,
and the shrinking of what fails. Must not know how many proofs are made.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from zlib import crc32

from fluxo.authoring.workflow import WorkflowBase
from fluxo.model.events import RunCompleted, RunFailed
from fluxo.testing.errors import InvariantError, SimulationStuckError
from fluxo.testing.judging import judge, judge_alone
from fluxo.testing.quiet import quiet
from fluxo.testing.simulation.faults import CrashAt
from fluxo.testing.simulation.invariants import Invariants
from fluxo.testing.trial import Case, Sent, Trial, attempt
from tests.simulation.programs import SIGNALS, Program, Result, drawn, permitted, smaller
from tests.simulation.renderings import async_program, sync_program
from tests.simulation.storm import Begun, StormyCluster, weather_of

START = 2
RENDERINGS: tuple[WorkflowBase, ...] = (sync_program, async_program)
TURNS_MAX = 8
"""How often a wait may come round: three loops within each other, of two turns each."""
PAIRED_EVENTS_MAX = 12
"""Runs of up to so many events are tried with every pair of crashes in the long suite."""


@dataclass
class Tally:
    """What was done; `programs` holds a digest of each distinct workflow."""

    programs: set[int] = field(default_factory=set)
    runs: int = 0
    crashes: int = 0
    storms: int = 0
    situations: dict[str, int] = field(default_factory=dict)

    def add(self, other: Tally) -> None:
        """Take in another's."""
        self.programs |= other.programs
        self.runs += other.runs
        self.crashes += other.crashes
        self.storms += other.storms
        for what, times in other.situations.items():
            self.situations[what] = self.situations.get(what, 0) + times


@dataclass
class Failure:
    """What failed, as small as it could be made."""

    rendering: str
    program: Program
    schedule: tuple[int, ...]
    problem: str

    def __str__(self) -> str:
        return f"{self.rendering} {json.dumps(self.program)} with crashes at {self.schedule}: {self.problem}"


def case_of(program: Program, rendering: WorkflowBase) -> Case:
    """A program with everything that it is sent, from the beginning."""
    text = json.dumps(program)
    sent = [Sent("early", SIGNALS["early"])] * (TURNS_MAX * text.count('"early"'))
    return Case(rendering, (text, START), sent=sent)


def result_of(trial: Trial) -> Result:
    """A trial's outcome in the oracle's words."""
    outcome = trial.outcome
    if outcome.status == "completed":
        return int(outcome.body), ""
    return None, outcome.body.decode().partition(":")[0].rpartition(".")[2] or str(outcome.status)


def problem_of(program: Program, rendering: WorkflowBase, schedule: tuple[int, ...], base: Trial | None) -> str:
    """What is wrong with a program under a schedule; empty if nothing is."""
    try:
        trial = attempt(case_of(program, rendering), CrashAt(*schedule), watch=Invariants)
    except (InvariantError, SimulationStuckError) as broken:
        return str(broken)
    return _verdict(program, trial, base)


def _verdict(program: Program, trial: Trial, base: Trial | None) -> str:
    found = judge_alone(trial) if base is None else judge(base, trial)
    if found is not None:
        return found.what
    result = result_of(trial)
    allowed = permitted(program, START)
    return "" if result in allowed else f"came to {result}, permitted is {sorted(allowed, key=str)}"


def prove(program: Program, rendering: WorkflowBase, tally: Tally, *, pairs: bool = False) -> Failure | None:
    """A crash at every point, and at every pair of points if asked for and the run is short."""
    case = case_of(program, rendering)
    schedule: tuple[int, ...] = ()
    try:
        base = attempt(case, watch=Invariants)
        problem = _verdict(program, base, None)
        tally.programs.add(crc32(f"{rendering.name} {json.dumps(program)}".encode()))
        tally.runs += 1
        schedules = _schedules(len(base.points))
        while not problem and (next_ := next(schedules, None)) is not None:
            schedule = next_
            trial = attempt(case, CrashAt(*schedule), watch=Invariants)
            tally.runs += 1
            tally.crashes += len(trial.crashes)
            problem = _verdict(program, trial, base)
            if pairs and len(base.rows) <= PAIRED_EVENTS_MAX and len(schedule) == 1:
                schedules.more.extend((schedule[0], second) for second in range(schedule[0] + 1, len(trial.points)))
    except (InvariantError, SimulationStuckError) as broken:
        problem = str(broken)
    return _shrunk(program, rendering, schedule, problem) if problem else None


class _schedules(Iterator[tuple[int, ...]]):
    """Every single point, then whatever was found out meanwhile."""

    def __init__(self, points: int) -> None:
        self.more: list[tuple[int, ...]] = []
        self._singles = iter(range(points))

    def __next__(self) -> tuple[int, ...]:
        single = next(self._singles, None)
        if single is not None:
            return (single,)
        if self.more:
            return self.more.pop()
        raise StopIteration


def _shrunk(program: Program, rendering: WorkflowBase, schedule: tuple[int, ...], problem: str) -> Failure:
    """The smallest program and schedule found that fail too."""
    found = Failure(rendering.name, program, schedule, problem)
    tries = 0
    while tries < _TRIES_MAX:
        for less in smaller(found.program):
            tries += 1
            again = _first_problem(less, rendering)
            if again is not None:
                found = again
                break
        else:
            break
    return found


_TRIES_MAX = 60


def _first_problem(program: Program, rendering: WorkflowBase) -> Failure | None:
    try:
        base = attempt(case_of(program, rendering), watch=Invariants)
    except (InvariantError, SimulationStuckError) as broken:
        return Failure(rendering.name, program, (), str(broken))
    if problem := _verdict(program, base, None):
        return Failure(rendering.name, program, (), problem)
    for point in range(len(base.points)):
        if problem := problem_of(program, rendering, (point,), base):
            return Failure(rendering.name, program, (point,), problem)
    return None


def _brewed(seed: int) -> tuple[list[Program], StormyCluster]:
    """Several programs, and the cluster and the weather that they run in."""
    source = random.Random(seed)
    programs = [drawn(source.randrange) for _ in range(source.randrange(1, 4))]
    begun = [
        Begun(source.choice(RENDERINGS), (json.dumps(program), START), f"run-{n}", _messages(program, source))
        for n, program in enumerate(programs)
    ]
    return programs, StormyCluster(source.getrandbits(48), begun, {}, weather_of(source))


def trace_of(seed: int) -> int:
    """A digest of everything that a storm wrote."""
    with quiet():
        return _brewed(seed)[1].ride().trace


def storm(seed: int, tally: Tally) -> str:
    """Several programs on a cluster in a storm, then calm; what is wrong, empty if nothing is."""
    programs, cluster = _brewed(seed)
    begun = cluster.begun
    cancelled = {one.run_id for one in begun if any(name is None for _, name, _ in one.messages)}
    try:
        with quiet():
            after = cluster.ride()
    except (InvariantError, SimulationStuckError, AssertionError) as broken:
        return f"storm {seed}: {broken}"
    tally.storms += 1
    tally.runs += len(begun)
    tally.crashes += after.situations.get("crash", 0)
    for what, times in after.situations.items():
        tally.situations[what] = tally.situations.get(what, 0) + times
    if after.failures:
        return f"storm {seed}: {after.failures[0]!r}"
    for program, one in zip(programs, begun, strict=True):
        result = _logged(after.logs[one.run_id])
        if result == (None, "RunCancelled") and one.run_id in cancelled:
            continue
        if result not in permitted(program, START, late=True):
            return f"storm {seed}: {one.run_id} {json.dumps(program)} came to {result}"
    return ""


def _messages(program: Program, source: random.Random) -> list[tuple[float, str | None, Any]]:
    waits = json.dumps(program).count('"early"')
    messages: list[tuple[float, str | None, Any]] = [
        (source.choice((0.0, 1.0, 60.0)), "early", SIGNALS["early"]) for _ in range(TURNS_MAX * waits)
    ]
    if source.random() < 0.3:
        messages.append((source.choice((0.5, 5.0, 50.0)), None, None))
    return messages


def _logged(log: list[Any]) -> Result:
    last = log[-1]
    if isinstance(last, RunCompleted):
        return int(last.result), ""
    if isinstance(last, RunFailed):
        return None, last.failure.qualname
    return None, type(last).__name__


def proof(seed: int, tally: Tally, *, pairs: bool = False) -> str:
    """Everything for one seed; what is wrong, empty if nothing is."""
    program = drawn(random.Random(seed).randrange)
    for rendering in RENDERINGS:
        failure = prove(program, rendering, tally, pairs=pairs)
        if failure is not None:
            return f"seed {seed}: {failure}"
    # A storm costs as much as thirty single crashes, so every other seed has one.
    return storm(seed, tally) if seed % 2 == 0 else ""


def prove_some(first: int, count: int, *, pairs: bool = False) -> tuple[Tally, str]:
    """Some seeds in a row: what was done, and the first problem."""
    tally = Tally()
    for seed in range(first, first + count):
        if problem := proof(seed, tally, pairs=pairs):
            return tally, problem
    return tally, ""
