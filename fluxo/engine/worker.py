"""
The worker of one engine: finds runs, claims them, keeps them alive, and hands messages on.

Owns: heartbeats, claiming with its fence, crash-loop suspicion, the watch over ends elsewhere. Must not know how a
run is advanced. One thread per engine; a wake-up only sets a flag, the loop pulls in batches. Theory: PROTOCOL
rules 3, 9, 10, 13.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from fluxo.authoring.registry import find_workflow, workflows
from fluxo.codec.event import chain, decode_event, encode_event
from fluxo.engine.liveness import Liveness, this_process
from fluxo.engine.watch import End, Watch
from fluxo.errors import DecodeError, FluxoError, HistoryCorruptError, StoreError
from fluxo.ids import new_nonce, new_worker_id
from fluxo.limits import (
    CLAIM_RUNS_MAX,
    CRASH_LOOP_ALONE_FROM,
    CRASH_LOOP_BACKOFF_S,
    CRASH_LOOP_TAKEOVERS_MAX,
    HEARTBEATS_PER_LEASE,
    SCAN_PAUSE_S,
)
from fluxo.model.events import RunBlocked, RunCancelled, RunClaimed, RunCompleted, RunFailed
from fluxo.model.run import ENDED, RunRecord, RunStatus
from fluxo.replay.history import History
from fluxo.runtime.reading import read_history
from fluxo.store import Append, Committed, DueQuery, EventRow, Projection, Release, RunQuery

if TYPE_CHECKING:
    from fluxo.runtime.activation import Activation
    from fluxo.runtime.core import Core

__all__ = ["Worker"]

_log = logging.getLogger("fluxo.engine")

Begin = Callable[[RunRecord, int, History], "Activation"]
"""(run, nonce, history) → an activation that has begun."""


class Worker:
    """
    Keeps one engine's runs going.

    Attributes:
        active, run_ids: Runs this engine holds, by key, and their ids: their ends are pushed, not looked for.
    """

    def __init__(
        self, core: Core, watch: Watch, begin: Begin, *, queues: tuple[str, ...], lease_s: float, label: str
    ) -> None:
        self.active: dict[int, Activation] = {}
        self.run_ids: set[str] = set()
        self._core = core
        self._watch = watch
        self._begin = begin
        self._queues = queues
        self._lease_s = lease_s
        self._label = label
        self._liveness = Liveness(core.clock, lease_s)
        self._dead: tuple[str, ...] = ()
        self._suspects: list[tuple[float, RunRecord, int, History]] = []
        self._alone: Activation | None = None
        self._unknown: set[tuple[str, str]] = set()
        self._next_beat_s = 0.0
        self._scanned_s = float("-inf")
        self._next_wake_us: int | None = None
        self._claiming = threading.Lock()
        self._last_strays: list[Release] = []
        self._thread: threading.Thread | None = None

    def start(self, *, owns_runs: bool) -> None:
        """Register (a client does not) and start the thread."""
        if owns_runs:
            self._register()
        self._thread = threading.Thread(target=self._serve, name="fluxo-worker", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread and the registration; runs still held are orphans from now on."""
        core = self._core
        core.stopped.set()
        core.store.nudge()
        if self._thread is not None:
            self._thread.join()
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

    def recover(self) -> int:
        """Take over runs whose worker is dead, and other due ones; their number. Never takes from the living."""
        taken = 0
        self._judge()
        while batch := self._claim():
            taken += batch
        return taken

    def _register(self) -> None:
        core = self._core
        worker_id = new_worker_id()
        core.store.register(this_process(worker_id, core.namespace, self._label))
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
        if hinted or beat:
            for run_id in self._watch.waited_for():
                if run_id not in self.run_ids:
                    self._look_for_end(run_id)
        if core.owner is None or core.draining:
            return
        due = self._next_wake_us is not None and self._next_wake_us <= core.clock.now_us()
        if hinted or beat or due:
            for key, delivered in core.store.arrivals(core.owner):
                activation = self.active.get(key)
                if activation is not None and activation.agenda.seen_n < delivered:
                    activation.poke()
            while self._claim():
                pass
        self._start_suspect()

    def _wait_s(self) -> float:
        core = self._core
        wait_s = self._lease_s / HEARTBEATS_PER_LEASE
        if core.owner is not None:
            wait_s = self._next_beat_s - core.clock.monotonic_s()
        if self._next_wake_us is not None:
            wait_s = min(wait_s, (self._next_wake_us - core.clock.now_us()) / 1_000_000)
        if self._suspects:
            wait_s = min(wait_s, self._suspects[0][0] - core.clock.monotonic_s())
        return max(0.0, wait_s)

    def _heartbeat(self) -> None:
        core = self._core
        self._next_beat_s = core.clock.monotonic_s() + self._lease_s / HEARTBEATS_PER_LEASE
        owner = core.owner or ""
        owned = core.store.heartbeat(owner)
        if owned is None:
            _log.warning("worker %s was declared dead by others; it drops its runs and registers anew", owner)
            for activation in tuple(self.active.values()):
                activation.journal.lost = True
                activation.poke()
            self._register()
            return
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

    def _judge(self) -> None:
        self._dead = self._liveness.dead(self._core.store.workers(), self._core.owner)

    def _name_unknown(self) -> None:
        """Say once which waiting workflows this process does not have; they are left for other workers."""
        core = self._core
        page = core.store.find(RunQuery(core.namespace, (RunStatus.PENDING,)))
        for run in page.runs:
            name = (run.workflow, run.version)
            if run.queue in self._queues and name not in self._unknown and find_workflow(*name) is None:
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

    def _claim(self) -> int:
        """Claim one batch of due runs and begin them; how many were found, whether won or not."""
        core = self._core
        with self._claiming:
            if core.owner is None or core.draining or self._alone is not None:
                return 0
            query = DueQuery(core.namespace, self._queues, workflows(), self._dead, CLAIM_RUNS_MAX)
            due = core.store.due(query)
            self._next_wake_us = due.next_wake_at_us
            claims = [claim for run in due.runs if (claim := self._claim_of(run)) is not None]
            if not claims:
                return 0
            nonces = [append.events[0][1] for _, append in claims]
            outcomes = core.store.append([append for _, append in claims])
            core.hit("during_takeover")
            won = 0
            for (run, _), nonce, outcome in zip(claims, nonces, outcomes, strict=True):
                if isinstance(outcome, Committed):
                    won += 1
                    self._take(run, nonce)
            return won

    def _claim_of(self, run: RunRecord) -> tuple[RunRecord, Append] | None:
        """The fence: a claim event at the tail inspected now (PROTOCOL rule 3)."""
        core = self._core
        if run.key in self.active:
            return None
        tail = core.store.tail(run.key)
        if tail is None:
            _log.error("run %s has a row and no events; it is left alone until its events are restored", run.run_id)
            return None
        nonce = new_nonce()
        unclean = run.status is RunStatus.RUNNING and run.owner is not None
        event = RunClaimed(max(_at_us(tail), core.clock.now_us()), core.owner or "", unclean)
        body = encode_event(event)
        row = (tail[0] + 1, nonce, chain(tail[2], nonce, body), body)
        projection = Projection(RunStatus.RUNNING, None, run.consumed, core.owner, nonce)
        return run, Append(run.key, tail[0], tail[2], [row], projection)

    def _take(self, run: RunRecord, nonce: int) -> None:
        core = self._core
        try:
            history = read_history(core.store, run.run_id, run.key)
            if history.tail_seq <= run.tail_seq:
                raise HistoryCorruptError(run.run_id, run.tail_seq, "the end of the log is gone")
        except HistoryCorruptError as problem:
            self._block(run, nonce, "corrupt", str(problem), problem.seq)
            return
        claims = history.unclean_claims
        if claims > CRASH_LOOP_TAKEOVERS_MAX:
            report = (
                f"{claims} workers in a row died while executing it, without progress; its code may kill the process"
            )
            self._block(run, nonce, "crash_loop", report, history.tail_seq)
        elif claims >= CRASH_LOOP_ALONE_FROM:
            delay_s = CRASH_LOOP_BACKOFF_S * 2 ** (claims - CRASH_LOOP_ALONE_FROM)
            _log.warning(
                "run %s: %d workers died while executing it; it runs alone in %g s", run.run_id, claims, delay_s
            )
            self._suspects.append((core.clock.monotonic_s() + delay_s, run, nonce, history))
            self._suspects.sort(key=lambda suspect: suspect[0])
        else:
            self._start(run, nonce, history)

    def _start(self, run: RunRecord, nonce: int, history: History) -> Activation | None:
        core = self._core
        if core.observers:
            core.call_observers("on_run_resumed", run.run_id, run.workflow, core.clock.now_us())
        try:
            return self._begin(run, nonce, history)
        except FluxoError as problem:
            self._block(run, nonce, "error", str(problem), history.tail_seq)
            return None

    def _start_suspect(self) -> None:
        """One suspect at a time, when nothing else executes here: others must not be blamed for what it does."""
        if self._alone is not None:
            if self._alone.key in self.active and not self._alone.parked:
                return
            self._alone = None
        if not self._suspects or self._suspects[0][0] > self._core.clock.monotonic_s():
            return
        if any(not activation.parked for activation in tuple(self.active.values())):
            return
        _, run, nonce, history = self._suspects.pop(0)
        self._alone = self._start(run, nonce, history)

    def _block(self, run: RunRecord, nonce: int, reason: str, report: str, seq: int) -> None:
        """Park a run that cannot be begun; the rest of its log need not be readable for that."""
        core = self._core
        tail = core.store.tail(run.key)
        if tail is None:
            return
        _log.error("run %s is blocked (%s): %s", run.run_id, reason, report)
        event = RunBlocked(max(_at_us(tail), core.clock.now_us()), reason, report, seq)
        body = encode_event(event)
        row = (tail[0] + 1, nonce, chain(tail[2], nonce, body), body)
        projection = Projection(RunStatus.BLOCKED, None, run.consumed, None, nonce)
        outcome = core.store.append([Append(run.key, tail[0], tail[2], [row], projection)])[0]
        if isinstance(outcome, Committed):
            self._watch.ended(run.run_id, event)
            if core.observers:
                core.notify(run.run_id, run.workflow, [event])


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


def _at_us(tail: EventRow) -> int:
    try:
        return decode_event(tail[3]).at_us
    except DecodeError:
        return 0
