"""
`engine.aio`: the engine's operations, awaited.

Owns: the awaitable spelling of each operation; a test holds its signatures against `Engine`'s. Must not know anything
`Engine` does not. Starting and running commit on the loop with everything else of the tick; waiting is an event of the
loop; the rest are short store calls made on a thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypeVar, overload

from fluxo.authoring.workflow import AsyncWorkflow, Workflow
from fluxo.engine.handle import Handle
from fluxo.engine.starting import Starting
from fluxo.engine.watch import End
from fluxo.errors import ResultTimeoutError
from fluxo.limits import DRAIN_S
from fluxo.model.events import Event
from fluxo.model.info import EngineStats, Page
from fluxo.model.run import RunStatus
from fluxo.runtime.host import Host, in_thread

if TYPE_CHECKING:
    from fluxo.engine.engine import Engine

__all__ = ["AsyncEngine"]

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


class AsyncEngine:
    """`Engine` with awaitable methods; see there for their meaning, arguments and errors."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def __aenter__(self) -> Self:
        engine = self._engine
        host = Host(engine._core, asyncio.get_running_loop())
        # Opening blocks for a few milliseconds and recovery puts runs on this very loop: both belong here.
        engine._open(host)
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
        engine = self._engine
        engine._ready()
        starting = Starting(engine._core, workflow, args, kwargs, engine._queues)
        host = engine._host
        if host is not None and host.on_thread():
            outcome = await host.commit(starting.append)
        else:
            outcome = await self._call(engine._core.committer.commit, starting.append)
        key = starting.created(outcome)
        if key is not None:
            engine._dispatch(starting, key)
        return engine._handle(starting)

    async def get(self, run_id: str) -> Handle[Any]:
        """See `Engine.get`."""
        return await self._call(self._engine.get, run_id)

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
        return await self._call(
            lambda: self._engine.list(
                status=status, workflow=workflow, queue=queue, since=since, limit=limit, cursor=cursor
            )
        )

    async def signal(self, run_id: str, name: str, payload: Any = None, *, key: str | None = None) -> None:
        """See `Engine.signal`."""
        await self._call(lambda: self._engine.signal(run_id, name, payload, key=key))

    async def cancel(self, run_id: str, *, force: bool = False) -> bool:
        """See `Engine.cancel`."""
        return await self._call(lambda: self._engine.cancel(run_id, force=force))

    async def resume(self, run_id: str) -> None:
        """See `Engine.resume`."""
        await self._call(self._engine.resume, run_id)

    async def history(self, run_id: str) -> tuple[Event, ...]:
        """See `Engine.history`."""
        return await self._call(self._engine.history, run_id)

    async def recover(self) -> int:
        """See `Engine.recover`."""
        return await self._call(self._engine.recover)

    async def purge(self, *, older_than: timedelta | float) -> int:
        """See `Engine.purge`."""
        return await self._call(lambda: self._engine.purge(older_than=older_than))

    async def stats(self) -> EngineStats:
        """See `Engine.stats`."""
        return await self._call(self._engine.stats)

    async def close(self, drain: bool = True) -> None:
        """See `Engine.close`."""
        await self._call(lambda: self._engine.close(drain))

    async def serve(self, *, drain: float | timedelta = DRAIN_S) -> None:
        """
        Work until SIGTERM or SIGINT arrives at this loop, then drain and close; a second signal stops at once.

        Cancelling it drains as well.
        """
        import os
        import signal

        engine = self._engine
        engine._ready()
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
            await self._call(lambda: engine.close(True))
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)

    async def _call(self, operation: Callable[..., T], *args: Any) -> T:
        """A short blocking operation on a thread, with the caller's context."""
        return await in_thread(self._engine._core.call_threads, lambda: operation(*args))

    async def _wait_end(self, run_id: str, timeout_s: float | None) -> End:
        end = await self._poll_end(run_id, timeout_s)
        if end is None:
            raise ResultTimeoutError(run_id, timeout_s or 0.0)
        return end

    async def _poll_end(self, run_id: str, timeout_s: float | None) -> End | None:
        engine = self._engine
        engine._ready()
        loop = asyncio.get_running_loop()
        arrived: asyncio.Future[End] = loop.create_future()

        def settle(end: End) -> None:
            if not arrived.done():
                arrived.set_result(end)

        def listen(end: End) -> None:
            if engine._host is not None and engine._host.loop is loop and engine._host.on_thread():
                settle(end)
            else:
                loop.call_soon_threadsafe(settle, end)

        engine._watch.add(run_id, listen)
        try:
            end = await self._call(engine._control.end, run_id) if not self._is_here(run_id) else None
            if end is not None:
                return end
            async with asyncio.timeout(timeout_s):
                return await arrived
        except TimeoutError:
            return None
        finally:
            engine._watch.remove(run_id, listen)

    def _is_here(self, run_id: str) -> bool:
        """Whether this engine holds the run, so that its end will be pushed."""
        return run_id in self._engine._running
