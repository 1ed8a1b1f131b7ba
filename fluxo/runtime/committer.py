"""
Group commit: all appends of a process to one store, in as few transactions as possible.

Owns: who commits when. Must not know what is appended. Theory: DESIGN §1.5, prices in limits.md §2c:
alone, the caller commits in its own thread; several threads elect a leader that commits for all that queued
behind it; an event loop queues during one tick and commits once at its end. There is no writer thread and no
timer window. A request is in flight once; its outcome may be `Unknown`, which the journal resolves.
"""

from __future__ import annotations

from _thread import allocate_lock
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from time import perf_counter
from typing import TYPE_CHECKING, Any

from fluxo.errors import StoreUnavailableError
from fluxo.limits import COMMIT_EVENTS_MAX, COMMIT_WAIT_S
from fluxo.store import Append, Outcome, Store, Unknown

if TYPE_CHECKING:
    from fluxo.runtime.ports import Lock

__all__ = ["Committer", "Request", "answer"]


class Request:
    """
    One append on its way.

    Attributes:
        outcome: Set once it is known; an exception when the store refused it definitely.
        gate: A held lock that a waiting thread blocks on; None for a request of an event loop.
        done: Called once `outcome` is set, from any thread; None for a waiting thread.
        waiter: What `done` needs to find who waits; opaque here.
    """

    __slots__ = ("append", "done", "gate", "outcome", "waiter")

    def __init__(self, append: Append, gate: Any, done: Callable[[Request], None] | None, waiter: Any = None) -> None:
        self.append = append
        self.gate = gate
        self.done = done
        self.waiter = waiter
        self.outcome: Outcome | Exception | None = None


class Committer:
    """
    The one way into a store's log for this process.

    Attributes:
        commits, appends: How many so far.
        write_s: How long the last batch took in the store.
    """

    def __init__(
        self,
        store: Store,
        lock: Callable[[], Lock] = allocate_lock,
        stopwatch: Callable[[], float] = perf_counter,
    ) -> None:
        self._append = store.append
        self._new_lock = lock
        self._stopwatch = stopwatch
        self._leader = lock()
        self._queue: deque[Request] = deque()
        self.write_s = 0.0
        self.commits = 0
        self.appends = 0

    def commit(self, append: Append) -> Outcome:
        """
        Append durably, in this thread or by a leader; blocks until the outcome is known.

        Raises:
            StoreError: definitely not written.

        Cost: one commit, shared with whatever queued at the same time.
        """
        leader = self._leader
        if not self._queue and leader.acquire(False):
            try:
                self.commits += 1
                self.appends += 1
                return self._append((append,))[0]
            finally:
                leader.release()
                if self._queue:
                    self._hand_over()
        gate = self._new_lock()
        gate.acquire()
        request = Request(append, gate, None)
        self._queue.append(request)
        self._follow(request)
        return answer(request)

    def enqueue(self, request: Request) -> None:
        """Queue a request of an event loop; its tick ends with `flush_tick`."""
        self._queue.append(request)

    def flush_tick(self) -> None:
        """
        Commit what an event loop's tick has queued; if another thread is at it, that one takes it along.

        What the answers queue in turn is the next tick's: otherwise runs that answers step on the spot would go round
        in here while those that need the loop itself stand still, and each commit would carry a part of them only.
        """
        due = len(self._queue)
        while due > 0 and self._queue and self._leader.acquire(False):
            due -= self._commit_batch()
        if self._queue:
            self._wake_follower()

    def flush(self) -> None:
        """Commit until nothing is queued, unless another thread is at it; then it will take these requests along."""
        while self._queue and self._leader.acquire(False):
            self._commit_batch()

    def _follow(self, request: Request) -> None:
        """Lead once if nobody does, else wait; a woken follower without an outcome is the next leader."""
        while request.outcome is None:
            if self._leader.acquire(False):
                try:
                    self._commit_batch()
                finally:
                    self._step_down(request)
            elif not request.gate.acquire(True, COMMIT_WAIT_S) and request.outcome is None:
                request.outcome = Unknown(f"no answer from the committing thread within {COMMIT_WAIT_S:g} s")

    def _step_down(self, request: Request) -> None:
        """A follower has led once, for its own request or for others before it: leave nobody without a leader."""
        if request.outcome is not None:
            if self._queue:
                self._hand_over()
        elif not self._queue:
            request.outcome = Unknown("the commit was interrupted")

    def _hand_over(self) -> None:
        """Wake the first waiting thread to lead; lead oneself when only loops are waiting."""
        if not self._wake_follower():
            self.flush()

    def _wake_follower(self) -> bool:
        """Wake the first thread that waits in the queue, if one does."""
        for request in tuple(self._queue):
            if request.gate is not None:
                _release(request.gate)
                return True
        return False

    def _commit_batch(self) -> int:
        """
        Commit what is queued, up to COMMIT_EVENTS_MAX; the number of requests.

        The caller holds leadership. It ends with the write, before anyone is answered: the next batch can be on its
        way to the disk while this one's runs go on.
        """
        queue, batch, events = self._queue, list[Request](), 0
        try:
            try:
                while queue and events < COMMIT_EVENTS_MAX:
                    batch.append(queue.popleft())
                    events += len(batch[-1].append.events)
                if batch:
                    self._write(batch)
            finally:
                self._leader.release()
        finally:
            # Also when an exception of this thread's own (KeyboardInterrupt) broke in: nobody may wait for ever.
            for request in batch:
                if request.outcome is None:
                    request.outcome = Unknown("the commit was interrupted")
                if request.gate is not None:
                    _release(request.gate)
                elif request.done is not None:
                    request.done(request)
        return len(batch)

    def _write(self, batch: list[Request]) -> None:
        self.commits += 1
        self.appends += len(batch)
        began_s = self._stopwatch()
        try:
            outcomes = self._append([request.append for request in batch])
            self.write_s = self._stopwatch() - began_s
        except StoreUnavailableError as error:
            for request in batch:
                request.outcome = error
            return
        except Exception as error:
            self._isolate(batch, error)
            return
        for request, outcome in zip(batch, outcomes, strict=True):
            request.outcome = outcome

    def _isolate(self, batch: list[Request], error: Exception) -> None:
        """Nothing of the batch was written: halve it, so that one bad request fails alone."""
        if len(batch) == 1:
            batch[0].outcome = error
            return
        middle = len(batch) // 2
        self._write(batch[:middle])
        self._write(batch[middle:])


def _release(gate: Any) -> None:
    # Handing over leadership and answering may both open the same gate.
    with suppress(RuntimeError):
        gate.release()


def answer(request: Request) -> Outcome:
    """The outcome of a finished request, or raise the store's definite refusal."""
    outcome = request.outcome
    if isinstance(outcome, Exception):
        raise outcome
    if outcome is None:
        return Unknown("the commit was interrupted")
    return outcome
