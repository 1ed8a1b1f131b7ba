"""
The table of what each recorded event does to a replay.

Owns: event class → kind of command and effect. The machine looks here and nowhere else (transitions in one place).
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from fluxo.model.events import (
    CancelRequested,
    CommandEvent,
    Event,
    RunBlocked,
    RunCancelled,
    RunClaimed,
    RunCompleted,
    RunFailed,
    RunReopened,
    RunStarted,
    RunWaiting,
    SignalReceived,
    SignalTimedOut,
    StepCompleted,
    StepFailed,
    StepRetried,
    TimerFired,
)
from fluxo.replay.command import Kind

__all__ = ["EFFECTS", "KINDS", "Effect", "kind_of"]


class Effect(IntEnum):
    """What delivering an event means."""

    COMPLETES = 1
    """Ends the command it names."""
    POSTPONES = 2
    """The command it names goes on, later."""
    CHECKS = 3
    """Changes nothing; the open commands must be the recorded ones."""
    CANCELS = 4
    """Raises in the workflow."""
    NOTHING = 5
    """Bookkeeping of ownership; invisible to the workflow."""
    ENDS = 6
    """The workflow must have ended here."""


EFFECTS: Final[dict[type, Effect]] = {
    StepCompleted: Effect.COMPLETES,
    StepFailed: Effect.COMPLETES,
    TimerFired: Effect.COMPLETES,
    SignalReceived: Effect.COMPLETES,
    SignalTimedOut: Effect.COMPLETES,
    StepRetried: Effect.POSTPONES,
    RunWaiting: Effect.CHECKS,
    CancelRequested: Effect.CANCELS,
    RunClaimed: Effect.NOTHING,
    RunReopened: Effect.NOTHING,
    RunStarted: Effect.NOTHING,
    RunCompleted: Effect.ENDS,
    RunFailed: Effect.ENDS,
    RunCancelled: Effect.ENDS,
    RunBlocked: Effect.ENDS,
}

KINDS: Final[dict[type, Kind]] = {
    StepCompleted: "step",
    StepFailed: "step",
    StepRetried: "step",
    TimerFired: "timer",
    SignalReceived: "signal",
    SignalTimedOut: "signal",
}


def kind_of(event: Event | CommandEvent) -> str:
    """The kind of command this event is about."""
    return KINDS.get(type(event), "-")
