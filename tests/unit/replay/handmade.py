"""
Histories and machines made by hand.

Owns: events with defaults, their rows, and a machine over them. Must not know drivers or stores.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fluxo import NonDeterminismError
from fluxo.codec.event import chain, encode_event
from fluxo.model.events import Event, RunStarted, StepCompleted, StepFailed, TimerFired
from fluxo.model.failure import Failure
from fluxo.replay.command import Command, CommandScope
from fluxo.replay.history import History
from fluxo.replay.machine import Machine
from fluxo.store import EventRow

RUN_ID = "recorded"
ARGS = b"[]"


def machine_of(*events: Event) -> Machine:
    return Machine(history_of(*events))


def issue_step(
    machine: Machine, name: str = "a", args: bytes | None = ARGS, scope: CommandScope | None = None
) -> Command:
    return machine.issue(scope or machine.root, "step", name, "new.py:9 in w", args)


def deliver_all(machine: Machine) -> None:
    while machine.replaying:
        machine.deliver_next()


def divergence(action: Callable[[], object]) -> NonDeterminismError:
    with pytest.raises(NonDeterminismError) as caught:
        action()
    return caught.value


def rows_of(*events: Event, nonce: int = 7) -> list[EventRow]:
    """The events as a store keeps them."""
    rows: list[EventRow] = []
    digest = 0
    for seq, event in enumerate(events, 1):
        body = encode_event(event)
        digest = chain(digest, nonce, body)
        rows.append((seq, nonce, digest, body))
    return rows


def history_of(*events: Event) -> History:
    """The verified history of a run with these events after its RunStarted."""
    return History(RUN_ID, rows_of(started(), *events))


def started(at_us: int = 1_000, timeout_us: int | None = None) -> RunStarted:
    return RunStarted(at_us, RUN_ID, "w", "1", b"[]", 42, timeout_us=timeout_us)


def completed(
    position: int,
    *,
    scope: str = "",
    ordinal: int | None = None,
    name: str = "a",
    args: bytes | None = b"[]",
    result: bytes = b"1",
    at_us: int = 2_000,
) -> StepCompleted:
    """A step of the main flow that returned 1; in that flow positions and ordinals are equal unless told."""
    ordinal = position if ordinal is None else ordinal
    return StepCompleted(at_us, scope, position, ordinal, name, "old.py:1 in w", args, 1, result)


def failed(position: int, *, scope: str = "", ordinal: int | None = None, name: str = "a") -> StepFailed:
    failure = Failure("builtins", "ValueError", "no", b'["no"]')
    ordinal = position if ordinal is None else ordinal
    return StepFailed(2_000, scope, position, ordinal, name, "old.py:1 in w", b"[]", 1, failure)


def fired(position: int, *, scope: str = "", ordinal: int | None = None, args: bytes = b"1000000") -> TimerFired:
    ordinal = position if ordinal is None else ordinal
    return TimerFired(2_000, scope, position, ordinal, "sleep", "old.py:1 in w", args)
