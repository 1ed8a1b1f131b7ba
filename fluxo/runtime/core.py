"""
What all activations of one engine share.

Owns: the ports (clock, store, committer, threads), the resources, the observers, and the switch that tells
activations to stop. Must not know engines or handles: what the engine wants to hear comes as callbacks.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fluxo.clock import StoreClock
from fluxo.errors import StoreUnavailableError
from fluxo.model.events import (
    Event,
    RunBlocked,
    RunCancelled,
    RunCompleted,
    RunFailed,
    RunWaiting,
    StepCompleted,
    StepFailed,
    StepRetried,
)
from fluxo.model.observer import Observer
from fluxo.runtime.committer import Committer
from fluxo.runtime.ports import Ports
from fluxo.store import Store

if TYPE_CHECKING:
    from fluxo.authoring.step import StepBase
    from fluxo.runtime.activation import Activation
    from fluxo.runtime.guard import Guard

__all__ = ["Core", "StandIn"]

StandIn = Callable[["StepBase", tuple[Any, ...], dict[str, Any]], Any]
"""(step, args, kwargs) → what its body would have returned."""

_log = logging.getLogger("fluxo.engine")
_PAUSE_MAX_S = 2.0
_CALL_THREADS = 8


class Core:
    """
    Shared state of an engine's activations.

    Attributes:
        clock, ids, threads, processes, draw: The ports; see `Ports`.
        run_threads, step_threads, call_threads: For sync runs, for submitted sync steps, and for the short store
            calls of the awaitable engine; apart, so that full steps cannot keep a signal out.
        owner: Worker id written into the projection; None for an engine that only sends.
        draining: No new attempt may start; activations hand their runs back at the next quiet moment.
        on_left: Called when an activation is over, whatever its end.
        failpoint: Called with the names of failpoints by crash tests; None otherwise.
        guard: Watches what workflow code calls; None when that is off.
        stand_in: Carries out step bodies in place of themselves (a test's fakes); None otherwise.
    """

    def __init__(
        self,
        store: Store,
        ports: Ports,
        *,
        namespace: str,
        resources: Mapping[str, Any],
        observers: Sequence[Observer],
        concurrency: int,
        queues: tuple[str, ...] = ("default",),
    ) -> None:
        self.store = store
        self.queues = queues
        self.clock = StoreClock(ports.clock)
        self.ids = ports.ids
        self.threads = ports.threads
        self.processes = ports.processes
        self.draw = ports.draw
        self.namespace = namespace
        self.resources = dict(resources)
        self.observers = tuple(observers)
        threads = ports.threads
        self.committer = Committer(store, threads.lock, threads.stopwatch)
        self.allow(concurrency)
        self.call_threads = threads.pool(_CALL_THREADS, "fluxo-call")
        self.owner: str | None = None
        self.draining = False
        self.stopped = threads.event()
        self.on_left: Callable[[Activation], None] = _ignore
        self.deliver_signal: Callable[[str, str, bytes, str], None] = _no_signals
        self.failpoint: Callable[[str], None] | None = None
        self.stand_in: StandIn | None = None
        self.guard: Guard | None = None

    def allow(self, concurrency: int) -> None:
        """How many sync runs, and submitted sync steps, there may be at once; before any has begun."""
        self.run_threads = self.threads.pool(concurrency, "fluxo-run")
        self.step_threads = self.threads.pool(concurrency, "fluxo-step")

    def invoke(self, step: StepBase, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A step's body, or what stands in for it: a value, or a coroutine where the step is async."""
        return step.invoke(args, kwargs) if self.stand_in is None else self.stand_in(step, args, kwargs)

    def hit(self, failpoint: str) -> None:
        """A named place where crash tests kill the process; nothing otherwise."""
        if self.failpoint is not None:
            self.failpoint(failpoint)

    def pause(self, delay_s: float) -> bool:
        """Wait, but not past the engine's stop; True when it has stopped."""
        return self.stopped.wait(delay_s)

    def backoff_s(self, tries: int) -> float:
        """Pause before a refused or unknown append is sent again: exponential with full jitter, at most 2 s."""
        longest_s: float = min(_PAUSE_MAX_S, 0.01 * 2 ** min(tries, 10))
        return longest_s * (0.5 + self.draw() / 2)

    def store_failed(self, run_id: str, tries: int, error: StoreUnavailableError) -> float:
        """Say once that the store is away; the pause before the next try."""
        if tries == 1:
            _log.warning("run %s waits for its store: %s", run_id, error)
        return self.backoff_s(tries)

    def notify(self, run_id: str, workflow: str, events: Sequence[Event]) -> None:
        """Tell the observers about new facts; their errors are logged and go no further."""
        for event in events:
            for observer in self.observers:
                try:
                    _tell(observer, run_id, workflow, event)
                except Exception:
                    _log.exception("observer %s raised; the run is not affected", type(observer).__name__)

    def call_observers(self, hook: str, *facts: Any) -> None:
        """Call one hook of every observer."""
        for observer in self.observers:
            try:
                getattr(observer, hook)(*facts)
            except Exception:
                _log.exception("observer %s raised; the run is not affected", type(observer).__name__)


def _tell(observer: Observer, run_id: str, workflow: str, event: Event) -> None:
    if isinstance(event, StepCompleted):
        observer.on_step_completed(run_id, event.name, event.attempts, event.at_us)
    elif isinstance(event, StepFailed):
        observer.on_step_failed(run_id, event.name, event.attempts, event.at_us, event.failure)
    elif isinstance(event, StepRetried):
        observer.on_step_retried(run_id, event.name, event.attempt, event.at_us, event.failure)
    elif isinstance(event, RunWaiting):
        observer.on_run_waiting(run_id, workflow, event.at_us)
    elif isinstance(event, RunCompleted):
        observer.on_run_completed(run_id, workflow, event.at_us)
    elif isinstance(event, RunFailed):
        observer.on_run_failed(run_id, workflow, event.at_us, event.failure)
    elif isinstance(event, RunCancelled):
        observer.on_run_cancelled(run_id, workflow, event.at_us)
    elif isinstance(event, RunBlocked):
        observer.on_run_blocked(run_id, workflow, event.at_us, event.reason)


def _ignore(activation: Activation) -> None:
    """Nobody listens."""


def _no_signals(run_id: str, name: str, payload: bytes, key: str) -> None:
    raise StoreUnavailableError(run_id, "this engine cannot deliver signals")
