"""
Replaying a run's log against the code at hand, with nothing executed and nothing written.

Owns: the place where this happens (an engine's core over a store of paper), and what comes of it. Must not know where
the log comes from or who asks. The production drivers do the work: an activation that is told to leave as soon as its
history is used up has compared every recorded command by then, and has not begun any other. Theory: `fluxo.replay`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, NoReturn, Self

from msgspec.structs import replace

from fluxo.authoring.workflow import WorkflowBase
from fluxo.codec.event import decode_event, encode_event, fold, link
from fluxo.errors import DecodeError, FluxoError, FluxoInternalError, HistoryCorruptError
from fluxo.model.events import (
    Event,
    RunBlocked,
    RunCancelled,
    RunCompleted,
    RunFailed,
    RunReopened,
    RunWaiting,
    TerminalEvent,
    Wait,
)
from fluxo.model.failure import Failure
from fluxo.replay.history import History
from fluxo.runtime.activation import Activation
from fluxo.runtime.async_run import AsyncRun
from fluxo.runtime.core import Core
from fluxo.runtime.host import Host
from fluxo.runtime.ports import Event as LeftEvent
from fluxo.runtime.ports import LoopRunner, Ports
from fluxo.runtime.sync_run import SyncRun
from fluxo.store import Append, Committed, EventRow, Outcome
from fluxo.stores.memory import MemoryStore

__all__ = ["Rehearsal", "Rehearsed"]

PATIENCE_S: Final = 60.0
"""How long the code of one run may take until it counts as stuck; replay reads no clock and waits for nothing."""

_NONCE: Final = 1


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """
    What the code at hand makes of a recorded history.

    Attributes:
        run_id, workflow, version: The run.
        events: How many events its log holds.
        problem: Why the run would be blocked: what differs, and where; None if it would go on.
        issued: How many commands the code had issued when the history was used up.
        open: Those of them that have no outcome yet.
        end: How the code ended, if it did.
    """

    run_id: str
    workflow: str
    version: str
    events: int
    problem: FluxoError | str | None
    issued: int = 0
    open: tuple[Wait, ...] = ()
    end: TerminalEvent | None = None

    @property
    def holds(self) -> bool:
        """Whether the run would go on, or had ended, as it is recorded."""
        return self.problem is None

    @property
    def seq(self) -> int:
        """The event at which it would be blocked, as far as the problem says; else the last one."""
        return int(getattr(self.problem, "seq", self.events))


class Rehearsal:
    """
    Replays logs; a context manager, since async workflows are replayed on a loop of its own.

    Args:
        patience_s: Seconds until a workflow that neither ends nor asks for anything counts as stuck.
    """

    def __init__(self, patience_s: float = PATIENCE_S) -> None:
        ports = Ports()
        self._core = Core(_Paper(), ports, namespace="rehearsal", resources={}, observers=(), concurrency=_THREADS_MAX)
        self._core.stand_in = _nothing_runs
        self._core.on_left = self._on_left
        self._patience_s = patience_s
        self._loop: LoopRunner | None = None
        self._host: Host | None = None
        self._leaving: dict[int, _Leaving] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the threads."""
        if self._loop is not None:
            self._loop.close()
        self._core.run_threads.close()

    def replay(self, run_id: str, rows: Sequence[EventRow], definition: WorkflowBase) -> Rehearsed:
        """
        What `definition` makes of these rows; the run goes on from its log's end or is over there.

        A run that is blocked is replayed as if it had been resumed, and what only the engine wrote at the end of a
        run that was cancelled by force is left out: its code was never asked. Cost: no round trip.
        """
        try:
            history = History(run_id, _continued(run_id, rows))
            recorded = _terminal(rows)
        except (HistoryCorruptError, DecodeError) as problem:
            return Rehearsed(run_id, definition.name, definition.version, len(rows), problem)
        facts = (run_id, history.started.workflow, history.started.version, len(rows))
        activation = self._activation(definition, history)
        waits = self._waits_when_left(activation)
        if waits is None:
            self._loop = self._host = None  # its thread is lost with the workflow
            stuck = f"its code has not come to an end for {self._patience_s:g} s: it loops, or waits outside fluxo"
            return Rehearsed(*facts, stuck)
        machine, end = activation.machine, activation.ended
        if machine.blocked is not None:
            return Rehearsed(*facts, machine.blocked, waits.issued, waits.waits)
        terminal = None if isinstance(end, RunBlocked) else end
        difference = None if recorded is None else _differing_end(recorded, terminal)
        return Rehearsed(*facts, difference, waits.issued, waits.waits, terminal)

    def _activation(self, definition: WorkflowBase, history: History) -> SyncRun | AsyncRun:
        activation: SyncRun | AsyncRun
        if definition.is_async:
            activation = AsyncRun(self._core, definition, 1, _NONCE, history, 0, self._own_host())
        else:
            activation = SyncRun(self._core, definition, 1, _NONCE, history, 0)
        activation.leaving = True
        return activation

    def _waits_when_left(self, activation: SyncRun | AsyncRun) -> RunWaiting | None:
        """Let it go through its history; what was open when it left, before that is taken apart. None: it is stuck."""
        leaving = self._leaving[id(activation)] = _Leaving(self._core.threads.event())
        try:
            if isinstance(activation, SyncRun):
                self._core.run_threads.submit(activation.execute)
            else:
                activation.host.call(activation.begin)
            leaving.left.wait(self._patience_s)
            return leaving.waits
        finally:
            del self._leaving[id(activation)]

    def _on_left(self, activation: Activation) -> None:
        leaving = self._leaving.get(id(activation))
        if leaving is not None:
            leaving.waits = activation.machine.waits()
            leaving.left.set()

    def _own_host(self) -> Host:
        if self._host is None:
            self._loop = self._core.threads.loop()
            self._host = self._loop.make_host(self._core)
        return self._host


_THREADS_MAX: Final = 64
"""Of which one is in use; a workflow that is stuck keeps its own."""


@dataclass(slots=True)
class _Leaving:
    left: LeftEvent
    waits: RunWaiting | None = None


class _Paper(MemoryStore):
    """Takes every append for written and keeps none; its inboxes are empty."""

    def append(self, batch: Sequence[Append]) -> list[Outcome]:
        return [Committed(append.key) for append in batch]


def _nothing_runs(step: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> NoReturn:
    raise FluxoInternalError("a rehearsal was about to execute a step")


def _terminal(rows: Sequence[EventRow]) -> TerminalEvent | None:
    """The end that the code itself is to repeat."""
    last = decode_event(rows[-1][3]) if rows else None
    if isinstance(last, RunCompleted | RunFailed) or (isinstance(last, RunCancelled) and not last.forced):
        return last
    return None


def _continued(run_id: str, rows: Sequence[EventRow]) -> Sequence[EventRow]:
    """The rows as a worker would find them that may go on: without a forced end, and resumed if blocked."""
    last = decode_event(rows[-1][3]) if rows else None
    if isinstance(last, RunCancelled) and last.forced:
        return rows[:-1]
    if isinstance(last, RunBlocked):
        event = RunReopened(last.at_us, History(run_id, rows).voided_by_resume())
        body, digest = link(event, rows[-1][2], fold(_NONCE))
        return [*rows, (len(rows) + 1, _NONCE, digest, body)]
    return rows


def _differing_end(recorded: TerminalEvent, produced: TerminalEvent | None) -> str | None:
    """How the ends differ; their times and tracebacks may."""
    if _portable(recorded) == _portable(produced):
        return None
    return f"the run had ended otherwise: recorded {_shown(recorded)}, produced {_shown(produced)}"


def _portable(end: TerminalEvent | None) -> bytes:
    if end is None:
        return b""
    if isinstance(end, RunFailed):
        return encode_event(replace(end, at_us=0, failure=_untraced(end.failure)))
    return encode_event(replace(end, at_us=0))


def _untraced(failure: Failure) -> Failure:
    cause = None if failure.cause is None else _untraced(failure.cause)
    return replace(failure, traceback="", cause=cause)


def _shown(end: Event | None) -> str:
    """An end without its payload, which may be large or secret."""
    if isinstance(end, RunCompleted):
        return f"a result of {len(end.result)} bytes"
    if isinstance(end, RunFailed):
        return f"a {end.failure.qualname}"
    return "nothing" if end is None else "a cancellation"
