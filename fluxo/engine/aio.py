"""
`engine.aio`: the engine's operations, awaited.

Owns: the awaitable spelling of each operation; a test holds its signatures against `Engine`'s. Must not know anything
`Engine` does not. Starting and running commit on the loop with everything else of the tick; waiting is an event of the
loop; the rest are short store calls made on a thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypeVar, overload

from fluxo.authoring.workflow import AsyncWorkflow, Workflow
from fluxo.engine.awaiting import call
from fluxo.engine.handle import Handle
from fluxo.engine.starting import Starting
from fluxo.limits import DRAIN_S
from fluxo.model.events import Event
from fluxo.model.info import EngineStats, Page
from fluxo.model.run import RunStatus
from fluxo.runtime.committer import answer
from fluxo.runtime.host import Host

if TYPE_CHECKING:
    from fluxo.engine.engine import Engine
    from fluxo.engine.node import Node

__all__ = ["AsyncEngine"]

P = ParamSpec("P")
R = TypeVar("R")


class AsyncEngine:
    """`Engine` with awaitable methods; see there for their meaning, arguments and errors."""

    def __init__(self, engine: Engine, node: Node) -> None:
        self._engine = engine
        self._node = node

    async def __aenter__(self) -> Self:
        host = Host(self._node.core, asyncio.get_running_loop(), self._node.core.threads.ident)
        # Opening blocks for a few milliseconds and recovery puts runs on this very loop: both belong here.
        self._node.open(host)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @overload
    async def run(self, workflow: AsyncWorkflow[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R: ...
    @overload
    async def run(self, workflow: Workflow[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R: ...
    async def run(self, workflow: Any, /, *args: Any, **kwargs: Any) -> Any:
        """See `Engine.run`."""
        handle: Handle[Any] = await self.start(workflow, *args, **kwargs)
        return await handle.aio.result()

    @overload
    async def start(self, workflow: AsyncWorkflow[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Handle[R]: ...
    @overload
    async def start(self, workflow: Workflow[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Handle[R]: ...
    async def start(self, workflow: Any, /, *args: Any, **kwargs: Any) -> Any:
        """See `Engine.start`."""
        node = self._node
        node.ready()
        starting = Starting(node.core, workflow, args, kwargs)
        host = node.host
        if host is not None and host.on_thread():
            # Alone, the commit is made in place, as a lone run's steps are.
            commit = node.core.committer.commit
            append = starting.append
            outcome = commit(append) if host.is_quiet(0) else answer(await host.commit(append))
        else:
            outcome = await call(node, node.core.committer.commit, starting.append)
        key = starting.created(outcome)
        if key is not None:
            node.dispatch(starting, key)
        handle: Handle[Any] = Handle(node, starting.run_id, starting.definition.result)
        return handle

    async def get(self, run_id: str) -> Handle[Any]:
        """See `Engine.get`."""
        return await call(self._node, self._engine.get, run_id)

    async def list(
        self,
        *,
        status: RunStatus | str | None = None,
        workflow: str | None = None,
        queue: str | None = None,
        since: datetime | None = None,
        limit: int = 100,
        cursor: str | None = None,
    ) -> Page:
        """See `Engine.list`."""
        return await call(
            self._node,
            lambda: self._engine.list(
                status=status, workflow=workflow, queue=queue, since=since, limit=limit, cursor=cursor
            ),
        )

    async def signal(self, run_id: str, name: str, payload: Any = None, *, key: str | None = None) -> None:
        """See `Engine.signal`."""
        await call(self._node, lambda: self._engine.signal(run_id, name, payload, key=key))

    async def cancel(self, run_id: str, *, force: bool = False) -> bool:
        """See `Engine.cancel`."""
        return await call(self._node, lambda: self._engine.cancel(run_id, force=force))

    async def resume(self, run_id: str) -> None:
        """See `Engine.resume`."""
        await call(self._node, self._engine.resume, run_id)

    async def history(self, run_id: str) -> tuple[Event, ...]:
        """See `Engine.history`."""
        return await call(self._node, self._engine.history, run_id)

    async def recover(self) -> int:
        """See `Engine.recover`."""
        return await call(self._node, self._engine.recover)

    async def purge(self, *, older_than: timedelta | float) -> int:
        """See `Engine.purge`."""
        return await call(self._node, lambda: self._engine.purge(older_than=older_than))

    async def stats(self) -> EngineStats:
        """See `Engine.stats`."""
        return await call(self._node, self._engine.stats)

    async def close(self, drain: bool = True) -> None:
        """See `Engine.close`."""
        await call(self._node, lambda: self._engine.close(drain))

    async def serve(
        self,
        *,
        queues: Sequence[str] | None = None,
        concurrency: int | None = None,
        drain: float | timedelta = DRAIN_S,
    ) -> None:
        """
        Work until SIGTERM or SIGINT arrives at this loop, then drain and close; a second signal stops at once.

        Cancelling it drains as well.
        """
        import os
        import signal

        engine = self._engine
        self._node.limit(queues, concurrency)
        self._node.ready()
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()

        def on_signal(number: int) -> None:
            if stop.is_set():
                os._exit(128 + number)
            stop.set()

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, on_signal, number)
        try:
            await stop.wait()
        finally:
            await call(self._node, lambda: engine.close(True))
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)
