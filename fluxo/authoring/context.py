"""
Where authoring code meets the run it executes in.

Owns: the context variable and the protocol of what stands in it. Must not know who implements it
(`fluxo.runtime`). Without a run the variable is unset and every decorated function is plain.
"""

from __future__ import annotations

from collections.abc import Awaitable, Coroutine
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from fluxo.errors import UsageError

if TYPE_CHECKING:
    import random
    import uuid
    from contextlib import AbstractContextManager

    from fluxo.authoring.future import Future
    from fluxo.authoring.step import StepBase

__all__ = ["RunContext", "RunScope", "active", "require"]


class RunContext(msgspec.Struct, frozen=True, kw_only=True):
    """
    Facts about where the caller is.

    Attributes:
        run_id, workflow, version: The run and its definition.
        step: Name of the step whose body is running; None in the workflow itself.
        attempt: Attempt of that step, from 1; 0 in the workflow itself.
        replaying: True while the workflow is being rebuilt from its history.
        idempotency_key: Stable over attempts and recoveries of one step call, unique to it; empty in
            the workflow itself. Hand it to services that de-duplicate by key.
    """

    run_id: str
    workflow: str
    version: str
    step: str | None = None
    attempt: int = 0
    replaying: bool = False
    idempotency_key: str = ""


class RunScope(Protocol):
    """What a run (or a step body within it) offers to authoring code. One implementation per colour."""

    def call_step(self, step: StepBase, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A bare call of a sync step: its result."""
        ...

    def call_async_step(
        self, step: StepBase, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Coroutine[Any, Any, Any]:
        """A bare call of an async step: something to await."""
        ...

    def await_step(self, step: StepBase, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Coroutine[Any, Any, Any]:
        """``step.aio(…)``."""
        ...

    def submit_step(self, step: StepBase, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Future[Any]:
        """``step.submit(…)``."""
        ...

    def about_to_block(self, awaitable: str) -> None:
        """An async workflow refuses, and names the `awaitable` spelling."""
        ...

    def call_workflow(self, name: str) -> None:
        """A workflow called inside a run; raises until children exist."""
        ...

    def sleep(self, delay_us: int | None, until_us: int | None) -> None: ...

    def async_sleep(self, delay_us: int | None, until_us: int | None) -> Awaitable[None]: ...

    def wait_signal(self, names: tuple[str, ...], annotation: Any, timeout_us: int | None) -> tuple[str, Any]:
        """Name and payload, as `annotation`, of the signal that came."""
        ...

    def async_wait_signal(
        self, names: tuple[str, ...], annotation: Any, timeout_us: int | None
    ) -> Awaitable[tuple[str, Any]]: ...

    def wait_futures(self, futures: list[Future[Any]], count: int) -> None:
        """Block until `count` of them are done."""
        ...

    def async_wait_futures(self, futures: list[Future[Any]], count: int) -> Awaitable[None]: ...

    def deliver_signal(self, run_id: str, name: str, payload: bytes, key: str) -> None:
        """Put a signal into another run's inbox; called from the body of the step behind `fluxo.signal`."""
        ...

    def shield(self) -> AbstractContextManager[None]: ...

    def now_us(self) -> int: ...

    def random(self) -> random.Random: ...

    def uuid4(self) -> uuid.UUID: ...

    def info(self) -> RunContext: ...

    def resource(self, name: str) -> Any: ...


active: ContextVar[RunScope] = ContextVar("fluxo_run")


def require(what: str) -> RunScope:
    """
    The scope of the run under way.

    Raises:
        UsageError: called outside a run.
    """
    scope = active.get(None)
    if scope is None:
        raise UsageError(f"{what} only works inside a run: start the workflow with engine.run() or engine.start()")
    return scope
