"""
One process's part in a store: what `Engine`, its awaitable mirror and the handles all stand on.

Owns: opening and closing, where a run executes (a thread, the user's loop, a loop of our own), and waiting for ends.
Must not know how an operation is spelled; that is `Engine` and `AsyncEngine`.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from fluxo.authoring.context import active
from fluxo.authoring.registry import find_workflow
from fluxo.authoring.workflow import WorkflowBase
from fluxo.engine.control import Control
from fluxo.engine.starting import Starting
from fluxo.engine.watch import End, Watch
from fluxo.engine.worker import Worker
from fluxo.errors import ResultTimeoutError, UnknownWorkflowError, UsageError
from fluxo.model.names import check_name
from fluxo.model.run import RunRecord
from fluxo.replay.history import History
from fluxo.runtime.activation import Activation
from fluxo.runtime.attempt import StepScope
from fluxo.runtime.core import Core
from fluxo.runtime.sync_run import SyncRun

if TYPE_CHECKING:
    from fluxo.runtime.async_run import AsyncRun
    from fluxo.runtime.host import Host
    from fluxo.runtime.ports import LoopRunner

__all__ = ["Node", "queue_names", "whole_number"]

_log = logging.getLogger("fluxo.engine")


def queue_names(queues: Sequence[str]) -> tuple[str, ...]:
    """
    Names of queues, checked.

    Raises:
        UsageError: a single text, or a name that is not usable.
    """
    if isinstance(queues, str):
        raise UsageError(f"queues must be a sequence of names: ({queues!r},)")
    return tuple(check_name("queue", queue) for queue in queues)


def whole_number(concurrency: int) -> int:
    """
    A concurrency, checked.

    Raises:
        UsageError: no whole number from 1.
    """
    if isinstance(concurrency, bool) or not isinstance(concurrency, int) or concurrency < 1:
        raise UsageError("concurrency must be a whole number from 1")
    return concurrency


class Node:
    """
    The engine behind its public face.

    Attributes:
        host: The loop that async code runs on; None until it is needed.
        state: "new", "open", "closing" or "closed".
    """

    def __init__(self, core: Core, *, lease_s: float, label: str, works: bool) -> None:
        self.core = core
        self.works = works
        self.watch = Watch()
        self.control = Control(core, self._changed, self._ended)
        self.worker = Worker(core, self.watch, self._begin, lease_s=lease_s, label=label)
        self.host: Host | None = None
        self.state = "new"
        core.on_left = self._left
        core.deliver_signal = self.control.deliver
        self._opening = threading.RLock()
        # Not the same lock: opening recovers runs, and the worker's thread asks for their loop meanwhile.
        self._hosting = threading.Lock()
        self._quiet = core.threads.event()
        self._pid = os.getpid()
        self._loop: LoopRunner | None = None

    def limit(self, queues: Sequence[str] | None, concurrency: int | None) -> None:
        """
        Other queues and another concurrency than the engine was made with.

        Raises:
            UsageError: not usable, or the engine is open.
        """
        if queues is None and concurrency is None:
            return
        if self.state != "new":
            raise UsageError("queues and concurrency can be set before the engine is opened only")
        if queues is not None:
            self.core.queues = queue_names(queues)
        if concurrency is not None:
            self.core.allow(whole_number(concurrency))

    def open(self, host: Host | None = None) -> None:
        """
        Open the store, register, recover.

        Raises:
            UsageError: closed, or open without the given loop.
            StoreUnavailableError, SchemaVersionError: the store cannot be used.
        """
        with self._opening:
            if self.state == "open" and host is None:
                return
            if self.state in ("closing", "closed"):
                raise UsageError("this engine has been closed: make a new one")
            if self.state == "open":
                raise UsageError("this engine is open already: enter `async with engine.aio` before its first use")
            self.host = host
            self.core.store.open()
            try:
                self.worker.start(owns_runs=self.works)
                self.state = "open"
                if self.works:
                    self.worker.recover()
            except BaseException:
                self.state = "closing"
                self._stop(0.0)
                raise

    def ready(self) -> None:
        """
        Before every operation: open, in the process that made the engine, and not called by a workflow.

        Raises:
            UsageError: one of these does not hold; see also `open`.
        """
        if self.state != "open":
            self.open()
        if self._pid != os.getpid():
            raise UsageError("this engine was made before a fork: make a new one in the child process")
        self.not_in_workflow()

    def not_in_workflow(self) -> None:
        """
        Refuse what could not be replayed.

        Raises:
            UsageError: called by a workflow.
        """
        scope = active.get(None)
        if scope is not None and not isinstance(scope, StepScope):
            raise UsageError(
                "an engine must not be called inside a workflow: what it returns is not replayed; call it in a step"
            )

    def close(self, drain_s: float) -> None:
        """Let steps under way finish for `drain_s` seconds, hand runs back, stop. Idempotent."""
        with self._opening:
            if self.state != "open":
                self.state = "closed"
                return
            self.state = "closing"
        self._stop(drain_s)

    def _stop(self, drain_s: float) -> None:
        core = self.core
        core.draining = True
        for activation in tuple(self.worker.active.values()):
            activation.poke()
        until_s = core.clock.monotonic_s() + drain_s
        while self.worker.active and self._quiet.wait(max(0.0, until_s - core.clock.monotonic_s())):
            self._quiet.clear()
        if self.worker.active:
            _log.warning("%d runs did not reach a quiet moment in time; they go on elsewhere", len(self.worker.active))
        self.worker.stop()
        self.watch.close()
        if self._loop is not None:
            self._loop.close()
        core.run_threads.close()
        core.step_threads.close()
        core.call_threads.close()
        core.store.close()
        self.state = "closed"

    def not_on_loop(self, owner: str, what: str) -> None:
        """
        Refuse to block the loop that the answer must come from.

        Raises:
            UsageError: names the awaitable spelling.
        """
        if self.host is not None and self.host.on_thread() and self.host.loop.is_running():
            raise UsageError(
                f"{owner}.{what}(...) would block the engine's own loop: await {owner}.aio.{what}(...) instead"
            )

    def dispatch(self, starting: Starting, key: int) -> None:
        """Begin a run that was just created, here if it belongs here."""
        if starting.here:
            self.launch(self.activate_new(starting, key))
        else:
            self._tell_started(starting)
            self.core.store.nudge()

    def activate_new(self, starting: Starting, key: int) -> SyncRun | AsyncRun:
        """The first activation of a run that was just created."""
        self._tell_started(starting)
        return self._activate(starting.definition, key, starting.nonce, starting.history(), 0)

    def launch(self, activation: SyncRun | AsyncRun) -> None:
        """Begin an activation where it belongs."""
        if isinstance(activation, SyncRun):
            self.core.run_threads.submit(activation.execute)
            return
        host = self._own_host()
        if host.on_thread():
            activation.begin()
        else:
            host.call(activation.begin)

    def is_here(self, run_id: str) -> bool:
        """Whether this process holds the run, so that its end will be pushed."""
        return run_id in self.worker.run_ids

    def wait_end(self, run_id: str, timeout_s: float | None) -> End:
        """
        Wait for the end of a run.

        Raises:
            ResultTimeoutError: it did not come in time.
        """
        end = self.poll_end(run_id, timeout_s, "result")
        if end is None:
            raise ResultTimeoutError(run_id, timeout_s or 0.0)
        return end

    def poll_end(self, run_id: str, timeout_s: float | None, what: str = "wait") -> End | None:
        """
        Wait for the end of a run; None when the time is up.

        Raises:
            UsageError: the engine was closed meanwhile.
        """
        self.ready()
        self.not_on_loop("handle", what)
        ends: list[End | None] = []
        arrived = self.core.threads.event()

        def listen(end: End | None) -> None:
            ends.append(end)
            arrived.set()

        self.watch.add(run_id, listen)
        try:
            # A run held here pushes its end; any other may have ended before we listened.
            end = None if self.is_here(run_id) else self.control.end(run_id)
            if end is not None:
                return end
            if not arrived.wait(timeout_s):
                return None
            return self.come(run_id, ends[0])
        finally:
            self.watch.remove(run_id, listen)

    def come(self, run_id: str, end: End | None) -> End:
        """
        What a listener was told.

        Raises:
            UsageError: the engine was closed before the end came.
        """
        if end is None:
            raise UsageError(
                f"the engine was closed while run {run_id!r} was waited for; it goes on where a worker has it: "
                "ask an engine that is open"
            )
        return end

    def _tell_started(self, starting: Starting) -> None:
        """Whoever writes a fact tells its observers, a client too."""
        if self.core.observers:
            at_us = starting.history().started.at_us
            self.core.call_observers("on_run_started", starting.run_id, starting.definition.name, at_us)

    def _begin(self, run: RunRecord, nonce: int, history: History) -> Activation:
        definition = find_workflow(run.workflow, run.version)
        if definition is None:
            raise UnknownWorkflowError(run.workflow, run.version, run_id=run.run_id)
        activation = self._activate(definition, run.key, nonce, history, run.delivered)
        self.launch(activation)
        return activation

    def _activate(
        self, definition: WorkflowBase, key: int, nonce: int, history: History, delivered: int
    ) -> SyncRun | AsyncRun:
        activation: SyncRun | AsyncRun
        if definition.is_async:
            from fluxo.runtime.async_run import AsyncRun

            activation = AsyncRun(self.core, definition, key, nonce, history, delivered, self._own_host())
        else:
            activation = SyncRun(self.core, definition, key, nonce, history, delivered)
            activation.on_loop = self._run_async_step
        self.worker.hold(activation)
        return activation

    def _run_async_step(self, run: SyncRun, command: Any, attempt: int, context: Any) -> Callable[[], None]:
        return self._own_host().run_step(run, command, attempt, context)

    def _own_host(self) -> Host:
        """The loop async code runs on: the user's, or a thread of our own."""
        if self.host is None:
            with self._hosting:
                if self.host is None:
                    self._loop = self.core.threads.loop()
                    self.host = self._loop.make_host(self.core)
        return self.host

    def _left(self, activation: Activation) -> None:
        """An activation is over: tell who waits, or see that the run is found again."""
        self.worker.let_go(activation)
        if activation.ended is not None:
            self.watch.ended(activation.run_id, activation.ended)
        if activation.ended is None or self.worker.is_short:
            self.core.store.nudge()
        if self.core.draining:
            self._quiet.set()

    def _ended(self, key: int, run_id: str, end: End) -> None:
        """A run was ended from outside: whoever executes it here must stop."""
        activation = self.worker.active.get(key)
        if activation is not None:
            activation.drop()
        self.watch.ended(run_id, end)

    def _changed(self, key: int) -> None:
        activation = self.worker.active.get(key)
        if activation is not None:
            activation.poke()
        else:
            self.core.store.nudge()
