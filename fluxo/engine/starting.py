"""
From a workflow and its arguments to the first event of a run.

Owns: validation at start, the input's digest, and what a repeated id means. Must not know how the append is
carried out, so that the blocking engine and its awaitable mirror share it.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from fluxo.authoring.workflow import WorkflowBase
from fluxo.codec.event import chain, encode_event
from fluxo.errors import FluxoInternalError, RunExistsError, StoreUnavailableError, UsageError
from fluxo.model.events import RunStarted
from fluxo.model.names import shard_of
from fluxo.model.run import RunRecord, RunStatus
from fluxo.replay.history import History
from fluxo.store import Append, Committed, Existing, NewRun, Outcome, Unknown

if TYPE_CHECKING:
    from fluxo.runtime.core import Core

__all__ = ["Starting"]


class Starting:
    """
    One run about to be created.

    Attributes:
        append: The append that creates it.
        here: This engine will execute it itself, at once.
    """

    __slots__ = ("append", "definition", "here", "nonce", "run_id", "started")

    def __init__(
        self,
        core: Core,
        definition: WorkflowBase,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        """
        Check and encode everything before anything is written.

        Raises:
            UsageError: not a workflow, or arguments that do not fit its signature.
            EncodeError: an argument of another type than promised, or not data.
            LimitExceededError: the encoded input is too large.
        """
        if not isinstance(definition, WorkflowBase):
            raise UsageError(f"only functions decorated with @workflow can be started, not {type(definition).__name__}")
        options = definition.options_
        body = definition.arguments.encode(definition.complete(args), kwargs, definition.where)
        self.definition = definition
        self.run_id = options.id or core.ids.run_id()
        self.nonce = core.ids.nonce()
        self.here = core.owner is not None and not core.draining and options.queue in core.queues
        timeout_us = None if options.timeout_s is None else round(options.timeout_s * 1_000_000)
        started = self.started = RunStarted(
            core.clock.now_us(),
            self.run_id,
            options.name,
            options.version,
            body,
            core.ids.nonce(),
            timeout_us=timeout_us,
        )
        event = encode_event(started)
        digest = blake2b(body, digest_size=16, key=f"{options.name}\0{options.version}".encode()[:64]).digest()
        new = NewRun(
            core.namespace,
            self.run_id,
            options.name,
            options.version,
            options.queue,
            shard_of(self.run_id),
            digest,
            RunStatus.RUNNING if self.here else RunStatus.PENDING,
            core.owner if self.here else None,
            self.nonce,
        )
        row = (1, self.nonce, chain(0, self.nonce, event), event)
        self.append = Append(0, 0, 0, [row], new=new)

    def created(self, outcome: Outcome) -> int | None:
        """
        The new run's key, or None when an equal run stands under this id.

        Raises:
            RunExistsError: another workflow or input holds the id.
            StoreUnavailableError: the outcome is unknown; ask again with the same id.
        """
        if isinstance(outcome, Committed):
            return outcome.key
        if isinstance(outcome, Existing):
            self._must_equal(outcome.run)
            return None
        if isinstance(outcome, Unknown):
            raise StoreUnavailableError(
                f"run {self.run_id!r}",
                f"it is not known whether it was created ({outcome.problem}); start it again with this id",
            )
        raise FluxoInternalError(f"answer {type(outcome).__name__} to the creation of run {self.run_id!r}")

    def history(self) -> History:
        """The log of the run just created."""
        return History.begun(self.started, self.append.events[0])

    def _must_equal(self, run: RunRecord) -> None:
        new = self.append.new
        if new is None:
            raise FluxoInternalError("a creation without a row")
        if (run.workflow, run.version) != (new.workflow, new.version):
            raise RunExistsError(self.run_id, f"workflow ({run.workflow!r} version {run.version!r})")
        if run.input_digest != new.input_digest:
            raise RunExistsError(self.run_id, "input")
