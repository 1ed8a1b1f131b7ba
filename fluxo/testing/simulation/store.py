"""
One process's connection to the simulated store.

Owns: the points and the faults around each call, and how hints travel. Must not know what a call means: the memory
store, the reference model of the contract, answers it. What was executed and then reported as an error is `Unknown`
for an append, and `StoreUnavailableError` for what its caller may simply repeat.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from fluxo.errors import StoreUnavailableError
from fluxo.model.run import RunRecord
from fluxo.store import (
    Append,
    Delivery,
    DueQuery,
    DueRuns,
    EventRow,
    InboxItem,
    Message,
    Outcome,
    Release,
    RunPage,
    RunQuery,
    Store,
    StoreStats,
    Unknown,
    WorkerRecord,
)
from fluxo.stores.bell import Bell
from fluxo.testing.simulation.faults import Fault

__all__ = ["Connection", "SimBell", "SimStore"]

T = TypeVar("T")


class SimBell(Bell):
    """Tells subscribers of every change of the store; how a hint travels is theirs."""

    __slots__ = ("listeners",)

    def __init__(self) -> None:
        super().__init__()
        self.listeners: list[Callable[[], None]] = []

    def ring(self) -> None:
        for listener in self.listeners:
            listener()


class Connection(Protocol):
    """What a connection asks of its process; see `SimNode`."""

    def point(self, name: str) -> None:
        """The process may die, stop or give way here."""
        ...

    def fault(self, method: str) -> Fault:
        """What happens to this call; takes the time that the call takes."""
        ...

    def wait_hint(self, timeout_s: float) -> bool:
        """Wait for a hint."""
        ...

    def hint(self) -> None:
        """A hint of one's own."""
        ...

    def lost(self, batch: Sequence[Append]) -> None:
        """Appends that never reached the store; the process will be told that their outcome is unknown."""
        ...

    def appended(self, batch: Sequence[Append], outcomes: Sequence[Outcome]) -> None:
        """What the store has answered, whatever the process will hear of it."""
        ...

    def told(self, batch: Sequence[Append], outcomes: Sequence[Outcome]) -> None:
        """The process hears the answer."""
        ...


class SimStore:
    """The store as one simulated process reaches it."""

    def __init__(self, store: Store, connection: Connection) -> None:
        self._store = store
        self._connection = connection

    def _call(self, method: str, call: Callable[[], T]) -> T:
        connection = self._connection
        connection.point(f"before {method}")
        fault = connection.fault(method)
        if fault is Fault.ERROR_BEFORE:
            raise StoreUnavailableError("the simulated store", f"{method} was refused")
        answer = call()
        connection.point(f"after {method}")
        if fault is Fault.ERROR_AFTER:
            raise StoreUnavailableError("the simulated store", f"the answer to {method} was lost")
        return answer

    def append(self, batch: Sequence[Append]) -> list[Outcome]:
        connection = self._connection
        connection.point("before append")
        fault = connection.fault("append")
        if fault is Fault.ERROR_BEFORE:
            # Refused for good, or never arrived and nobody can tell: the store may say either.
            if connection.fault("append") is Fault.NONE:
                connection.lost(batch)
                return [Unknown("the request was lost") for _ in batch]
            raise StoreUnavailableError("the simulated store", "the append was refused")
        outcomes = self._store.append(batch)
        connection.appended(batch, outcomes)
        connection.point("after append")
        if fault is Fault.ERROR_AFTER:
            return [Unknown("the answer was lost") for _ in batch]
        connection.told(batch, outcomes)
        return outcomes

    def read(self, key: int, after_seq: int, limit: int) -> list[EventRow]:
        return self._call("read", lambda: self._store.read(key, after_seq, limit))

    def tail(self, key: int) -> EventRow | None:
        return self._call("tail", lambda: self._store.tail(key))

    def due(self, query: DueQuery) -> DueRuns:
        return self._call("due", lambda: self._store.due(query))

    def register(self, worker: WorkerRecord) -> None:
        self._call("register", lambda: self._store.register(worker))

    def heartbeat(self, worker_id: str) -> list[tuple[int, int]] | None:
        return self._call("heartbeat", lambda: self._store.heartbeat(worker_id))

    def unregister(self, worker_id: str) -> None:
        self._call("unregister", lambda: self._store.unregister(worker_id))

    def workers(self) -> list[WorkerRecord]:
        return self._call("workers", self._store.workers)

    def release(self, runs: Sequence[Release]) -> int:
        return self._call("release", lambda: self._store.release(runs))

    def deliver(self, messages: Sequence[Message]) -> list[Delivery]:
        return self._call("deliver", lambda: self._store.deliver(messages))

    def inbox(self, key: int, after_n: int) -> list[InboxItem]:
        return self._call("inbox", lambda: self._store.inbox(key, after_n))

    def arrivals(self, owner: str) -> list[tuple[int, int]]:
        return self._call("arrivals", lambda: self._store.arrivals(owner))

    def get(self, namespace: str, run_id: str) -> RunRecord | None:
        return self._call("get", lambda: self._store.get(namespace, run_id))

    def find(self, query: RunQuery) -> RunPage:
        return self._call("find", lambda: self._store.find(query))

    def stats(self, namespace: str) -> StoreStats:
        return self._call("stats", lambda: self._store.stats(namespace))

    def purge(self, namespace: str, ended_before_us: int, limit: int) -> int:
        return self._call("purge", lambda: self._store.purge(namespace, ended_before_us, limit))

    def now_us(self) -> int:
        return self._store.now_us()

    def wait(self, timeout_s: float) -> bool:
        return self._connection.wait_hint(timeout_s)

    def nudge(self) -> None:
        self._connection.hint()

    def open(self) -> None:
        self._call("open", self._store.open)

    def close(self) -> None:
        """The simulated store outlives its processes."""
