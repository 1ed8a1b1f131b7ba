"""
The event loop that async runs and async steps live on.

Owns: queueing their appends into one commit per tick, and waking whom a commit answers. Must not know
workflows. The loop is the user's (``async with engine.aio``) or a thread of the engine's own, started on first use;
this module and the thread pools are the only places where threads and loops meet.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from fluxo.authoring.context import active
from fluxo.limits import COMMIT_INLINE_S
from fluxo.runtime.attempt import step_scope
from fluxo.runtime.committer import Request
from fluxo.runtime.core import Core
from fluxo.runtime.ports import Pool
from fluxo.store import Append

__all__ = ["Host", "LoopThread", "in_thread"]

T = TypeVar("T")


class Host:
    """
    One loop with the runs on it.

    Attributes:
        busy: Runs on this loop that are not waiting.
        company: The last batch carried more than one append. Between two runs a crowd has moments in which one run
            alone is busy; it must not commit for itself what the others would join a turn of the loop later.
    """

    def __init__(
        self, core: Core, loop: asyncio.AbstractEventLoop, ident: Callable[[], int] = threading.get_ident
    ) -> None:
        self.core = core
        self.loop = loop
        self.busy = 0
        self.company = False
        self.tasks: set[asyncio.Task[Any]] = set()
        self._ident = ident
        self._thread = ident()
        self._scheduled = False
        self._flushing = False
        self._answering = False
        self._commit_s = 0.0
        self._answers: list[Request] = []
        self._lock = threading.Lock()

    def is_quiet(self, busy: int) -> bool:
        """Whether no more than `busy` runs are at it: then an append is committed in place, without a future."""
        return self.busy <= busy and not self.company

    def on_thread(self) -> bool:
        """Whether the caller is on this loop's thread."""
        return self._ident() == self._thread

    def call(self, callback: Callable[..., None], *args: Any) -> None:
        """Run a callback on the loop soon; from any thread. A closed loop drops it."""
        try:
            self.loop.call_soon_threadsafe(callback, *args)
        except RuntimeError:
            if not self.loop.is_closed():
                raise

    def spawn(self, coro: Coroutine[Any, Any, Any], context: contextvars.Context) -> asyncio.Task[Any]:
        """A task on this loop; on its thread only. The host keeps it referenced."""
        task = self.loop.create_task(coro, context=context)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    def commit(self, append: Append) -> asyncio.Future[Request]:
        """
        Append durably with whatever else this tick brings; the future gives the request, for `answer`.

        Cancelling the future does not cancel the append, which is on its way.
        """
        waiter: asyncio.Future[Request] = self.loop.create_future()

        def answered(request: Request) -> None:
            request.waiter = None  # it leads to the future, which now leads to the request
            if not waiter.done():
                waiter.set_result(request)

        self.enqueue(Request(append, None, self.done, answered))
        return waiter

    def enqueue(self, request: Request) -> None:
        """
        `commit` a request whose `done` is this host's: its `waiter` is called on the loop and stands in no task.

        One callback of the loop serves a whole batch.
        """
        self.core.committer.enqueue(request)
        if not self._scheduled:
            self._scheduled = True
            if not self._answering:
                self.loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._scheduled = False
        committer = self.core.committer
        if self._commit_s > COMMIT_INLINE_S:
            self.core.step_threads.submit(self._flush_in_thread)
            return
        self._flushing = self._answering = True
        appends = committer.appends
        try:
            committer.flush_tick()
        finally:
            self.company = committer.appends > appends + 1
            self._flushing = False
            self._answered()
        self._average(committer.write_s)

    def _answered(self) -> None:
        """
        The next tick's commit stands in line behind the tasks that the answers have woken.

        Otherwise what runs queue within their answers would be committed at once, and whoever needs the loop between
        two appends would be a commit behind, always: each batch would carry a part of the crowd only.
        """
        self._answering = False
        if self._scheduled:
            self.loop.call_soon(self.loop.call_soon, self._flush)

    def _flush_in_thread(self) -> None:
        committer = self.core.committer
        appends = committer.appends
        committer.flush()
        self.company = committer.appends > appends + 1
        self._average(committer.write_s)

    def _average(self, write_s: float) -> None:
        self._commit_s += (write_s - self._commit_s) / 16

    def done(self, request: Request) -> None:
        """Answer a request; from any thread."""
        # Outside of our own flush this thread may be inside a task, where no other run may be resumed.
        if self._flushing and self._ident() == self._thread:
            _resolve(request)
            return
        with self._lock:
            self._answers.append(request)
            first = len(self._answers) == 1
        if first:
            self.call(self._resolve_answers)

    def _resolve_answers(self) -> None:
        with self._lock:
            answers, self._answers = self._answers, []
        self._answering = not self._scheduled
        try:
            for request in answers:
                _resolve(request)
        finally:
            if self._answering:
                self._answered()

    def run_step(self, run: Any, command: Any, attempt: int, context: contextvars.Context) -> Callable[[], None]:
        """Run an async step for a sync workflow; answers through ``run.settle`` and returns how to stop it."""
        box: list[asyncio.Task[Any]] = []
        context.run(active.set, step_scope(run, command, attempt))

        def begin() -> None:
            box.append(self.spawn(run.attempt_on_loop(command, attempt), context))

        def stop() -> None:
            self.call(_cancel, box)

        self.call(begin)
        return stop


def _cancel(tasks: list[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()


def _resolve(request: Request) -> None:
    request.waiter(request)


async def in_thread(threads: Pool, call: Callable[[], T]) -> T:
    """Make a blocking call on a pool thread, with the caller's context, and await its outcome."""
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[T] = loop.create_future()
    context = contextvars.copy_context()

    def settle(value: Any, error: BaseException | None) -> None:
        if outcome.done():
            return
        if error is None:
            outcome.set_result(value)
        else:
            outcome.set_exception(error)

    def job() -> None:
        value: Any = None
        failed: BaseException | None = None
        try:
            value = context.run(call)
        except BaseException as error:
            failed = error
        with suppress(RuntimeError):  # the caller's loop may be closed by now
            loop.call_soon_threadsafe(settle, value, failed)

    threads.submit(job)
    return await outcome


class LoopThread:
    """An event loop on a daemon thread, for engines that were opened without one."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="fluxo-loop", daemon=True)
        self._thread.start()
        self._ready.wait()

    def make_host(self, core: Core) -> Host:
        """The host of this loop."""
        hosts: list[Host] = []
        done = threading.Event()

        def make() -> None:
            hosts.append(Host(core, self.loop))
            done.set()

        self.loop.call_soon_threadsafe(make)
        done.wait()
        return hosts[0]

    def close(self) -> None:
        """Cancel what is left on the loop and end its thread."""
        self._closing = True
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.call_soon(self._ready.set)
        try:
            while not self._closing:
                try:
                    self.loop.run_forever()
                except (KeyboardInterrupt, SystemExit):
                    # A step asked for a shutdown; its run has gone back, and the loop is there for the others.
                    continue
        finally:
            tasks = asyncio.all_tasks(self.loop)
            for task in tasks:
                task.cancel()
            if tasks:
                self.loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
            self.loop.run_until_complete(self.loop.shutdown_asyncgens())
            self.loop.close()
