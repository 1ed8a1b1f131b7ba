"""
`Engine`: the one object an application opens.

Owns: configuration, opening and closing, and the blocking spelling of every operation. Must not know how an operation
is carried out: starting, control, the worker and the runtime do that.
"""

from __future__ import annotations

import logging
import os
import signal as os_signal
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypeVar, cast, overload

from fluxo.authoring.context import active
from fluxo.authoring.registry import find_workflow
from fluxo.authoring.workflow import AsyncWorkflow, Workflow, WorkflowBase
from fluxo.clock import Clock, SystemClock
from fluxo.engine.control import Control
from fluxo.engine.handle import Handle, codec_of, result_of
from fluxo.engine.starting import Starting
from fluxo.engine.watch import End, Watch
from fluxo.engine.worker import Worker
from fluxo.errors import ResultTimeoutError, UnknownWorkflowError, UsageError
from fluxo.ids import check_name
from fluxo.limits import DRAIN_S, LEASE_S, SYNC_RUNS_MAX
from fluxo.model.events import Event
from fluxo.model.info import EngineStats, Page
from fluxo.model.observer import Observer
from fluxo.model.retry import seconds
from fluxo.model.run import RunRecord, RunStatus
from fluxo.replay.history import History
from fluxo.runtime.activation import Activation
from fluxo.runtime.attempt import StepScope
from fluxo.runtime.core import Core
from fluxo.runtime.sync_run import SyncRun
from fluxo.store import Store
from fluxo.stores.url import open_store

if TYPE_CHECKING:
    from fluxo.engine.aio import AsyncEngine
    from fluxo.runtime.host import Host, LoopThread

__all__ = ["Engine"]

P = ParamSpec("P")
R = TypeVar("R")
_log = logging.getLogger("fluxo.engine")


class Engine:
    """
    Runs workflows durably on a store.

    The constructor only validates; I/O, recovery and the worker begin at ``with`` or at the first call.

    Args:
        store: A URL (``memory://``, ``sqlite:///path``) or a store object; default ``$FLUXO_STORE``, else
            ``sqlite:///fluxo.db``.
        namespace: Runs of other namespaces in the same store are invisible.
        resources: What steps get from ``fluxo.resource(name)``.
        queues: Runs of these queues are executed here.
        concurrency: Sync runs, and submitted sync steps, at once (a thread each).
        observers: Told about new facts.
        lease: How long a worker may be silent before others take over its runs.
        worker: False makes a client that starts and queries, and executes nothing.
        name: A label for people.
        clock: Where time comes from; the system's unless a test brings its own.

    Raises:
        ConfigurationError: a setting that cannot be used; nothing has been opened.
    """

    def __init__(
        self,
        store: str | Store | None = None,
        *,
        namespace: str = "default",
        resources: Mapping[str, Any] | None = None,
        queues: Sequence[str] = ("default",),
        concurrency: int = SYNC_RUNS_MAX,
        observers: Sequence[Observer] = (),
        lease: timedelta = timedelta(seconds=LEASE_S),
        worker: bool = True,
        name: str | None = None,
        clock: Clock | None = None,
    ) -> None:
        if isinstance(concurrency, bool) or not isinstance(concurrency, int) or concurrency < 1:
            raise UsageError("concurrency must be a whole number from 1")
        if isinstance(queues, str):
            raise UsageError(f"queues must be a sequence of names: ({queues!r},)")
        lease_s = seconds("lease", lease)
        if lease_s <= 0:
            raise UsageError("lease must be more than zero")
        clock = clock or SystemClock()
        chosen = store if store is not None else os.environ.get("FLUXO_STORE", "sqlite:///fluxo.db")
        self._store: Store = open_store(chosen, clock) if isinstance(chosen, str) else chosen
        self._queues = tuple(check_name("queue", queue) for queue in queues)
        self._is_worker = worker
        self._core = Core(
            self._store,
            clock,
            namespace=check_name("namespace", namespace),
            resources=resources or {},
            observers=observers,
            concurrency=concurrency,
        )
        self._core.on_left = self._left
        self._watch = Watch()
        self._control = Control(self._core, self._changed, self._watch.ended)
        self._core.deliver_signal = self._control.deliver
        label = name or f"{os.getpid()}"
        self._worker = Worker(self._core, self._watch, self._begin, queues=self._queues, lease_s=lease_s, label=label)
        self._opening = threading.RLock()
        self._state = "new"
        self._pid = os.getpid()
        self._host: Host | None = None
        self._loop_thread: LoopThread | None = None
        self._idle = threading.Condition()
        self._running: set[str] = set()
        self._aio: AsyncEngine | None = None

    # Opening and closing.

    def __enter__(self) -> Self:
        self._open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def aio(self) -> AsyncEngine:
        """The same engine with awaitable methods; ``async with engine.aio`` puts its runs on the running loop."""
        if self._aio is None:
            from fluxo.engine.aio import AsyncEngine

            self._aio = AsyncEngine(self)
        return self._aio

    def close(self, drain: bool = True) -> None:
        """
        Stop; idempotent, and nothing recorded is ever lost.

        With `drain`, steps under way may finish (up to 30 s) and runs are handed back; without, they are left for
        whoever takes them over.
        """
        with self._opening:
            if self._state != "open":
                self._state = "closed"
                return
            self._state = "closing"
        self._stop(DRAIN_S if drain else 0.0)

    def serve(self, *, drain: float | timedelta = DRAIN_S) -> None:
        """
        Work until SIGTERM or SIGINT, then drain within `drain` seconds and close; a second signal stops at once.

        Raises:
            UsageError: not called from the main thread.
        """
        if threading.current_thread() is not threading.main_thread():
            raise UsageError("engine.serve() installs signal handlers: call it from the main thread")
        if not self._is_worker:
            raise UsageError("engine.serve() needs an engine that works: leave worker= at True")
        drain_s = seconds("drain", drain)
        stop = threading.Event()
        asked: list[int] = []

        def on_signal(number: int, _: object) -> None:
            if asked:
                os._exit(128 + number)
            asked.append(number)
            stop.set()

        handlers = {number: os_signal.signal(number, on_signal) for number in (os_signal.SIGTERM, os_signal.SIGINT)}
        try:
            self._ready()
            stop.wait()
            with self._opening:
                self._state = "closing"
            self._stop(drain_s)
        finally:
            for number, handler in handlers.items():
                os_signal.signal(number, handler)

    def _open(self, host: Host | None = None) -> None:
        with self._opening:
            if self._state == "open" and host is None:
                return
            if self._state in ("closing", "closed"):
                raise UsageError("this engine has been closed: make a new one")
            if self._state == "open":
                raise UsageError("this engine is open already: enter `async with engine.aio` before its first use")
            self._host = host
            self._store.open()
            try:
                self._worker.start(owns_runs=self._is_worker)
                self._state = "open"
                if self._is_worker:
                    self._worker.recover()
            except BaseException:
                self._state = "closing"
                self._stop(0.0)
                raise

    def _ready(self) -> None:
        """Before every operation: open, in the process that made the engine, and not called by a workflow."""
        if self._state != "open":
            self._open()
        if self._pid != os.getpid():
            raise UsageError("this engine was made before a fork: make a new one in the child process")
        scope = active.get(None)
        if scope is not None and not isinstance(scope, StepScope):
            raise UsageError(
                "an engine must not be called inside a workflow: what it returns is not replayed; call it in a step"
            )

    def _stop(self, drain_s: float) -> None:
        core = self._core
        core.draining = True
        for activation in tuple(self._worker.active.values()):
            activation.poke()
        with self._idle:
            self._idle.wait_for(lambda: not self._worker.active, drain_s)
        if self._worker.active:
            _log.warning("%d runs did not reach a quiet moment in time; they go on elsewhere", len(self._worker.active))
        self._worker.stop()
        if self._loop_thread is not None:
            self._loop_thread.close()
        core.run_threads.close()
        core.step_threads.close()
        core.call_threads.close()
        self._store.close()
        self._state = "closed"

    # Running.

    @overload
    def run(self, workflow: AsyncWorkflow[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R: ...
    @overload
    def run(self, workflow: Workflow[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R: ...
    def run(self, workflow: Any, /, *args: Any, **kwargs: Any) -> Any:
        """
        Start a run and wait for its result; a sync workflow executes in the calling thread.

        Raises:
            RunFailedError, RunCancelledError, RunBlockedError: how it ended otherwise.
            UsageError, EncodeError, RunExistsError: as `start`.
        """
        self._ready()
        self._not_on_loop("run")
        starting = Starting(self._core, workflow, args, kwargs, self._queues)
        key = starting.created(self._core.committer.commit(starting.append))
        handle = self._handle(starting)
        if key is None or not starting.here or workflow.is_async:
            if key is not None:
                self._dispatch(starting, key)
            return handle.result()
        activation = self._activate(workflow, key, starting.nonce, starting.history(), 0)
        if isinstance(activation, SyncRun):
            activation.keeps_thread = True
            activation.execute()
        if activation.ended is not None:
            return result_of(starting.run_id, activation.ended, workflow.result)
        return handle.result()

    @overload
    def start(self, workflow: AsyncWorkflow[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Handle[R]: ...
    @overload
    def start(self, workflow: Workflow[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Handle[R]: ...
    def start(self, workflow: Any, /, *args: Any, **kwargs: Any) -> Any:
        """
        Start a run and return its handle; durable when it returns. The same id with the same input is the same run.

        Raises:
            UsageError: not a workflow, or arguments that do not fit its signature.
            EncodeError: an argument of another type than promised, or not data.
            RunExistsError: the id is taken by another workflow or input.

        Cost: one commit.
        """
        self._ready()
        starting = Starting(self._core, workflow, args, kwargs, self._queues)
        key = starting.created(self._core.committer.commit(starting.append))
        if key is not None:
            self._dispatch(starting, key)
        return self._handle(starting)

    def get(self, run_id: str) -> Handle[Any]:
        """
        The handle of an existing run.

        Raises:
            RunNotFoundError: no such run.
        """
        self._ready()
        run = self._control.find(run_id)
        return Handle(self, run.run_id, codec_of(run.workflow, run.version))

    def list(
        self,
        *,
        status: RunStatus | str | None = None,
        workflow: str | None = None,
        queue: str | None = None,
        since: datetime | None = None,
        limit: int = 100,
        cursor: str | None = None,
    ) -> Page:
        """Runs, newest first, one page at a time (at most 1,000)."""
        self._ready()
        return self._control.page(status, workflow, queue, since, limit, cursor)

    def signal(self, run_id: str, name: str, payload: Any = None, *, key: str | None = None) -> None:
        """
        Send a signal; kept until the run waits for it, durable when this returns. `key` makes it idempotent.

        Raises:
            RunNotFoundError: no such run.
            UsageError: the run has ended.
            EncodeError: the payload is not data.
        """
        self._ready()
        self._control.signal(run_id, name, payload, key)

    def cancel(self, run_id: str, *, force: bool = False) -> bool:
        """
        Cancel a run: raised at its current wait, its cleanup may still run steps. `force` ends it without asking it.

        Returns False when it had ended already.
        """
        self._ready()
        return self._control.cancel(run_id, force=force)

    def resume(self, run_id: str) -> None:
        """
        Let a failed or blocked run go on from where it stopped; completed steps are not run again.

        Raises:
            UsageError: it is neither failed nor blocked.
        """
        self._ready()
        self._control.resume(run_id)

    def history(self, run_id: str) -> tuple[Event, ...]:
        """The run's events so far; event n has index n - 1."""
        self._ready()
        return self._control.history(run_id)

    def recover(self) -> int:
        """Take over runs whose worker is dead, now; their number. Never takes from the living."""
        self._ready()
        return self._worker.recover() if self._is_worker else 0

    def purge(self, *, older_than: timedelta | float) -> int:
        """Delete ended runs last changed longer ago than this, with all their events; their number."""
        self._ready()
        return self._control.purge(older_than)

    def stats(self) -> EngineStats:
        """Counts of the namespace and of this engine."""
        self._ready()
        stats = self._store.stats(self._core.namespace)
        committer = self._core.committer
        return EngineStats(
            runs=stats.runs_by_status,
            events=stats.events,
            messages_unconsumed=stats.messages_unconsumed,
            workers=stats.workers,
            active=len(self._worker.active),
            commits=committer.commits,
            appends=committer.appends,
        )

    # Behind the operations.

    def _handle(self, starting: Starting) -> Handle[Any]:
        return Handle(self, starting.run_id, starting.definition.result)

    def _dispatch(self, starting: Starting, key: int) -> None:
        """Begin a run that was just created, here if it belongs here."""
        if not starting.here:
            self._store.nudge()
            return
        history = starting.history()
        if self._core.observers:
            at_us = history.started.at_us
            self._core.call_observers("on_run_started", starting.run_id, starting.definition.name, at_us)
        self._launch(self._activate(starting.definition, key, starting.nonce, history, 0))

    def _begin(self, run: RunRecord, nonce: int, history: History) -> Activation:
        definition = find_workflow(run.workflow, run.version)
        if definition is None:
            raise UnknownWorkflowError(run.workflow, run.version, run_id=run.run_id)
        activation = self._activate(definition, run.key, nonce, history, run.delivered)
        self._launch(activation)
        return activation

    def _activate(self, definition: WorkflowBase, key: int, nonce: int, history: History, delivered: int) -> Activation:
        activation: Activation
        if definition.is_async:
            from fluxo.runtime.async_run import AsyncRun

            activation = AsyncRun(self._core, definition, key, nonce, history, delivered, self._own_host())
        else:
            run = SyncRun(self._core, definition, key, nonce, history, delivered)
            run.on_loop = self._run_async_step
            activation = run
        self._worker.active[key] = activation
        self._running.add(activation.run_id)
        return activation

    def _launch(self, activation: Activation) -> None:
        if isinstance(activation, SyncRun):
            self._core.run_threads.submit(activation.execute)
            return
        from fluxo.runtime.async_run import AsyncRun

        host = self._own_host()
        begin = cast(AsyncRun, activation).begin
        if host.on_thread():
            begin()
        else:
            host.call(begin)

    def _run_async_step(self, run: SyncRun, command: Any, attempt: int, context: Any) -> Callable[[], None]:
        return self._own_host().run_step(run, command, attempt, context)

    def _own_host(self) -> Host:
        """The loop async code runs on: the user's, or a thread of our own."""
        if self._host is None:
            with self._opening:
                if self._host is None:
                    from fluxo.runtime.host import LoopThread

                    self._loop_thread = LoopThread()
                    self._host = self._loop_thread.make_host(self._core)
        return self._host

    def _not_on_loop(self, what: str) -> None:
        if self._host is not None and self._host.on_thread():
            raise UsageError(f"engine.{what}() would block the engine's own loop: await engine.aio.{what}() instead")

    def _left(self, activation: Activation) -> None:
        """An activation is over: tell who waits, or see that the run is found again."""
        held = self._worker.active.get(activation.key)
        if held is activation:
            del self._worker.active[activation.key]
            self._running.discard(activation.run_id)
        if activation.ended is not None:
            self._watch.ended(activation.run_id, activation.ended)
        else:
            self._store.nudge()
        if self._core.draining:
            with self._idle:
                self._idle.notify_all()

    def _changed(self, key: int) -> None:
        activation = self._worker.active.get(key)
        if activation is not None:
            activation.poke()
        else:
            self._store.nudge()

    def _wait_end(self, run_id: str, timeout_s: float | None) -> End:
        end = self._poll_end(run_id, timeout_s)
        if end is None:
            raise ResultTimeoutError(run_id, timeout_s or 0.0)
        return end

    def _poll_end(self, run_id: str, timeout_s: float | None) -> End | None:
        """Wait for the end of a run; None when the time is up."""
        self._ready()
        self._not_on_loop("run")
        ends: list[End] = []
        arrived = threading.Event()

        def listen(end: End) -> None:
            ends.append(end)
            arrived.set()

        self._watch.add(run_id, listen)
        try:
            # A run held here pushes its end; any other may have ended before we listened.
            end = None if run_id in self._running else self._control.end(run_id)
            if end is not None:
                return end
            if not arrived.wait(timeout_s):
                return None
            return ends[0]
        finally:
            self._watch.remove(run_id, listen)
