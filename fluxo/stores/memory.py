"""
The store in this process's memory: the reference model of the contract.

Owns: what each request means, in the plainest words the contract allows; every other store answers as this
one does. Must not know events' contents or the engine. Nothing survives the process. One lock guards all;
an append of one event is a few comparisons under it.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Sequence

from msgspec.structs import replace

from fluxo.clock import Clock, SystemClock
from fluxo.limits import INBOX_MESSAGES_MAX
from fluxo.model.run import ENDED, OPEN, RunRecord, RunStatus
from fluxo.store import (
    Append,
    Committed,
    Conflict,
    Delivered,
    Delivery,
    DueQuery,
    DueRuns,
    EventRow,
    Existing,
    InboxItem,
    Message,
    NewRun,
    Outcome,
    Release,
    RunPage,
    RunQuery,
    StoreStats,
    WorkerRecord,
)
from fluxo.stores.bell import Bell

__all__ = ["MemoryStore"]

_CONFLICT = Conflict()


class _Run:
    """One run: its row, its log (event seq stands at index seq - 1), and its inbox."""

    __slots__ = ("committed", "events", "numbers", "record", "unconsumed")

    def __init__(self, record: RunRecord, events: list[EventRow]) -> None:
        self.record = record
        self.events = events
        self.unconsumed: dict[int, InboxItem] = {}
        self.numbers: dict[str, int] = {}
        self.committed = Committed(record.key)


class MemoryStore:
    """
    A store that forgets everything when the process ends; safe to share between threads and engines.

    `close` keeps the content, so that engines may come and go over one store.
    """

    def __init__(self, clock: Clock | None = None, bell: Bell | None = None) -> None:
        self._clock: Clock = SystemClock() if clock is None else clock
        self._lock = threading.Lock()
        self._bell = Bell() if bell is None else bell
        self._runs: dict[int, _Run] = {}
        self._keys: dict[tuple[str, str], int] = {}
        self._unowned: dict[int, _Run] = {}
        self._owned: dict[str, dict[int, _Run]] = {}
        self._workers: dict[str, WorkerRecord] = {}
        self._last_key = 0

    def append(self, batch: Sequence[Append]) -> list[Outcome]:
        if len(batch) == 1 and batch[0].new is None and batch[0].projection is None:
            # What a step costs: one event, nothing beside it, nothing that concerns others.
            with self._lock:
                return [self._extend(batch[0])]
        outcomes: list[Outcome] = []
        news = False
        with self._lock:
            for append in batch:
                if append.new is not None:
                    outcome = self._create(append, append.new)
                    news = news or isinstance(outcome, Committed)
                else:
                    outcome = self._extend(append)
                    news = news or (append.projection is not None and outcome is not _CONFLICT)
                outcomes.append(outcome)
        if news:
            self._bell.ring()
        return outcomes

    def _extend(self, append: Append) -> Outcome:
        run = self._runs.get(append.key)
        if run is None:
            return _CONFLICT
        events = run.events
        if len(events) != append.prev_seq or events[-1][2] != append.prev_digest:
            return run.committed if _standing(events, append) else _CONFLICT
        events.extend(append.events)
        for n, _ in append.consumed:
            run.unconsumed.pop(n, None)
        projection = append.projection
        if projection is not None:
            tail = events[-1]
            self._place(
                run,
                replace(
                    run.record,
                    status=projection.status,
                    wake_at_us=projection.wake_at_us,
                    consumed=projection.consumed,
                    owner=projection.owner,
                    nonce=projection.nonce,
                    tail_seq=tail[0],
                    tail_digest=tail[2],
                    updated_at_us=self._clock.now_us(),
                ),
            )
        return run.committed

    def _create(self, append: Append, new: NewRun) -> Outcome:
        key = self._keys.get((new.namespace, new.run_id))
        if key is not None:
            run = self._runs[key]
            return run.committed if _standing(run.events, append) else Existing(run.record)
        self._last_key = key = self._last_key + 1
        now_us = self._clock.now_us()
        tail = append.events[-1]
        record = RunRecord(
            key=key,
            namespace=new.namespace,
            run_id=new.run_id,
            workflow=new.workflow,
            version=new.version,
            status=new.status,
            queue=new.queue,
            shard=new.shard,
            priority=new.priority,
            wake_at_us=new.wake_at_us,
            delivered=0,
            consumed=0,
            owner=new.owner,
            nonce=new.nonce,
            base_seq=0,
            tail_seq=tail[0],
            tail_digest=tail[2],
            input_digest=new.input_digest,
            created_at_us=now_us,
            updated_at_us=now_us,
        )
        self._keys[new.namespace, new.run_id] = key
        run = self._runs[key] = _Run(record, list(append.events))
        self._place(run, record)
        return run.committed

    def _place(self, run: _Run, record: RunRecord) -> None:
        """Give the run its new row, and file it under its owner or among the unowned while it is open."""
        self._unfile(run)
        run.record = record
        if record.status in OPEN:
            if record.owner is None:
                self._unowned[record.key] = run
            else:
                self._owned.setdefault(record.owner, {})[record.key] = run

    def _unfile(self, run: _Run) -> None:
        key, owner = run.record.key, run.record.owner
        self._unowned.pop(key, None)
        if owner is not None and owner in self._owned:
            self._owned[owner].pop(key, None)
            if not self._owned[owner]:
                del self._owned[owner]

    def read(self, key: int, after_seq: int, limit: int) -> list[EventRow]:
        with self._lock:
            run = self._runs.get(key)
            return [] if run is None else run.events[after_seq : after_seq + limit]

    def tail(self, key: int) -> EventRow | None:
        with self._lock:
            run = self._runs.get(key)
            return None if run is None else run.events[-1]

    def due(self, query: DueQuery) -> DueRuns:
        now_us = self._clock.now_us()
        due: list[RunRecord] = []
        next_wake_at_us: int | None = None
        with self._lock:
            for run in self._unowned.values():
                record = run.record
                if not _asked_for(record, query):
                    continue
                wake_at_us = record.wake_at_us
                if wake_at_us is not None and wake_at_us > now_us:
                    next_wake_at_us = wake_at_us if next_wake_at_us is None else min(next_wake_at_us, wake_at_us)
                if _unowned_is_due(record, now_us):
                    due.append(record)
            for owner, runs in self._owned.items():
                if owner in query.dead or owner not in self._workers:
                    due.extend(run.record for run in runs.values() if _asked_for(run.record, query))
        due.sort(key=_by_priority)
        return DueRuns(due[: query.limit], now_us, next_wake_at_us)

    def register(self, worker: WorkerRecord) -> None:
        with self._lock:
            self._workers[worker.worker_id] = replace(worker, beat=0)
        self._bell.ring()

    def heartbeat(self, worker_id: str) -> list[tuple[int, int]] | None:
        with self._lock:
            worker = self._workers.get(worker_id)
            if worker is None:
                return None
            self._workers[worker_id] = replace(worker, beat=worker.beat + 1)
            return sorted((run.record.key, run.record.nonce) for run in self._owned_by(worker_id))

    def unregister(self, worker_id: str) -> None:
        with self._lock:
            self._workers.pop(worker_id, None)
        self._bell.ring()

    def workers(self) -> list[WorkerRecord]:
        with self._lock:
            return [self._workers[worker_id] for worker_id in sorted(self._workers)]

    def release(self, runs: Sequence[Release]) -> int:
        released = 0
        with self._lock:
            for release in runs:
                run = self._owned.get(release.owner, {}).get(release.key)
                if run is None or run.record.nonce != release.nonce:
                    continue
                consumed = run.record.consumed if release.consumed is None else release.consumed
                self._place(
                    run,
                    replace(
                        run.record,
                        owner=None,
                        status=release.status,
                        wake_at_us=release.wake_at_us,
                        consumed=consumed,
                        updated_at_us=self._clock.now_us(),
                    ),
                )
                released += 1
        if released:
            self._bell.ring()
        return released

    def deliver(self, messages: Sequence[Message]) -> list[Delivery]:
        with self._lock:
            deliveries = [self._deliver(message) for message in messages]
        if any(delivery.verdict is Delivered.ACCEPTED for delivery in deliveries):
            self._bell.ring()
        return deliveries

    def _deliver(self, message: Message) -> Delivery:
        key = self._keys.get((message.namespace, message.run_id))
        if key is None:
            return Delivery(Delivered.NOT_FOUND)
        run = self._runs[key]
        record = run.record
        n = run.numbers.get(message.dedup_key)
        if n is not None:
            return Delivery(Delivered.REPEATED, key, n, record.owner)
        if record.status in ENDED:
            return Delivery(Delivered.ENDED, key, 0, record.owner)
        if len(run.unconsumed) >= INBOX_MESSAGES_MAX:
            return Delivery(Delivered.FULL, key, 0, record.owner)
        n = record.delivered + 1
        run.numbers[message.dedup_key] = n
        run.unconsumed[n] = InboxItem(
            n, message.kind, message.name, message.dedup_key, message.payload, self._clock.now_us()
        )
        run.record = replace(record, delivered=n)
        return Delivery(Delivered.ACCEPTED, key, n, record.owner)

    def inbox(self, key: int, after_n: int) -> list[InboxItem]:
        with self._lock:
            run = self._runs.get(key)
            return [] if run is None else [item for n, item in run.unconsumed.items() if n > after_n]

    def arrivals(self, owner: str) -> list[tuple[int, int]]:
        with self._lock:
            records = [run.record for run in self._owned_by(owner)]
        return sorted((record.key, record.delivered) for record in records if record.delivered > record.consumed)

    def _owned_by(self, owner: str) -> Iterator[_Run]:
        return iter(self._owned.get(owner, {}).values())

    def get(self, namespace: str, run_id: str) -> RunRecord | None:
        with self._lock:
            key = self._keys.get((namespace, run_id))
            return None if key is None else self._runs[key].record

    def find(self, query: RunQuery) -> RunPage:
        with self._lock:
            found = [run.record for run in self._runs.values() if _matches(run.record, query)]
        found.sort(key=lambda record: -record.key)
        page = found[: query.limit]
        return RunPage(page, page[-1].key if len(found) > len(page) else None)

    def stats(self, namespace: str) -> StoreStats:
        with self._lock:
            runs = [run for run in self._runs.values() if run.record.namespace == namespace]
            counts = Counter(run.record.status for run in runs)
            return StoreStats(
                runs_by_status={status.value: counts[status] for status in RunStatus},
                events=sum(len(run.events) for run in runs),
                messages_unconsumed=sum(len(run.unconsumed) for run in runs),
                workers=sum(worker.namespace == namespace for worker in self._workers.values()),
            )

    def purge(self, namespace: str, ended_before_us: int, limit: int) -> int:
        with self._lock:
            gone = [
                run.record
                for run in self._runs.values()
                if run.record.namespace == namespace
                and run.record.status in ENDED
                and run.record.updated_at_us < ended_before_us
            ][:limit]
            for record in gone:
                del self._runs[record.key], self._keys[namespace, record.run_id]
        return len(gone)

    def now_us(self) -> int:
        return self._clock.now_us()

    def wait(self, timeout_s: float) -> bool:
        return self._bell.wait(timeout_s)

    def nudge(self) -> None:
        self._bell.ring()

    def open(self) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Nothing to do: the content stays for the next engine."""


def _standing(events: list[EventRow], append: Append) -> bool:
    """Whether this very append was committed before (PROTOCOL rule 4)."""
    start = append.prev_seq
    standing = events[start : start + len(append.events)]
    return [event[:3] for event in standing] == [event[:3] for event in append.events]


def _asked_for(record: RunRecord, query: DueQuery) -> bool:
    return (
        record.namespace == query.namespace
        and record.queue in query.queues
        and (record.workflow, record.version) in query.workflows
    )


def _unowned_is_due(record: RunRecord, now_us: int) -> bool:
    if record.wake_at_us is not None and record.wake_at_us <= now_us:
        return True
    if record.status is RunStatus.PENDING:
        return record.wake_at_us is None
    return record.delivered > record.consumed


def _by_priority(record: RunRecord) -> tuple[int, int]:
    return -record.priority, record.key


def _matches(record: RunRecord, query: RunQuery) -> bool:
    return (
        record.namespace == query.namespace
        and (not query.status or record.status in query.status)
        and (query.workflow is None or record.workflow == query.workflow)
        and (query.queue is None or record.queue == query.queue)
        and (query.since_us is None or record.created_at_us >= query.since_us)
        and (query.before_key is None or record.key < query.before_key)
    )
