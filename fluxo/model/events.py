"""
The facts a run's log is made of: one tagged union of frozen structs.

Owns: the events' fields and their tags. Must not know how they are stored or applied.
Rules for ever: a tag is never re-used, a field never changes its meaning, and a new field is appended
with a default, so that every history stays readable (DESIGN §3). Structs are array-like and untracked
by the collector because a replay creates one per recorded step.

Events that complete a command repeat what the command was: scope path, position in that scope,
ordinal in the whole run, name, encoded arguments and call site. That is what replay compares.
"""

from __future__ import annotations

from typing import Final, TypeAlias

import msgspec

from fluxo.model.failure import Failure

__all__ = [
    "SEMANTICS",
    "CancelRequested",
    "CommandEvent",
    "Event",
    "RunBlocked",
    "RunCancelled",
    "RunClaimed",
    "RunCompleted",
    "RunFailed",
    "RunReopened",
    "RunStarted",
    "RunWaiting",
    "SignalReceived",
    "SignalTimedOut",
    "StepCompleted",
    "StepFailed",
    "StepRetried",
    "TerminalEvent",
    "TimerFired",
    "Wait",
]

SEMANTICS: Final = 1
"""Version of the scheduling rules (`fluxo.replay`), pinned in each run's first event."""


class RunStarted(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=1):
    """First event. `seed` feeds random() and uuid4(); `timeout_us` bounds the whole run."""

    at_us: int
    run_id: str
    workflow: str
    version: str
    input: bytes
    seed: int
    semantics: int = SEMANTICS
    timeout_us: int | None = None


class RunClaimed(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=2):
    """
    A worker took the run over; its seq is the epoch and fences every earlier owner.

    `unclean` marks a takeover from a dead worker while the run was executing: consecutive ones without
    an event between them are a crash loop (PROTOCOL rule 13).
    """

    at_us: int
    worker: str
    unclean: bool


class Wait(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A command that a waiting run has issued and not seen completed."""

    scope: str
    position: int
    ordinal: int
    kind: str
    name: str
    site: str
    args: bytes | None
    due_us: int | None


class RunWaiting(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=3):
    """Nothing can go on until one of `waits` ends; `issued` commands exist so far."""

    at_us: int
    issued: int
    waits: tuple[Wait, ...]


class CommandEvent(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What every event about a command repeats of it. `args` is None when arguments are not recorded."""

    at_us: int
    scope: str
    position: int
    ordinal: int
    name: str
    site: str
    args: bytes | None


class StepCompleted(CommandEvent, frozen=True, array_like=True, gc=False, tag=4):
    """A step returned `result` (encoded) on its `attempts`-th attempt."""

    attempts: int
    result: bytes


class StepFailed(CommandEvent, frozen=True, array_like=True, gc=False, tag=5):
    """A step failed for good on its `attempts`-th attempt."""

    attempts: int
    failure: Failure


class StepRetried(CommandEvent, frozen=True, array_like=True, gc=False, tag=6):
    """The `attempt`-th attempt failed; the next starts at `retry_at_us` (delay and jitter are drawn once, here)."""

    attempt: int
    retry_at_us: int
    failure: Failure


class TimerFired(CommandEvent, frozen=True, array_like=True, gc=False, tag=7):
    """A timer was due; `args` holds what was asked for."""


class SignalReceived(CommandEvent, frozen=True, array_like=True, gc=False, tag=8):
    """A wait took message `inbox_n`: signal `signal` with this payload."""

    inbox_n: int
    signal: str
    dedup_key: str
    payload: bytes


class SignalTimedOut(CommandEvent, frozen=True, array_like=True, gc=False, tag=9):
    """No awaited signal had come at the deadline."""


class CancelRequested(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=10):
    """The run is to end; raised at its current wait. `inbox_n` is 0 when the run's own timeout asked."""

    at_us: int
    inbox_n: int
    reason: str


class RunCompleted(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=11):
    """Terminal: the workflow returned `result` (encoded) after issuing `issued` commands."""

    at_us: int
    issued: int
    result: bytes


class RunFailed(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=12):
    """
    Terminal: the workflow raised.

    `cause_seq` is the StepFailed event whose error came out, or the CancelRequested with which the run's own
    timeout ended it (0 if neither), `cause_issued` the number of commands issued before that was delivered,
    `handled` the StepFailed events whose errors the workflow had met before: `resume` voids the cause, what came of
    it, and the failures that had not been met.
    """

    at_us: int
    issued: int
    failure: Failure
    cause_seq: int
    cause_issued: int
    handled: tuple[int, ...] = ()


class RunCancelled(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=13):
    """Terminal: the run was cancelled; `forced` without its workflow being asked."""

    at_us: int
    forced: bool


class RunBlocked(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=14):
    """The engine refuses to go on. `reason` is one word, `report` for people; `seq` the event it is about."""

    at_us: int
    reason: str
    report: str
    seq: int


class RunReopened(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=15):
    """`resume`: the run goes on as if the events `voided` had not been written."""

    at_us: int
    voided: tuple[int, ...]


Event: TypeAlias = (
    RunStarted
    | RunClaimed
    | RunWaiting
    | StepCompleted
    | StepFailed
    | StepRetried
    | TimerFired
    | SignalReceived
    | SignalTimedOut
    | CancelRequested
    | RunCompleted
    | RunFailed
    | RunCancelled
    | RunBlocked
    | RunReopened
)

TerminalEvent: TypeAlias = RunCompleted | RunFailed | RunCancelled
