"""
The worker of one engine: finds runs, claims them, keeps them alive, and hands messages on.

Owns: heartbeats, claiming with its fence, crash-loop suspicion, the watch over ends elsewhere. Must not know how a
run is advanced. One thread per engine; a wake-up only sets a flag, the loop pulls in batches. Theory: PROTOCOL
rules 3, 9, 10, 13.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from fluxo.authoring.registry import find_workflow
from fluxo.codec.event import decode_event
from fluxo.engine.claims import Begin, Claims
from fluxo.engine.liveness import Liveness, this_process
from fluxo.engine.watch import End, Watch
from fluxo.errors import DecodeError, HistoryCorruptError, StoreError
from fluxo.limits import (
    HEARTBEATS_PER_LEASE,
    SCAN_PAUSE_S,
)
from fluxo.model.events import RunBlocked, RunCancelled, RunCompleted, RunFailed
from fluxo.model.run import ENDED, RunStatus
from fluxo.store import EventRow, Release, RunQuery

if TYPE_CHECKING:
    from fluxo.runtime.activation import Activation
    from fluxo.runtime.core import Core

__all__ = ["Worker"]

_log = logging.getLogger("fluxo.engine")


class Worker:
    """
    Keeps one engine's runs going.

    Attributes:
        active, run_ids: Runs this engine holds, by key, and their ids: their ends are pushed, not looked for.
    """

    def __init__(self, core: Core, watch: Watch, begin: Begin, *, lease_s: float, label: str) -> None:
        self.active: dict[int, Activation] = {}
        self.run_ids: set[str] = set()
        self._core = core
        self._watch = watch
        self._lease_s = lease_s
        self._label = label
        self._liveness = Liveness(core.clock, core.processes, lease_s)
        self._claims = Claims(core, watch, begin, self.active)
        self._unknown: set[tuple[str, str]] = set()
        self._next_beat_s = 0.0
        self._scanned_s = float("-inf")
        self._last_strays: list[Release] = []
        self._last_unowned: set[Activation] = set()
        self._join: Callable[[], None] | None = None

    def start(self, *, owns_runs: bool) -> None:
        """Register (a client does not) and start the thread."""
        if owns_runs:
            self._register()
        self._join = self._core.threads.start(self._serve, "fluxo-worker")

    def stop(self) -> None:
        """End the thread and the registration; runs still held are orphans from now on."""
        core = self._core
        core.stopped.set()
        core.store.nudge()
        if self._join is not None:
            self._join()
        if core.owner is not None:
            try:
                core.store.unregister(core.owner)
            except StoreError as problem:
                _log.warning("worker %s could not unregister: %s", core.owner, problem)

    def hold(self, activation: Activation) -> None:
        """This engine has the run from now on."""
        self.active[activation.key] = activation
        self.run_ids.add(activation.run_id)

    def let_go(self, activation: Activation) -> None:
        """The activation is over; a newer one of the same run stays."""
        if self.active.get(activation.key) is activation:
            del self.active[activation.key]
            self.run_ids.discard(activation.run_id)

    @property
    def is_short(self) -> bool:
        """Whether due runs were left behind for want of a free thread."""
        return self._claims.short

    def recover(self) -> int:
        """Take over runs whose worker is dead, and other due ones; their number. Never takes from the living."""
        self._judge()
        return self._claims.claim_all()

    def _register(self) -> None:
        core = self._core
        worker_id = core.ids.worker_id()
        core.store.register(this_process(core.processes, worker_id, core.namespace, self._label))
        core.owner = worker_id
        self._next_beat_s = core.clock.monotonic_s() + self._lease_s / HEARTBEATS_PER_LEASE

    def _serve(self) -> None:
        core = self._core
        tries = 0
        while not core.stopped.is_set():
            try:
                hinted = core.store.wait(self._wait_s())
                rest_s = self._scanned_s + SCAN_PAUSE_S - core.clock.monotonic_s()
                if rest_s > 0 and core.pause(rest_s):
                    return
                self._turn(hinted)
                self._scanned_s = core.clock.monotonic_s()
                tries = 0
            except StoreError as problem:
                tries += 1
                if core.pause(core.store_failed("(worker)", tries, problem)):  # type: ignore[arg-type]
                    return
            except Exception:
                _log.exception("the worker loop raised; it goes on")
                core.pause(1.0)

    def _turn(self, hinted: bool) -> None:
        core = self._core
        beat = core.owner is not None and core.clock.monotonic_s() >= self._next_beat_s
        if beat:
            self._heartbeat()
        # A client has no heartbeat; it looks as often as one would beat, because a hint may have been missed.
        if hinted or beat or core.owner is None:
            for run_id in self._watch.waited_for():
                if run_id not in self.run_ids:
                    self._look_for_end(run_id)
        if core.owner is None or core.draining:
            return
        claims = self._claims
        due = claims.next_wake_us is not None and claims.next_wake_us <= core.clock.now_us()
        if hinted or beat or due or claims.wait_s(core.clock.monotonic_s()) == 0:
            for key, delivered in core.store.arrivals(core.owner):
                activation = self.active.get(key)
                if activation is not None and activation.agenda.seen_n < delivered:
                    activation.poke()
            claims.claim_all()

    def _wait_s(self) -> float:
        core = self._core
        wait_s = self._lease_s / HEARTBEATS_PER_LEASE
        if core.owner is not None:
            wait_s = self._next_beat_s - core.clock.monotonic_s()
        claims = self._claims
        if claims.next_wake_us is not None and not claims.short:
            wait_s = min(wait_s, (claims.next_wake_us - core.clock.now_us()) / 1_000_000)
        rest_s = claims.wait_s(core.clock.monotonic_s())
        if rest_s is not None:
            wait_s = min(wait_s, rest_s)
        return max(0.0, wait_s)

    def _heartbeat(self) -> None:
        core = self._core
        self._next_beat_s = core.clock.monotonic_s() + self._lease_s / HEARTBEATS_PER_LEASE
        owner = core.owner or ""
        owned = core.store.heartbeat(owner)
        if owned is None:
            _log.warning("worker %s was declared dead by others; it drops its runs and registers anew", owner)
            for activation in tuple(self.active.values()):
                activation.drop()
            self._register()
            return
        self._drop_unowned(set(owned))
        strays = [
            Release(key, owner, nonce)
            for key, nonce in owned
            if (held := self.active.get(key)) is None or held.journal.nonce != nonce
        ]
        # A run that has just been started or has just ended may be between the store and `active`.
        if strays and strays == self._last_strays:
            core.store.release(strays)
        self._last_strays = strays
        self._judge()
        self._name_unknown()

    def _drop_unowned(self, owned: set[tuple[int, int]]) -> None:
        """
        Drop runs that this worker holds and the store gives to someone else, or to nobody (ended by force).

        One that only waits would never notice. Seen twice, because a run may be between the store and `active`.
        """
        unowned = {run for run in tuple(self.active.values()) if (run.key, run.journal.nonce) not in owned}
        for activation in unowned & self._last_unowned:
            activation.drop()
        self._last_unowned = unowned

    def _judge(self) -> None:
        """Find the dead and strike them off: then their runs are orphans for everyone, and a zombie learns of it."""
        store = self._core.store
        self._claims.dead = self._liveness.dead(store.workers(), self._core.owner)
        for worker_id in self._claims.dead:
            store.unregister(worker_id)

    def _name_unknown(self) -> None:
        """Say once which waiting workflows this process does not have; they are left for other workers."""
        core = self._core
        page = core.store.find(RunQuery(core.namespace, (RunStatus.PENDING,)))
        for run in page.runs:
            name = (run.workflow, run.version)
            if run.queue in self._core.queues and name not in self._unknown and find_workflow(*name) is None:
                self._unknown.add(name)
                _log.warning(
                    "runs of workflow %r version %r wait for a worker that has it: import the module that decorates it "
                    "here, or start such a worker (first seen: run %s)",
                    *name,
                    run.run_id,
                )

    def _look_for_end(self, run_id: str) -> None:
        core = self._core
        run = core.store.get(core.namespace, run_id)
        if run is None or (run.status not in ENDED and run.status is not RunStatus.BLOCKED):
            return
        end = end_of(run_id, core.store.tail(run.key))
        if end is not None:
            self._watch.ended(run_id, end)


def end_of(run_id: str, tail: EventRow | None) -> End | None:
    """
    The event that ended or blocked a run, if its tail is one.

    Raises:
        HistoryCorruptError: the tail cannot be read.
    """
    if tail is None:
        return None
    try:
        event = decode_event(tail[3])
    except DecodeError as problem:
        raise HistoryCorruptError(run_id, tail[0], str(problem)) from problem
    if isinstance(event, RunCompleted | RunFailed | RunCancelled | RunBlocked):
        return event
    return None
