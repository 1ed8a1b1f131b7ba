"""
The handle of one run.

Owns: `Handle` and what a run's end means to a caller. Must not know how the end is waited for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

from fluxo.authoring.registry import find_workflow
from fluxo.codec.failure import error_of
from fluxo.codec.payload import ANY, TypeCodec
from fluxo.engine.awaiting import call, poll_end, wait_end
from fluxo.engine.watch import End
from fluxo.errors import DecodeError, RunBlockedError, RunCancelledError, RunFailedError
from fluxo.model.events import Event, RunBlocked, RunCompleted, RunFailed
from fluxo.model.info import RunInfo
from fluxo.model.run import RunStatus

if TYPE_CHECKING:
    from fluxo.engine.node import Node

__all__ = ["AsyncHandle", "Handle", "result_of"]

R = TypeVar("R")


class Handle(Generic[R]):
    """A run, by its id: cheap to make and to keep, valid in any process that reaches the store."""

    __slots__ = ("codec", "id", "node")

    def __init__(self, node: Node, run_id: str, codec: TypeCodec | None) -> None:
        self.node = node
        self.id = run_id
        self.codec = codec

    def __repr__(self) -> str:
        return f"Handle({self.id!r})"

    def result(self, timeout: float | None = None) -> R:
        """
        Wait for the run's result.

        Raises:
            RunFailedError: from the original error, which is its `__cause__`.
            RunCancelledError: the run was cancelled.
            RunBlockedError: it needs someone to act; `.report` says on what.
            ResultTimeoutError: no end within `timeout` seconds; the run goes on.

        Cost: pushed inside a process; between processes one query per change of the store.
        """
        result: R = result_of(self.id, self.node.wait_end(self.id, timeout), self.codec)
        return result

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the run has ended or is blocked, without raising; False if `timeout` passed first."""
        return self.node.poll_end(self.id, timeout) is not None

    def status(self) -> RunStatus:
        """Where the run stands now."""
        self.node.ready()
        return self.node.control.find(self.id).status

    def info(self) -> RunInfo:
        """The run now, with the report if it is blocked."""
        self.node.ready()
        return self.node.control.info(self.id)

    def history(self) -> tuple[Event, ...]:
        """The run's events so far; event n has index n - 1."""
        self.node.ready()
        return self.node.control.history(self.id)

    def signal(self, name: str, payload: Any = None, *, key: str | None = None) -> None:
        """Send a signal; see `Engine.signal`."""
        self.node.ready()
        self.node.control.signal(self.id, name, payload, key)

    def cancel(self, *, force: bool = False) -> bool:
        """Cancel the run; see `Engine.cancel`."""
        self.node.ready()
        return self.node.control.cancel(self.id, force=force)

    def resume(self) -> None:
        """Let a failed or blocked run go on; see `Engine.resume`."""
        self.node.ready()
        self.node.control.resume(self.id)

    @property
    def aio(self) -> AsyncHandle[R]:
        """The same handle with awaitable methods."""
        return AsyncHandle(self)


class AsyncHandle(Generic[R]):
    """`Handle`, awaited."""

    __slots__ = ("_handle",)

    def __init__(self, handle: Handle[R]) -> None:
        self._handle = handle

    @property
    def id(self) -> str:
        """The run's id."""
        return self._handle.id

    async def result(self, timeout: float | None = None) -> R:
        """See `Handle.result`."""
        handle = self._handle
        end = await wait_end(handle.node, handle.id, timeout)
        result: R = result_of(handle.id, end, handle.codec)
        return result

    async def wait(self, timeout: float | None = None) -> bool:
        """See `Handle.wait`."""
        handle = self._handle
        return await poll_end(handle.node, handle.id, timeout) is not None

    async def status(self) -> RunStatus:
        """See `Handle.status`."""
        return await call(self._handle.node, self._handle.status)

    async def info(self) -> RunInfo:
        """See `Handle.info`."""
        return await call(self._handle.node, self._handle.info)

    async def history(self) -> tuple[Event, ...]:
        """See `Handle.history`."""
        return await call(self._handle.node, self._handle.history)

    async def signal(self, name: str, payload: Any = None, *, key: str | None = None) -> None:
        """See `Engine.signal`."""
        await call(self._handle.node, lambda: self._handle.signal(name, payload, key=key))

    async def cancel(self, *, force: bool = False) -> bool:
        """See `Engine.cancel`."""
        return await call(self._handle.node, lambda: self._handle.cancel(force=force))

    async def resume(self) -> None:
        """See `Engine.resume`."""
        await call(self._handle.node, self._handle.resume)


def codec_of(workflow: str, version: str) -> TypeCodec:
    """How to read the results of a workflow known by name; as plain data where it is not registered."""
    definition = find_workflow(workflow, version)
    return ANY if definition is None else definition.result


def result_of(run_id: str, end: End, codec: TypeCodec | None) -> Any:
    """The result behind an end, or the error it stands for."""
    if isinstance(end, RunCompleted):
        return (codec or ANY).decode(end.result, f"result of run {run_id!r}")
    if isinstance(end, RunFailed):
        failed = RunFailedError(run_id, f"{end.failure.qualname}: {end.failure.message}")
        try:
            cause = error_of(end.failure, "workflow")
        except DecodeError as problem:
            cause = problem
        raise failed from cause
    if isinstance(end, RunBlocked):
        raise RunBlockedError(run_id, end.reason, end.report)
    raise RunCancelledError(run_id)
