"""
How an activation ends: the terminal event, or the one that blocks the run.

Owns: which end a returned value or a raised error is. Must not know drivers; what it says is committed by them.
"""

from __future__ import annotations

import logging
from os.path import basename
from typing import TYPE_CHECKING, Any, Final

from fluxo.codec.failure import failure_of
from fluxo.errors import (
    CodecError,
    DecodeError,
    FluxoError,
    HistoryCorruptError,
    LimitExceededError,
    NonDeterminismError,
    RunTimeoutError,
)
from fluxo.model.events import Event, RunBlocked, RunCancelled, RunCompleted, RunFailed
from fluxo.model.run import RunStatus
from fluxo.replay.command import site_of_error
from fluxo.store import Projection

if TYPE_CHECKING:
    from fluxo.authoring.workflow import WorkflowBase
    from fluxo.runtime.activation import Activation

__all__ = ["blocking", "ending"]

_log = logging.getLogger("fluxo.run")
_REASONS: Final[dict[type, str]] = {
    NonDeterminismError: "nondeterminism",
    HistoryCorruptError: "corrupt",
    DecodeError: "undecodable",
    LimitExceededError: "limit",
}


def ending(run: Activation, value: Any, error: BaseException | None) -> tuple[Event, Projection]:
    """
    The terminal event for a workflow that returned `value` or raised `error`.

    Raises:
        NonDeterminismError: the history says it went on.
        HistoryCorruptError: what is left of the history cannot be read.
    """
    machine, definition = run.machine, run.definition
    machine.end(*_how_it_ended(definition, error))
    at_us = run.journal.at_us()
    if error is None:
        try:
            body = definition.result.roundtrip(value, definition.where)[0]
            return RunCompleted(at_us, machine.issued, body), run.projection(RunStatus.COMPLETED, owned=False)
        except (CodecError, LimitExceededError) as problem:
            error = problem
    if run.is_cancellation(error):
        if machine.cancel is None or machine.cancel.reason != "timeout":
            return RunCancelled(at_us, False), run.projection(RunStatus.CANCELLED, owned=False)
        error = RunTimeoutError(run.run_id, (machine.started.timeout_us or 0) / 1_000_000)
        cause = machine.cancelled_at
    else:
        cause = machine.cause_of(error)
    failed = RunFailed(at_us, machine.issued, failure_of(error, definition.where), *cause)
    return failed, run.projection(RunStatus.FAILED, owned=False)


def _how_it_ended(definition: WorkflowBase, error: BaseException | None) -> tuple[str, str]:
    """What the workflow did last, and where; the type of an error only, since its text may hold a secret."""
    if error is not None:
        return f"raised {type(error).__name__}", site_of_error(error)
    code = definition.fn.__code__
    return "returned", f"{basename(code.co_filename)}:{code.co_firstlineno} in {code.co_qualname}"


def blocking(run: Activation, problem: FluxoError) -> tuple[Event, Projection]:
    """The event that stops the run until someone acts."""
    reason = _REASONS.get(type(problem), "error")
    seq: int = getattr(problem, "seq", run.machine.peek_seq())
    if run.core.owner is not None:  # a rehearsal has none, and blocks nothing
        # Its first line only: the table below it holds arguments, which belong to those who may read the store.
        _log.error("run %s is blocked (%s): %s", run.run_id, reason, str(problem).partition("\n")[0])
    event = RunBlocked(run.journal.at_us(), reason, str(problem), seq)
    return event, run.projection(RunStatus.BLOCKED, owned=False)
