"""
What tests find out: verdicts, not errors of the library.

Owns: the classes that `fluxo.testing` raises. Must not know what found it. They stand apart from `fluxo.errors`, which
a program loads that never tests anything; as there, each message says what happened, to which run, and what to do next.
"""

from __future__ import annotations

from fluxo.errors import FluxoError

__all__ = ["InvariantError", "SimulationStuckError"]


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
