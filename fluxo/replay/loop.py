"""
The deterministic event loop of one async run.

Owns: the order in which a workflow's callbacks and tasks run, and its timers as commands. Must not know
real time, sockets, threads or the host loop: it is stepped by a driver, which fires timers from the
history. Plain asyncio code (gather, TaskGroup, timeout, Queue, Lock …) runs on it unchanged; asking it for
I/O is a usage error. Theory: `fluxo.replay` rules 1–5; DESIGN §7 for the hash of tasks.
"""

from __future__ import annotations

import asyncio
import logging
import sys

# What asyncio gives loop implementers, underscore or not; Temporal's and uvloop's loops stand on them too.
from asyncio.events import _get_running_loop, _set_running_loop  # pyright: ignore[reportPrivateUsage]
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from contextvars import Context, copy_context
from os.path import dirname, join
from types import FrameType
from typing import Any, TypeVarTuple, Unpack

from fluxo.errors import Suspend, UsageError
from fluxo.limits import DURATION_S_MAX, SWALLOWED_SUSPENSIONS_MAX
from fluxo.replay.command import UNKNOWN_SITE, Command, CommandScope, call_site
from fluxo.replay.machine import Machine
from fluxo.replay.refusal import NO_ORDER, in_as_completed, refusal

__all__ = ["ReplayLoop", "RunFuture", "RunTask"]

Ts = TypeVarTuple("Ts")
_log = logging.getLogger("fluxo.run")


class RunFuture(asyncio.Future[Any]):
    """A future whose hash comes from its creation number, so that sets of futures iterate alike on every replay."""

    __slots__ = ("_hash",)

    def __init__(self, loop: ReplayLoop, number: int) -> None:
        self._hash = loop.salt + number
        super().__init__(loop=loop)

    def __hash__(self) -> int:
        return self._hash


class RunTask(asyncio.Task[Any]):
    """
    A task with a command scope and a stable hash (asyncio's TaskGroup iterates a set of tasks when it aborts).

    Attributes:
        site: Where it was created, if its coroutine is no user's code that could tell itself; else empty.
    """

    __slots__ = ("_hash", "scope", "site")

    def __init__(
        self,
        coro: Coroutine[Any, Any, Any],
        loop: ReplayLoop,
        number: int,
        scope: CommandScope,
        context: Context | None,
        site: str = "",
    ) -> None:
        self._hash = loop.salt + number
        self.scope = scope
        self.site = site
        super().__init__(coro, loop=loop, name=f"Task-{number}", context=context)

    def __hash__(self) -> int:
        return self._hash


class _Ready(asyncio.Handle):
    """A callback to run; what `call_soon` returns. Skips the base's bookkeeping, which only serves its debug mode."""

    __slots__ = ("args", "callback", "context")

    def __init__(self, callback: Callable[..., object], args: tuple[Any, ...], context: Context) -> None:
        self.callback = callback
        self.args = args
        self.context = context
        self._cancelled = False

    def cancel(self) -> None:
        self._cancelled = True

    def cancelled(self) -> bool:
        return self._cancelled


class _Timer(asyncio.TimerHandle):
    """A timer command; what `call_later` and `call_at` return. `command` is None for one that was due at once."""

    __slots__ = ("_command", "_due_s", "_ready", "_run_loop")

    def __init__(self, loop: ReplayLoop, command: Command | None, ready: _Ready, due_s: float) -> None:
        self._run_loop = loop
        self._command = command
        self._ready = ready
        self._due_s = due_s
        self._cancelled = False
        if command is None:
            loop.ready.append(ready)
        else:
            command.wake = self._fire

    def _fire(self) -> None:
        self._run_loop.ready.append(self._ready)

    def cancel(self) -> None:
        if not self._cancelled:
            self._cancelled = True
            self._ready.cancel()
            if self._command is not None:
                self._run_loop.machine.abandon(self._command)

    def cancelled(self) -> bool:
        return self._cancelled

    def when(self) -> float:
        return self._due_s


class ReplayLoop(asyncio.AbstractEventLoop):
    """
    An event loop whose clock and timers come from a `Machine`.

    Attributes:
        ready: Callbacks that can run now; the run is quiet when it is empty.
        in_main: The main task is being stepped.
        guard: A profile function that is set while workflow code runs.
        entered: It is the thread's running loop. Changing that costs a system call, so it is done when needed only.
        home: The context of the driver itself, shared with the workflow's main task.
        salt: Sets the tasks of one run apart from those of others: asyncio keeps all tasks of a process in one
            set, and a thousand first tasks of one hash would make each lookup a walk past all of them.
    """

    def __init__(self, machine: Machine, home: Context) -> None:
        self.machine = machine
        self.home = home
        self.ready: deque[_Ready] = deque()
        self.tasks: list[RunTask] = []
        self.closing = False
        self.guard: Callable[[FrameType, str, Any], object] | None = None
        self.in_main = False
        self.entered = False
        self._pruned = 32
        self._numbers = 0
        self._refusals = 0
        self._outer_hooks: Any = None
        self._hook = self._close_generator
        self._started_us = machine.started.at_us
        self.salt = machine.started.seed

    def run_ready(self, outer: asyncio.AbstractEventLoop | None = None) -> None:
        """Run callbacks until none is left; `outer` is the host's loop, where it is not the running one."""
        ready, home = self.ready, self.home
        if outer is None:
            outer = _get_running_loop()
        try:
            while ready:
                handle = ready.popleft()
                if handle._cancelled:
                    continue
                if not self.entered:
                    self.enter()
                if handle.context is home:
                    self.in_main = True
                    handle.callback(*handle.args)
                    self.in_main = False
                else:
                    handle.context.run(handle.callback, *handle.args)
        finally:
            self.in_main = False
            if self.entered:
                self.leave(outer)

    def step_main(self, wakeup: Callable[[Any], object], waited_for: Any, outer: asyncio.AbstractEventLoop) -> None:
        """Wake the main task, in its context, as a callback that stood first in line would; then run what is ready."""
        try:
            self.enter()
            self.in_main = True
            wakeup(waited_for)
            self.in_main = False
            if self.ready:
                self.run_ready(outer)
        finally:
            self.in_main = False
            if self.entered:
                self.leave(outer)

    def enter(self) -> None:
        """Become the thread's running loop: what workflow code gets from asyncio, and where its generators belong."""
        _set_running_loop(self)
        self.entered = True
        if self._outer_hooks is None:
            self._outer_hooks = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(None, self._hook)
        if self.guard is not None:
            sys.setprofile(self.guard)

    def leave(self, outer: asyncio.AbstractEventLoop | None) -> None:
        """Make `outer` the running loop again."""
        self.entered = False
        if self.guard is not None:
            sys.setprofile(None)
        _set_running_loop(outer)
        sys.set_asyncgen_hooks(*self._outer_hooks)

    def _close_generator(self, generator: AsyncGenerator[Any, Any]) -> None:
        """
        Clean up an async generator that workflow code has left unfinished, in a task of the strand that left it.

        One that is collected while other code runs cannot be: no replay would repeat the moment.
        """
        if self.entered and not self.closing:
            self.create_task(generator.aclose())

    def scope(self) -> CommandScope:
        """The command scope of the task that is running."""
        if self.in_main:
            return self.machine.root
        task = asyncio.current_task(self)
        return task.scope if isinstance(task, RunTask) else self.machine.root

    def site(self, depth: int) -> str:
        """`call_site` of the caller's caller; for a coroutine that is itself a task, where that was created."""
        site = call_site(depth + 1)
        if site == UNKNOWN_SITE:
            task = asyncio.current_task(self)
            if isinstance(task, RunTask) and task.site:
                return task.site
        return site

    def start(self, coro: Coroutine[Any, Any, Any]) -> RunTask:
        """The workflow's main task: it shares the driver's context."""
        task = RunTask(coro, self, self._number(), self.machine.root, self.home)
        self.tasks.append(task)
        return task

    def discard(self) -> None:
        """
        Drop all tasks without letting them act: their coroutines are closed, newest first. Idempotent.

        Commands issued meanwhile raise, so nothing in a ``finally`` block can execute or append; what such a block
        asks of asyncio never begins and never happens, and where it waits for that, it is closed.
        """
        if self.closing:
            return
        self.closing = True
        outer = _get_running_loop()
        _set_running_loop(self)
        try:
            for task in reversed(self.tasks):
                task._log_destroy_pending = False  # type: ignore[attr-defined]
                if not task.done():
                    _close(task.get_coro())
                elif not task.cancelled():
                    task.exception()
        finally:
            _set_running_loop(outer)
        self.tasks.clear()
        self.ready.clear()
        del self.home, self._hook

    def _number(self) -> int:
        self._numbers += 1
        return self._numbers

    def call_soon(
        self, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        handle = _Ready(callback, args, _context(context))
        self.ready.append(handle)
        return handle

    def call_later(
        self, delay: float, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self._call_in(delay, _Ready(callback, args, _context(context)))

    def call_at(
        self, when: float, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self._call_in(when - self.time(), _Ready(callback, args, _context(context)))

    def _call_in(self, delay_s: float, ready: _Ready) -> _Timer:
        # asyncio allows for ever; what is meant by it is not more than a hundred years.
        delay_us = round(min(delay_s, DURATION_S_MAX) * 1_000_000)
        if delay_us <= 0 or self.closing:
            return _Timer(self, None, ready, self.time())
        machine = self.machine
        command = machine.issue(self.scope(), "timer", "timer", self.site(2), b"%d" % delay_us)
        command.due_us = machine.now_us + delay_us
        return _Timer(self, command, ready, self.time() + delay_us / 1_000_000)

    def time(self) -> float:
        """Workflow time in seconds since the run started."""
        return (self.machine.now_us - self._started_us) / 1_000_000

    def create_future(self) -> RunFuture:
        return RunFuture(self, self._number())

    def create_waiter(self) -> RunFuture:
        """A future for fluxo's own use. It takes no number, since a replay needs fewer of them than a live run."""
        return RunFuture(self, 0)

    def refuse(self) -> None:
        """
        The workflow is over here: a ``finally`` block must neither execute nor wait for anything.

        Returns only to one that has swallowed this too often: what it asks for then never happens, and there a loop
        around a bare ``except:`` comes to rest.

        Raises:
            Suspend: to leave it.
        """
        self._refusals += 1
        if self._refusals <= SWALLOWED_SUSPENSIONS_MAX:
            raise Suspend("this workflow has been suspended: nothing can be executed or awaited here any more")

    def create_task(
        self,
        coro: Generator[Any, None, Any] | Coroutine[Any, Any, Any],
        *,
        name: str | None = None,
        context: Context | None = None,
        **_: Any,
    ) -> RunTask:
        if not asyncio.iscoroutine(coro):
            raise TypeError(f"a coroutine was expected, got {type(coro).__name__}")
        if self.closing:
            return self._never_begun(coro, context)
        if in_as_completed(sys._getframe(1)):  # pyright: ignore[reportPrivateUsage]
            coro.close()
            raise UsageError(NO_ORDER)
        if len(self.tasks) > 64 and len(self.tasks) > 2 * self._pruned:
            self.tasks = [task for task in self.tasks if not task.done()]
            self._pruned = len(self.tasks)
        code = getattr(coro, "cr_code", None)
        site = call_site(2) if code is not None and code.co_filename.startswith(_NOT_USERS) else ""
        task = RunTask(coro, self, self._number(), self.scope().child(), context, site)
        if name is not None:
            task.set_name(name)
        self.tasks.append(task)
        return task

    def _never_begun(
        self, coro: Generator[Any, None, Any] | Coroutine[Any, Any, Any], context: Context | None
    ) -> RunTask:
        """The task that a closing workflow asks for: whoever awaits it waits for ever, and is closed there."""
        # To refuse it would strand what else `asyncio.gather` was given: coroutines that Python warns of.
        coro.close()
        task = RunTask(coro, self, self._number(), self.machine.root, context)  # type: ignore[arg-type]
        task._log_destroy_pending = False  # type: ignore[attr-defined]
        return task

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if not self.closing:
            error = context.get("exception")
            _log.error("run %s: %s", self.machine.run_id, context.get("message"), exc_info=error)


for _name in vars(asyncio.AbstractEventLoop):
    if not _name.startswith("_") and _name not in vars(ReplayLoop):
        setattr(ReplayLoop, _name, refusal(_name))


_NOT_USERS = (dirname(asyncio.__file__), join(dirname(dirname(__file__)), "authoring"))


def _context(given: Context | None) -> Context:
    return copy_context() if given is None else given


def _close(coro: Any) -> None:
    # A coroutine that waits again while it is closed has to be closed again.
    for _ in range(SWALLOWED_SUSPENSIONS_MAX):
        try:
            coro.close()
        except BaseException as error:
            # Whatever a dying workflow raises is of no consequence: its run goes on elsewhere, from the log.
            _log.debug("discarded workflow raised %s while closing", type(error).__name__)
        else:
            return
