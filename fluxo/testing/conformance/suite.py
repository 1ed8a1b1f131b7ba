"""
What the parts of the conformance suite share.

Owns: opening stores, building requests, comparing, and running calls at once. Must not know what is tested.
"""

from __future__ import annotations

import threading
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any, Final, TypeVar

from fluxo.errors import FluxoInternalError
from fluxo.model.run import RunRecord, RunStatus
from fluxo.store import (
    Append,
    Committed,
    DueQuery,
    EventRow,
    Message,
    NewRun,
    Outcome,
    Projection,
    Store,
    WorkerRecord,
)

__all__ = [
    "HOUR_US",
    "NAMESPACE",
    "Activation",
    "StoreSuite",
    "at_once",
    "chain",
    "due_query",
    "expect",
    "message",
    "new_run",
    "projection",
    "record_of",
    "worker",
]

T = TypeVar("T")

NAMESPACE: Final = "conformance"
HOUR_US: Final = 3_600_000_000
_THREAD_S: Final = 50.0


class StoreSuite(ABC):
    """Base of all parts."""

    @abstractmethod
    def make_store(self) -> Store:
        """A store over an empty database, not open; the suite opens and closes it."""

    @contextmanager
    def opened(self) -> Generator[Store, None, None]:
        """A fresh store, open for the length of the block."""
        store = self.make_store()
        store.open()
        try:
            yield store
        finally:
            store.close()


class Activation:
    """One owner's view of one run: builds its next append, and moves on when that was committed."""

    def __init__(self, store: Store, key: int, nonce: int, seq: int, digest: int) -> None:
        self.store = store
        self.key = key
        self.nonce = nonce
        self.seq = seq
        self.digest = digest

    @classmethod
    def of_new(cls, store: Store, new: NewRun, *, events: int = 1) -> Activation:
        """Create the run; it must not exist."""
        append = Append(0, 0, 0, chain(0, 0, new.nonce, events), new=new)
        (outcome,) = store.append([append])
        assert isinstance(outcome, Committed), f"a new run must be committed, the answer was {outcome}"
        tail = append.events[-1]
        return cls(store, outcome.key, new.nonce, tail[0], tail[2])

    def takeover(self, nonce: int) -> Activation:
        """Another activation that has seen the same tail."""
        return Activation(self.store, self.key, nonce, self.seq, self.digest)

    def next(
        self,
        events: int = 1,
        *,
        projection: Projection | None = None,
        consumed: tuple[tuple[int, int], ...] = (),
        body: bytes = b"event",
    ) -> Append:
        """The append of this many further events."""
        rows = chain(self.seq, self.digest, self.nonce, events, body)
        return Append(self.key, self.seq, self.digest, rows, projection, consumed)

    def append(
        self,
        events: int = 1,
        *,
        projection: Projection | None = None,
        consumed: tuple[tuple[int, int], ...] = (),
        body: bytes = b"event",
    ) -> Outcome:
        """Send the next append; move on if it is committed."""
        append = self.next(events, projection=projection, consumed=consumed, body=body)
        (outcome,) = self.store.append([append])
        if isinstance(outcome, Committed):
            self.moved_past(append)
        return outcome

    def moved_past(self, append: Append) -> None:
        """Take the last event of `append` for the tail."""
        self.seq, _, self.digest, _ = append.events[-1]

    def log(self) -> list[EventRow]:
        """The whole log as the store has it."""
        return self.store.read(self.key, 0, 1_000_000)


def chain(seq: int, digest: int, nonce: int, events: int, body: bytes = b"event") -> list[EventRow]:
    """Events behind (seq, digest), each with a digest over its predecessor's."""
    rows: list[EventRow] = []
    for _ in range(events):
        seq += 1
        digest = zlib.crc32(b"%d %d " % (seq, nonce) + body, digest)
        rows.append((seq, nonce, digest, body))
    return rows


def new_run(
    run_id: str = "run",
    *,
    namespace: str = NAMESPACE,
    workflow: str = "flow",
    version: str = "1",
    queue: str = "default",
    status: RunStatus = RunStatus.PENDING,
    owner: str | None = None,
    nonce: int = 1,
    priority: int = 0,
    wake_at_us: int | None = None,
) -> NewRun:
    """The row of a run to create: pending and unowned unless told otherwise."""
    return NewRun(
        namespace=namespace,
        run_id=run_id,
        workflow=workflow,
        version=version,
        queue=queue,
        shard=zlib.crc32(run_id.encode()) % 64,
        input_digest=zlib.crc32(run_id.encode()).to_bytes(16),
        status=status,
        owner=owner,
        nonce=nonce,
        priority=priority,
        wake_at_us=wake_at_us,
    )


def projection(
    status: RunStatus,
    *,
    wake_at_us: int | None = None,
    consumed: int = 0,
    owner: str | None = None,
    nonce: int = 1,
) -> Projection:
    """New values of a run's row."""
    return Projection(status, wake_at_us, consumed, owner, nonce)


def message(
    dedup_key: str, run_id: str = "run", *, namespace: str = NAMESPACE, name: str = "go", payload: bytes = b"payload"
) -> Message:
    """A signal for a run."""
    return Message(namespace, run_id, "signal", name, dedup_key, payload)


def worker(worker_id: str, *, namespace: str = NAMESPACE) -> WorkerRecord:
    """A worker's row."""
    return WorkerRecord(worker_id, namespace, "label of " + worker_id, "host", 4242, 17)


def due_query(
    *,
    namespace: str = NAMESPACE,
    queues: Sequence[str] = ("default",),
    workflows: Sequence[tuple[str, str]] = (("flow", "1"),),
    dead: Sequence[str] = (),
    limit: int = 100,
) -> DueQuery:
    """What a worker of the default queue asks."""
    return DueQuery(namespace, tuple(queues), tuple(workflows), tuple(dead), limit)


def record_of(store: Store, run_id: str = "run", namespace: str = NAMESPACE) -> RunRecord:
    """The run's row, which must exist."""
    record = store.get(namespace, run_id)
    assert record is not None, f"run {run_id!r} must exist"
    return record


def expect(what: str, actual: T, expected: T) -> None:
    """Fail with both values unless they are equal."""
    assert actual == expected, f"{what}: expected {expected!r}, got {actual!r}"


def at_once(*calls: Callable[[], T]) -> list[T]:
    """Run the calls in a thread each, started together; their answers in order, or the first error."""
    start = threading.Barrier(len(calls))
    answers: dict[int, T] = {}
    errors: list[Exception] = []

    def run(index: int, call: Callable[[], Any]) -> None:
        try:
            start.wait(_THREAD_S)
            answers[index] = call()
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=pair, daemon=True) for pair in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(_THREAD_S)
    if errors:
        raise errors[0]
    if len(answers) < len(calls):
        raise FluxoInternalError(f"a call to the store did not return within {_THREAD_S:g} s")
    return [answers[index] for index in range(len(calls))]
