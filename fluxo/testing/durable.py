"""
`check_durable`: does this workflow survive a crash at every point, and replay alike everywhere?

Owns: what is tried, in which order, and the report. Must not know how a trial is played or judged. In order: without
faults; a replay of every prefix of its log; in other processes; a crash at every point; pairs of crashes; other orders
of completion; every message twice; messages late. What is tried first is what is said first, so the schedule reported
is the shortest. Theory: reliability.md §4, §5.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Final, NoReturn, ParamSpec, TypedDict, TypeVar, Unpack
from zlib import crc32

from fluxo.authoring.workflow import AsyncWorkflow, Workflow
from fluxo.engine.rehearsal import Rehearsal
from fluxo.errors import NonDeterminismError
from fluxo.model.events import Event
from fluxo.testing.elsewhere import home_of, replay_elsewhere
from fluxo.testing.errors import DurabilityError, ElsewhereWarning
from fluxo.testing.judging import Problem, judge, judge_alone, unfaithful_payload
from fluxo.testing.report import regression, story
from fluxo.testing.simulation.faults import CrashAt, Storm, StormRates
from fluxo.testing.trial import RUN_ID, Case, Sent, Trial, attempt

__all__ = ["CheckDurable", "CheckOptions", "Durability", "check_durable"]

P = ParamSpec("P")
R = TypeVar("R")

PAIRS: Final = 16
"""Pairs of crash points tried by default: all of them for the shortest runs, drawn for longer ones."""
ORDERS: Final = 4
_LATE_S: Final = 86_400.0
_REORDER: Final = StormRates(
    crash=0, stop=0, give_way=0.5, error_before=0, error_after=0, slow=0, hint_lost=0, hint_repeated=0
)


@dataclass(frozen=True)
class Durability:
    """
    What a check has done.

    Attributes:
        outcome: How the run ends without faults.
        points: The points at which its process was killed, by name.
        trials: How many runs were played.
        crashes: How many crashes they survived.
        replays: How many prefixes were replayed.
        elsewhere: It was also replayed in other processes.
    """

    outcome: str
    points: tuple[str, ...]
    trials: int
    crashes: int
    replays: int
    elsewhere: bool


class CheckOptions(TypedDict, total=False):
    """
    How a check is made; see `CheckDurable.options`.

    Attributes:
        sent: Signals and cancellations that reach the run, and when; each keeps its place over all trials.
        fakes: What stands in for step bodies, by step name; see `Bodies`. Other steps are real: they are executed in
            every trial.
        resources: What steps get from `fluxo.resource`.
        schedules: The schedules of crashes to try, in place of all single points and some pairs.
        pairs: How many pairs of points to try; None for all of them.
        orders: How many other orders of completion to try.
        elsewhere: Replay in other processes, too.
    """

    sent: Sequence[Sent]
    fakes: Mapping[str, Any]
    resources: Mapping[str, Any]
    schedules: Sequence[tuple[int, ...]]
    pairs: int | None
    orders: int
    elsewhere: bool


class CheckDurable:
    """
    Checks a workflow; `check_durable` is the one with the default options.

    Use it as ``check_durable(workflow, *args)``, or with options: ``check_durable.options(sent=[…])(workflow, *args)``.
    """

    def __init__(self, options: CheckOptions | None = None) -> None:
        self._options = options or CheckOptions()

    def options(self, **options: Unpack[CheckOptions]) -> CheckDurable:
        """The same check with these options in place of what it had; see `CheckOptions`."""
        return CheckDurable({**self._options, **options})

    def __call__(self, workflow: Workflow[P, R] | AsyncWorkflow[P, R], *args: P.args, **kwargs: P.kwargs) -> Durability:
        """
        Check one case; nothing of it leaves the process's memory but what the steps themselves do.

        Returns:
            What was done.

        Raises:
            DurabilityError: an AssertionError with the shortest schedule of crashes, what differed and where, and a
                test to keep.
            UsageError: a fake for a step that does not exist.

        Cost: about one millisecond per trial and one trial per point; a run of 10 steps has about 40 points.
        """
        options = self._options
        case = Case(
            workflow, args, kwargs, options.get("sent", ()), options.get("fakes", {}), options.get("resources", {})
        )
        return _Check(case, options).run()


check_durable: Final = CheckDurable()


class _Check:
    def __init__(self, case: Case, options: CheckOptions) -> None:
        self.case = case
        self.schedules = options.get("schedules")
        self.pairs = options.get("pairs", PAIRS)
        self.orders = options.get("orders", ORDERS)
        self.elsewhere = options.get("elsewhere", True)
        self.trials = self.crashes = self.replays = 0
        # Drawn alike for the same case, so that Hypothesis can shrink it and a failure comes again.
        self.random = random.Random(crc32(repr((case.args, case.kwargs)).encode()))

    def run(self) -> Durability:
        base = self._attempt((), self.case)
        self._demand(judge_alone(base), base, (), "without any fault")
        self._demand(unfaithful_payload(base), base, (), "without any fault")
        self._replay_prefixes(base)
        elsewhere = self._replay_elsewhere(base)
        if self.schedules is not None:
            for schedule in self.schedules:
                self._try(base, schedule)
        else:
            self._crash_everywhere(base)
        self._reorder(base)
        self._repeat_messages(base)
        return Durability(str(base.outcome), tuple(base.points), self.trials, self.crashes, self.replays, elsewhere)

    def _attempt(self, schedule: tuple[int, ...], case: Case, copies: int = 1) -> Trial:
        trial = attempt(case, CrashAt(*schedule), copies=copies)
        self.trials += 1
        self.crashes += len(trial.crashes)
        return trial

    def _try(self, base: Trial, schedule: tuple[int, ...]) -> Trial:
        trial = self._attempt(schedule, self.case)
        self._demand(judge(base, trial), trial, schedule, "with a crash at each point of the schedule")
        return trial

    def _crash_everywhere(self, base: Trial) -> None:
        """Every single point, then pairs whose second point lies in the recovery from the first, or after it."""
        seconds: list[tuple[int, int]] = []
        for point in range(len(base.points)):
            trial = self._try(base, (point,))
            seconds += [(point, second) for second in range(point + 1, len(trial.points))]
        if self.pairs is not None and len(seconds) > self.pairs:
            seconds = self.random.sample(seconds, self.pairs)
        for schedule in seconds:
            self._try(base, schedule)

    def _replay_prefixes(self, trial: Trial) -> None:
        """A replay after every event, with nothing kept in memory (I7)."""
        for length in range(1, len(trial.rows) + 1):
            self._replay(trial, length)

    def _replay(self, trial: Trial, length: int) -> None:
        rehearsed = _rehearsal().replay(RUN_ID, trial.rows[:length], self.case.workflow)
        self.replays += 1
        if not rehearsed.holds:
            found = rehearsed.problem
            sites = (found.expected, found.actual) if isinstance(found, NonDeterminismError) else None
            problem = Problem(f"a replay of its first {length} events differs: {found}", rehearsed.seq, sites)
            self._fail(problem, trial, (), "replayed after every event")

    def _replay_elsewhere(self, base: Trial) -> bool:
        if not self.elsewhere:
            return False
        home = home_of(self.case.workflow)
        if home is None:
            warnings.warn(
                f"{self.case.workflow.where} was not replayed in another process, where another hash seed, time zone, "
                "locale and clock could show what it depends on: it is not a module's own function. Move it to the "
                "module's level, or say check_durable.options(elsewhere=False)",
                ElsewhereWarning,
                stacklevel=4,
            )
            return False
        answer = replay_elsewhere(home, RUN_ID, base.rows)
        if answer is not None:
            problem = Problem(f"a replay in another process differs: {answer.problem}", answer.seq)
            self._fail(problem, base, (), "replayed with another hash seed, time zone, locale and clock")
        return True

    def _reorder(self, base: Trial) -> None:
        """Other orders of completion: what is told may differ, so each is measured by its own replay."""
        if not _has_concurrency(base.history):
            return
        for _ in range(self.orders):
            order = random.Random(self.random.getrandbits(32))
            faults = Storm(random.Random(order.getrandbits(32)), _REORDER, lease_s=1.0)
            trial = attempt(self.case, faults, choose=order.randrange)
            self.trials += 1
            self._demand(judge(base, trial), trial, (), "with another order of completions")
            self._replay(trial, len(trial.rows))

    def _repeat_messages(self, base: Trial) -> None:
        if not self.case.sent:
            return
        twice = self._attempt((), self.case, copies=2)
        self._demand(judge(base, twice), twice, (), "with every message delivered twice")
        late = [replace(sent, after=sent.after_s + _LATE_S) for sent in self.case.sent]
        trial = self._attempt((), replace(self.case, sent=late))
        self._demand(judge_alone(trial), trial, (), "with every message a day late")
        self._replay(trial, len(trial.rows))

    def _demand(self, problem: Problem | None, trial: Trial, schedule: tuple[int, ...], how: str) -> None:
        if problem is not None:
            self._fail(problem, trial, schedule, how)

    def _fail(self, problem: Problem, trial: Trial, schedule: tuple[int, ...], how: str) -> NoReturn:
        report = f"{story(problem, trial, schedule, how)}\n{regression(self.case, schedule)}"
        raise DurabilityError(self.case.workflow.name, problem.what, schedule, report)


@cache
def _rehearsal() -> Rehearsal:
    """One for all checks of this process: its threads are daemons and idle between them."""
    return Rehearsal()


def _has_concurrency(history: Sequence[Event]) -> bool:
    """Whether two commands were ever open at once: completed out of turn, waited for together, or on side strands."""
    ordinals = list(_ordinals(history))
    return ordinals != sorted(ordinals) or any(
        len(getattr(event, "waits", ())) > 1 or getattr(event, "scope", "") for event in history
    )


def _ordinals(history: Sequence[Event]) -> Iterator[int]:
    for event in history:
        ordinal = getattr(event, "ordinal", None)
        if ordinal is not None:
            yield ordinal
