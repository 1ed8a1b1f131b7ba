"""
Taking runs over: which of the due ones, how, and what is not trusted.

Owns: the fence (a claim event at the inspected tail), the limit by free threads, and crash-loop suspicion. Must not
know heartbeats or who is waiting. Theory: PROTOCOL rules 3 and 13. Only what can begin at once is claimed: a claim
counts against a run when its worker dies, so nothing may be blamed for having stood in line.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from fluxo.authoring.registry import find_workflow, workflows
from fluxo.codec.event import chain, decode_event, encode_event, tag_of
from fluxo.engine.watch import Watch
from fluxo.errors import DecodeError, FluxoError, HistoryCorruptError
from fluxo.limits import (
    CLAIM_RUNS_MAX,
    CRASH_LOOP_ALONE_FROM,
    CRASH_LOOP_BACKOFF_S,
    CRASH_LOOP_PATIENCE_S,
    CRASH_LOOP_TAKEOVERS_MAX,
)
from fluxo.model.events import Event, RunBlocked, RunCancelled, RunClaimed, RunCompleted, RunFailed
from fluxo.model.run import RunRecord, RunStatus
from fluxo.replay.history import History
from fluxo.runtime.reading import read_history
from fluxo.store import Append, Committed, DueQuery, EventRow, Projection

if TYPE_CHECKING:
    from fluxo.runtime.activation import Activation
    from fluxo.runtime.core import Core

__all__ = ["Begin", "Claims"]

_log = logging.getLogger("fluxo.engine")

Mark = tuple[int, int]
"""(key, strikes) of a suspect: one more strike, wherever it happened, is another rest."""

Begin = Callable[[RunRecord, int, History], "Activation"]
"""(run, nonce, history) → an activation that has begun."""


class Claims:
    """
    Claims due runs for one engine.

    Attributes:
        dead: Ids of workers judged dead.
        short: The last look left runs behind for want of a free thread.
        next_wake_us: When the next unowned timer is due, by the last look; None if none is.
    """

    def __init__(self, core: Core, watch: Watch, begin: Begin, active: Mapping[int, Activation]) -> None:
        self.dead: tuple[str, ...] = ()
        self.short = False
        self.next_wake_us: int | None = None
        self._core = core
        self._watch = watch
        self._begin = begin
        self._active = active
        self._lock = core.threads.lock()
        self._alone: Activation | None = None
        self._rests: dict[Mark, float] = {}

    def claim_all(self) -> int:
        """Claim and begin what is due until nothing more can be; the number taken."""
        taken = 0
        while batch := self._claim_batch():
            taken += batch
        return taken

    def wait_s(self, now_s: float) -> float | None:
        """Seconds until a resting suspect may be looked at again; None without one."""
        return max(0.0, min(self._rests.values()) - now_s) if self._rests else None

    def _claim_batch(self) -> int:
        core = self._core
        with self._lock:
            if core.owner is None or core.draining or self._runs_alone():
                return 0
            asked_s = core.clock.monotonic_s()
            due = core.store.due(DueQuery(core.namespace, core.queues, workflows(), self.dead, CLAIM_RUNS_MAX))
            core.clock.heard(due.now_us, asked_s)
            self.next_wake_us = due.next_wake_at_us
            claims: list[tuple[RunRecord, Append]] = []
            suspects: list[tuple[Mark, RunRecord, EventRow]] = []
            threads = core.run_threads.free()
            self.short = False
            for run in due.runs:
                tail = None if run.key in self._active else self._tail(run)
                if tail is None:
                    continue
                strikes = self._strikes(run, tail)
                if strikes > CRASH_LOOP_TAKEOVERS_MAX:
                    self._block_loop(run, tail, strikes)
                elif strikes >= CRASH_LOOP_ALONE_FROM:
                    suspects.append((self._rest(run, strikes), run, tail))
                elif _needs_thread(run) and threads <= 0:
                    self.short = True
                else:
                    threads -= _needs_thread(run)
                    claims.append((run, self._fence(run, tail)))
            if claims:
                return len(self._take_all(claims))
            return self._claim_suspect(suspects)

    def _tail(self, run: RunRecord) -> EventRow | None:
        """The end of the log as it belongs to this row; None once the run is no longer what made it due."""
        store = self._core.store
        tail = store.tail(run.key)
        if tail is None:
            _log.error("run %s has a row and no events; it is left alone until they are restored", run.run_id)
        elif (tail[1] != run.nonce or tag_of(tail[3]) in _ENDS) and store.get(run.namespace, run.run_id) != run:
            # Someone was quicker since we looked: behind this tail a claim would rob the living, or follow an end.
            return None
        return tail

    def _strikes(self, run: RunRecord, tail: EventRow) -> int:
        """Unclean takeovers in a row without an event between them, counting the one about to be made."""
        if not _is_unclean(run):
            return 0
        strikes = 1
        if tag_of(tail[3]) != RunClaimed.__struct_config__.tag:
            return strikes
        for _, _, _, body in reversed(self._core.store.read(run.key, max(0, tail[0] - _LOOK_BACK), _LOOK_BACK)):
            event = _decoded(body)
            if not (isinstance(event, RunClaimed) and event.unclean):
                break
            strikes += 1
        return strikes

    def _fence(self, run: RunRecord, tail: EventRow) -> Append:
        """The claim event at the tail inspected now (PROTOCOL rule 3)."""
        core, nonce = self._core, self._core.ids.nonce()
        event = RunClaimed(self._at_us(tail), core.owner or "", _is_unclean(run))
        projection = Projection(RunStatus.RUNNING, None, run.consumed, core.owner, nonce)
        return _append(run, tail, event, nonce, projection)

    def _take_all(self, claims: list[tuple[RunRecord, Append]]) -> list[Activation | None]:
        """Append the fences in one commit and begin the runs that were won."""
        outcomes = self._core.store.append([append for _, append in claims])
        self._core.hit("during_takeover")
        return [
            self._take(run, append.events[0])
            for (run, append), outcome in zip(claims, outcomes, strict=True)
            if isinstance(outcome, Committed)
        ]

    def _take(self, run: RunRecord, claim: EventRow) -> Activation | None:
        core = self._core
        seq, nonce, digest, _ = claim
        try:
            history = read_history(core.store, run.run_id, run.key)
            if history.tail_seq <= run.tail_seq:
                raise HistoryCorruptError(run.run_id, run.tail_seq, "the end of the log is gone")
        except HistoryCorruptError as problem:
            self._block(run, claim, nonce, "corrupt", str(problem), problem.seq)
            return None
        if (history.tail_seq, history.tail_digest) != (seq, digest):
            # Overtaken before we read it: going on from that tail would be writing behind a fence, or behind the end.
            _log.info("run %s was taken over again before it could begin here", run.run_id)
            return None
        if core.observers:
            core.call_observers("on_run_resumed", run.run_id, run.workflow, core.clock.now_us())
        try:
            return self._begin(run, nonce, history)
        except FluxoError as problem:
            self._block(run, claim, nonce, "error", str(problem), seq)
            return None

    def _rest(self, run: RunRecord, strikes: int) -> Mark:
        """Note until when a suspect rests after this strike; it stays with its dead owner, free for any worker."""
        mark = run.key, strikes
        if mark not in self._rests:
            delay_s = CRASH_LOOP_BACKOFF_S * 2 ** (strikes - CRASH_LOOP_ALONE_FROM)
            self._rests[mark] = self._core.clock.monotonic_s() + delay_s
            _log.warning(
                "run %s: %d workers in a row died while executing it; it runs alone, in %g s at the earliest",
                run.run_id,
                strikes,
                delay_s,
            )
        return mark

    def _claim_suspect(self, suspects: list[tuple[Mark, RunRecord, EventRow]]) -> int:
        """One suspect at a time, when nothing else executes here: others must not be blamed for what it does."""
        rests = self._rests = {mark: self._rests[mark] for mark, _, _ in suspects}
        now_s = self._core.clock.monotonic_s()
        busy = any(not activation.parked for activation in tuple(self._active.values()))
        # The one that rested first has done the least; what kills its process would otherwise kill their turns, too.
        for mark, run, tail in sorted(suspects, key=lambda suspect: rests[suspect[0]]):
            if now_s - rests[mark] >= (CRASH_LOOP_PATIENCE_S if busy else 0):
                del rests[mark]
                for activation in self._take_all([(run, self._fence(run, tail))]):
                    self._alone = activation
                    return 1
        return 0

    def _runs_alone(self) -> bool:
        alone = self._alone
        if alone is not None and (self._active.get(alone.key) is not alone or alone.parked):
            self._alone = None
        return self._alone is not None

    def _block_loop(self, run: RunRecord, tail: EventRow, strikes: int) -> None:
        died = f"{strikes} workers in a row died while executing it"
        report = f"{died}, without progress; its code may kill the process"
        self._rests.pop((run.key, strikes - 1), None)
        self._block(run, tail, self._core.ids.nonce(), "crash_loop", report, run.tail_seq)

    def _block(self, run: RunRecord, tail: EventRow, nonce: int, reason: str, report: str, seq: int) -> None:
        """Park a run that cannot be begun, behind the tail that says why; the rest of its log need not be readable."""
        core = self._core
        _log.error("run %s is blocked (%s): %s", run.run_id, reason, report)
        event = RunBlocked(self._at_us(tail), reason, report, seq)
        projection = Projection(RunStatus.BLOCKED, None, run.consumed, None, nonce)
        outcome = core.store.append([_append(run, tail, event, nonce, projection)])[0]
        if isinstance(outcome, Committed):
            self._watch.ended(run.run_id, event)
            if core.observers:
                core.notify(run.run_id, run.workflow, [event])

    def _at_us(self, tail: EventRow) -> int:
        event = _decoded(tail[3])
        return max(0 if event is None else event.at_us, self._core.clock.now_us())


_LOOK_BACK = CRASH_LOOP_TAKEOVERS_MAX + 1
_ENDS = {kind.__struct_config__.tag for kind in (RunCompleted, RunFailed, RunCancelled, RunBlocked)}


def _append(run: RunRecord, tail: EventRow, event: Event, nonce: int, projection: Projection) -> Append:
    body = encode_event(event)
    row = (tail[0] + 1, nonce, chain(tail[2], nonce, body), body)
    return Append(run.key, tail[0], tail[2], [row], projection)


def _is_unclean(run: RunRecord) -> bool:
    return run.status is RunStatus.RUNNING and run.owner is not None


def _needs_thread(run: RunRecord) -> bool:
    definition = find_workflow(run.workflow, run.version)
    return definition is not None and not definition.is_async


def _decoded(body: bytes) -> Event | None:
    try:
        return decode_event(body)
    except DecodeError:
        return None
