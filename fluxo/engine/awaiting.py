"""
Waiting on a loop for what blocking code does on a thread.

Owns: short store calls from a loop, and a run's end as a future. Must not know which operation it serves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from fluxo.engine.watch import End
from fluxo.errors import ResultTimeoutError
from fluxo.runtime.host import in_thread

if TYPE_CHECKING:
    from fluxo.engine.node import Node

__all__ = ["call", "poll_end", "wait_end"]

T = TypeVar("T")


async def call(node: Node, operation: Callable[..., T], *args: Any) -> T:
    """A short blocking operation on a thread of the engine, with the caller's context."""
    # Asked here already: a workflow's own loop takes no answer from a thread.
    node.not_in_workflow()
    return await in_thread(node.core.call_threads, lambda: operation(*args))


async def wait_end(node: Node, run_id: str, timeout_s: float | None) -> End:
    """
    Wait for the end of a run.

    Raises:
        ResultTimeoutError: it did not come in time.
    """
    end = await poll_end(node, run_id, timeout_s)
    if end is None:
        raise ResultTimeoutError(run_id, timeout_s or 0.0)
    return end


async def poll_end(node: Node, run_id: str, timeout_s: float | None) -> End | None:
    """
    Wait for the end of a run; None when the time is up.

    Raises:
        UsageError: the engine was closed meanwhile.
    """
    node.ready()
    loop = asyncio.get_running_loop()
    arrived: asyncio.Future[End | None] = loop.create_future()

    def settle(end: End | None) -> None:
        if not arrived.done():
            arrived.set_result(end)

    def listen(end: End | None) -> None:
        host = node.host
        if host is not None and host.loop is loop and host.on_thread():
            settle(end)
            return
        with suppress(RuntimeError):  # the waiter's loop may be closed by now
            loop.call_soon_threadsafe(settle, end)

    node.watch.add(run_id, listen)
    try:
        # A run held here pushes its end; any other may have ended before we listened.
        end = None if node.is_here(run_id) else await call(node, node.control.end, run_id)
        if end is not None:
            return end
        if timeout_s is None:
            return node.come(run_id, await arrived)
        async with asyncio.timeout(timeout_s):
            return node.come(run_id, await arrived)
    except TimeoutError:
        return None
    finally:
        node.watch.remove(run_id, listen)
