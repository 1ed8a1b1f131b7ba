"""
What tests find out: verdicts, not errors of the library.

Owns: the classes that `fluxo.testing` raises. Must not know what found it. They stand apart from `fluxo.errors`, which
a program loads that never tests anything; as there, each message says what happened, to which run, and what to do next.
"""

from __future__ import annotations

from typing import Any

from fluxo.errors import FluxoError

__all__ = [
    "DurabilityError",
    "EffectsError",
    "ElsewhereWarning",
    "HistoriesError",
    "InvariantError",
    "SimulationStuckError",
]


class SimulationStuckError(FluxoError):
    """A simulation waits for what will never come, or goes round for ever; the message says where."""


class InvariantError(FluxoError, AssertionError):
    """A simulation found a promise of the log broken: a defect of the engine or of a store, not of a workflow."""

    def __init__(self, invariant: str, run: str, how: str) -> None:
        super().__init__(invariant, run, how)
        self.invariant, self.run, self.how = invariant, run, how

    def __str__(self) -> str:
        return (
            f"invariant {self.invariant} is broken for run {self.run}: {self.how}. This is a defect of fluxo or of the "
            "store under it, whatever the workflow does: please report it with the seed"
        )


class DurabilityError(FluxoError, AssertionError):
    """
    A workflow does not survive what `check_durable` did to it.

    Attributes:
        workflow, problem: Which, and what went wrong.
        schedule: The points at which its process died; the shortest schedule that shows it.
        report: The whole story: what was done, the first event that differs, both call sites, and a test to keep.
    """

    def __init__(self, workflow: str, problem: str, schedule: tuple[int, ...], report: str) -> None:
        super().__init__(workflow, problem, schedule, report)
        self.workflow, self.problem, self.schedule, self.report = workflow, problem, schedule, report

    def __str__(self) -> str:
        return f"workflow {self.workflow!r} is not durable: {self.problem}\n{self.report}"


class EffectsError(FluxoError, AssertionError):
    """A step that was executed twice under one idempotency key did something twice."""

    def __init__(self, step: str, key: str, once: Any, twice: Any) -> None:
        super().__init__(step, key, once, twice)
        self.step, self.key, self.once, self.twice = step, key, once, twice

    def __str__(self) -> str:
        return (
            f"step {self.step!r} is not idempotent: executed once under the key {self.key!r} it left {self.once!r}, "
            f"executed again {self.twice!r}. A process may die between an effect and its record: hand "
            "fluxo.info().idempotency_key to the service, or look for what is there before adding to it"
        )


class HistoriesError(FluxoError, AssertionError):
    """Recorded histories that the code at hand would not replay; `broken` holds (file, problem)."""

    def __init__(self, total: int, broken: list[tuple[str, str]]) -> None:
        super().__init__(total, broken)
        self.total, self.broken = total, broken

    def __str__(self) -> str:
        told = "\n".join(f"{name}: {problem}" for name, problem in self.broken)
        return f"{len(self.broken)} of {self.total} recorded histories would be blocked by the code at hand\n{told}"


class ElsewhereWarning(UserWarning):
    """A workflow could not be replayed in another process, so what depends on hash seed or clock may go unseen."""
