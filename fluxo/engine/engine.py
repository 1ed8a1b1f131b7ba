"""
`Engine`: the one object an application opens.

Owns: configuration, opening and closing, and the blocking spelling of every operation. Must not know how an operation
is carried out: starting, control, the worker and the runtime do that.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, Self, TypeVar, overload

from fluxo.authoring.workflow import AsyncWorkflow, Workflow
from fluxo.clock import Clock, SystemClock
from fluxo.engine.handle import Handle, codec_of, result_of
from fluxo.engine.node import Node, queue_names, whole_number
from fluxo.engine.serving import serve_until_told
from fluxo.engine.starting import Starting
from fluxo.errors import UsageError
from fluxo.limits import DRAIN_S, LEASE_S, SYNC_RUNS_MAX
from fluxo.model.events import Event
from fluxo.model.info import EngineStats, Page
from fluxo.model.names import check_name
from fluxo.model.observer import Observer
from fluxo.model.retry import seconds
from fluxo.model.run import RunStatus
from fluxo.runtime.core import Core
from fluxo.runtime.ports import Ports
from fluxo.runtime.sync_run import SyncRun
from fluxo.store import Store
from fluxo.stores.url import open_store

if TYPE_CHECKING:
    from fluxo.engine.aio import AsyncEngine

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
        guard: What happens when workflow code calls what no replay repeats (a clock, chance, files, threads …):
            nothing, a RuntimeWarning, or a UsageError at the call. It costs about as much as a profiler.
        ports: Where time, identities, chance and threads come from: the machine, unless a test brings others.

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
        guard: Literal["off", "warn", "raise"] = "off",
        ports: Ports | None = None,
    ) -> None:
        watching = None
        if guard != "off":
            from fluxo.runtime.guard import guard_for

            watching = guard_for(guard)
        lease_s = seconds("lease", lease)
        if lease_s <= 0:
            raise UsageError("lease must be more than zero")
        ports = ports or Ports()
        core = Core(
            _store_of(store, ports.clock),
            ports,
            namespace=check_name("namespace", namespace),
            resources=resources or {},
            observers=observers,
            concurrency=whole_number(concurrency),
            queues=queue_names(queues),
        )
        core.guard = watching
        self._node = Node(core, lease_s=lease_s, label=name or f"{os.getpid()}", works=worker)
        self._aio: AsyncEngine | None = None

    def __enter__(self) -> Self:
        self._node.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def aio(self) -> AsyncEngine:
        """The same engine with awaitable methods; ``async with engine.aio`` puts its runs on the running loop."""
        if self._aio is None:
            from fluxo.engine.aio import AsyncEngine

            self._aio = AsyncEngine(self, self._node)
        return self._aio

    def close(self, drain: bool = True) -> None:
        """
        Stop; idempotent, and nothing recorded is ever lost.

        With `drain`, steps under way may finish (up to 30 s) and runs are handed back; without, they are left for
        whoever takes them over.
        """
        if drain:
            self._node.not_on_loop("engine", "close")
        self._node.close(DRAIN_S if drain else 0.0)

    def serve(
        self,
        *,
        queues: Sequence[str] | None = None,
        concurrency: int | None = None,
        drain: float | timedelta = DRAIN_S,
    ) -> None:
        """
        Work until SIGTERM or SIGINT, then drain within `drain` seconds and close; a second signal stops at once.

        Args:
            queues: Others than the engine was made with; for an engine that is not open yet.
            concurrency: Another one, likewise.
            drain: How long steps under way may take to finish.

        Raises:
            UsageError: not called from the main thread, or the engine is open or a client.
        """
        if threading.current_thread() is not threading.main_thread():
            raise UsageError("engine.serve() installs signal handlers: call it from the main thread")
        if not self._node.works:
            raise UsageError("engine.serve() needs an engine that works: leave worker= at True")
        drain_s = seconds("drain", drain)
        self._node.limit(queues, concurrency)
        serve_until_told(self._node.ready, lambda: self._node.close(drain_s))

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
        self._node.ready()
        self._node.not_on_loop("engine", "run")
        starting = Starting(self._node.core, workflow, args, kwargs)
        key = starting.created(self._node.core.committer.commit(starting.append))
        handle: Handle[Any] = Handle(self._node, starting.run_id, starting.definition.result)
        if key is None or not starting.here or workflow.is_async:
            if key is not None:
                self._node.dispatch(starting, key)
            return handle.result()
        activation = self._node.activate_new(starting, key)
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
        self._node.ready()
        starting = Starting(self._node.core, workflow, args, kwargs)
        key = starting.created(self._node.core.committer.commit(starting.append))
        if key is not None:
            self._node.dispatch(starting, key)
        handle: Handle[Any] = Handle(self._node, starting.run_id, starting.definition.result)
        return handle

    def get(self, run_id: str) -> Handle[Any]:
        """
        The handle of an existing run.

        Raises:
            RunNotFoundError: no such run.
        """
        self._node.ready()
        run = self._node.control.find(run_id)
        return Handle(self._node, run.run_id, codec_of(run.workflow, run.version))

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
        self._node.ready()
        return self._node.control.page(status, workflow, queue, since, limit, cursor)

    def signal(self, run_id: str, name: str, payload: Any = None, *, key: str | None = None) -> None:
        """
        Send a signal; kept until the run waits for it, durable when this returns. `key` makes it idempotent.

        Raises:
            RunNotFoundError: no such run.
            UsageError: the run has ended.
            EncodeError: the payload is not data.
        """
        self._node.ready()
        self._node.control.signal(run_id, name, payload, key)

    def cancel(self, run_id: str, *, force: bool = False) -> bool:
        """
        Cancel a run: raised at its current wait, its cleanup may still run steps. `force` ends it without asking it.

        Returns False when it had ended already.
        """
        self._node.ready()
        return self._node.control.cancel(run_id, force=force)

    def resume(self, run_id: str) -> None:
        """
        Let a failed or blocked run go on from where it stopped; completed steps are not run again.

        Raises:
            UsageError: it is neither failed nor blocked.
        """
        self._node.ready()
        self._node.control.resume(run_id)

    def history(self, run_id: str) -> tuple[Event, ...]:
        """The run's events so far; event n has index n - 1."""
        self._node.ready()
        return self._node.control.history(run_id)

    def recover(self) -> int:
        """Take over runs whose worker is dead, now; their number. Never takes from the living."""
        self._node.ready()
        return self._node.worker.recover() if self._node.works else 0

    def purge(self, *, older_than: timedelta | float) -> int:
        """Delete ended runs last changed longer ago than this, with all their events; their number."""
        self._node.ready()
        return self._node.control.purge(older_than)

    def stats(self) -> EngineStats:
        """Counts of the namespace and of this engine."""
        self._node.ready()
        core = self._node.core
        stats = core.store.stats(core.namespace)
        committer = core.committer
        return EngineStats(
            runs=stats.runs_by_status,
            events=stats.events,
            messages_unconsumed=stats.messages_unconsumed,
            workers=stats.workers,
            active=len(self._node.worker.active),
            commits=committer.commits,
            appends=committer.appends,
        )


def _store_of(given: str | Store | None, clock: Clock) -> Store:
    chosen = given if given is not None else os.environ.get("FLUXO_STORE", "sqlite:///fluxo.db")
    if isinstance(chosen, str):
        # The system's clock is what a store has anyway, unless its server has a better one.
        return open_store(chosen, None if isinstance(clock, SystemClock) else clock)
    if not hasattr(chosen, "heartbeat"):
        raise UsageError(
            f"store must be a URL or a store object, not {type(chosen).__name__}; for a file write sqlite:///path"
        )
    return chosen
