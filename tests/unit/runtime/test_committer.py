"""
Group commit.

Owns: who commits for whom, and what each is answered. Must not know events or runs: an append here is a number.
Theory: PROTOCOL rules 4 and 11.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from fluxo.clock import SystemClock
from fluxo.errors import ConflictError, LeaseLostError, StoreUnavailableError
from fluxo.model.events import RunWaiting
from fluxo.runtime.committer import Committer, Request, answer
from fluxo.runtime.host import Host
from fluxo.runtime.journal import Journal
from fluxo.store import Append, Committed, Conflict, Outcome, Unknown

PATIENCE_S = 10.0


def append(key: int, events: int = 1) -> Append:
    return Append(key, 1, 0, [(n, key, 0, b"") for n in range(2, 2 + events)])


class Log:
    """
    A store that only appends: commits can be held up, and answered as a test wants.

    Attributes:
        batches, threads: Keys and thread of each commit, in order.
        entered: Released by each commit that has begun.
        gate: Commits wait while it is clear.
        respond: What a batch is answered.
    """

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.threads: list[int] = []
        self.entered = threading.Semaphore(0)
        self.gate = threading.Event()
        self.gate.set()
        self.respond: Callable[[Sequence[Append]], list[Outcome]] = lambda batch: [Committed(a.key) for a in batch]

    def append(self, batch: Sequence[Append]) -> list[Outcome]:
        self.batches.append([one.key for one in batch])
        self.threads.append(threading.get_ident())
        self.entered.release()
        assert self.gate.wait(PATIENCE_S)
        return self.respond(batch)


class Queue(deque[Request]):
    """The committer's queue, telling who comes."""

    def __init__(self) -> None:
        self.came = threading.Semaphore(0)

    def append(self, request: Request) -> None:
        super().append(request)
        self.came.release()


class Crowd:
    """Threads that each commit one append, and what each was answered or got raised."""

    def __init__(self, committer: Committer, log: Log) -> None:
        self.committer = committer
        self.log = log
        self.queue = committer._queue = Queue()
        self.answers: dict[int, Any] = {}
        self.threads: list[threading.Thread] = []

    def commit(self, key: int) -> None:
        """One more thread; returns once it leads or its append is queued."""
        arrived = self.queue.came if self.committer._leader.locked() else self.log.entered
        thread = threading.Thread(target=self._commit, args=(key,))
        self.threads.append(thread)
        thread.start()
        assert arrived.acquire(timeout=PATIENCE_S), "the thread did not come to its commit"

    def _commit(self, key: int) -> None:
        try:
            self.answers[key] = self.committer.commit(append(key))
        except BaseException as error:
            self.answers[key] = error

    def join(self) -> None:
        for thread in self.threads:
            thread.join(PATIENCE_S)
            assert not thread.is_alive(), "a thread waits for ever"


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def committer(log: Log) -> Committer:
    return Committer(log)  # type: ignore[arg-type]


def test_alone_the_caller_commits_in_its_own_thread(log: Log, committer: Committer) -> None:
    for key in (1, 2, 3):
        assert committer.commit(append(key)) == Committed(key)
    assert log.batches == [[1], [2], [3]]
    assert set(log.threads) == {threading.get_ident()}
    assert (committer.commits, committer.appends) == (3, 3)


def test_who_comes_during_a_commit_shares_the_next_one(log: Log, committer: Committer) -> None:
    crowd = Crowd(committer, log)
    log.gate.clear()
    for key in (1, 2, 3, 4):
        crowd.commit(key)
    log.gate.set()
    crowd.join()
    assert log.batches == [[1], [2, 3, 4]]
    assert crowd.answers == {key: Committed(key) for key in (1, 2, 3, 4)}
    assert (committer.commits, committer.appends) == (2, 4)


def test_a_batch_is_bounded(log: Log, committer: Committer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fluxo.runtime.committer.COMMIT_EVENTS_MAX", 2)
    crowd = Crowd(committer, log)
    log.gate.clear()
    for key in (1, 2, 3, 4):
        crowd.commit(key)
    log.gate.set()
    crowd.join()
    assert log.batches == [[1], [2, 3], [4]]


def test_each_is_answered_with_its_own_outcome(log: Log, committer: Committer) -> None:
    crowd = Crowd(committer, log)
    log.gate.clear()
    for key in (1, 2, 3):
        crowd.commit(key)
    log.respond = lambda batch: [Conflict() if a.key == 2 else Committed(a.key) for a in batch]
    log.gate.set()
    crowd.join()
    assert crowd.answers == {1: Committed(1), 2: Conflict(), 3: Committed(3)}


def test_one_bad_append_fails_alone(log: Log, committer: Committer) -> None:
    bad = ConflictError("run", 3)

    def refuse(batch: Sequence[Append]) -> list[Outcome]:
        if any(one.key == 3 for one in batch):
            raise bad
        return [Committed(one.key) for one in batch]

    crowd = Crowd(committer, log)
    log.gate.clear()
    for key in range(1, 7):
        crowd.commit(key)
    log.respond = refuse
    log.gate.set()
    crowd.join()
    assert crowd.answers.pop(3) is bad
    assert crowd.answers == {key: Committed(key) for key in (1, 2, 4, 5, 6)}


def test_a_store_that_is_away_is_said_to_all_and_asked_once(log: Log, committer: Committer) -> None:
    away = StoreUnavailableError("db", "is away")

    def refuse(_: Sequence[Append]) -> list[Outcome]:
        raise away

    crowd = Crowd(committer, log)
    log.gate.clear()
    for key in (1, 2, 3):
        crowd.commit(key)
    log.respond = refuse
    log.gate.set()
    crowd.join()
    assert set(crowd.answers.values()) == {away}
    assert len(log.batches) == 2


def test_an_interrupted_leader_leaves_its_followers_unknown_and_the_next_one_leads(
    log: Log, committer: Committer
) -> None:
    def interrupt_once(batch: Sequence[Append]) -> list[Outcome]:
        if len(log.batches) == 2:
            crowd.commit(4)
            raise KeyboardInterrupt
        return [Committed(one.key) for one in batch]

    crowd = Crowd(committer, log)
    log.gate.clear()
    for key in (1, 2, 3):
        crowd.commit(key)
    log.respond = interrupt_once
    log.gate.set()
    crowd.join()
    assert crowd.answers[1] == Committed(1)
    interrupted, follower = sorted((crowd.answers[2], crowd.answers[3]), key=lambda a: isinstance(a, Unknown))
    assert isinstance(interrupted, KeyboardInterrupt)
    assert isinstance(follower, Unknown)
    assert crowd.answers[4] == Committed(4)
    assert log.batches == [[1], [2, 3], [4]]


def test_a_leader_interrupted_alone_passes_the_lead_on(log: Log, committer: Committer) -> None:
    def interrupt_once(batch: Sequence[Append]) -> list[Outcome]:
        if len(log.batches) == 1:
            raise KeyboardInterrupt
        return [Committed(one.key) for one in batch]

    log.respond = interrupt_once
    crowd = Crowd(committer, log)
    log.gate.clear()
    for key in (1, 2):
        crowd.commit(key)
    log.gate.set()
    crowd.join()
    assert isinstance(crowd.answers[1], KeyboardInterrupt)
    assert crowd.answers[2] == Committed(2)


def test_a_follower_does_not_wait_for_ever(log: Log, committer: Committer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fluxo.runtime.committer.COMMIT_WAIT_S", 0.01)
    crowd = Crowd(committer, log)
    log.gate.clear()
    for key in (1, 2):
        crowd.commit(key)
    crowd.threads[1].join(PATIENCE_S)
    assert isinstance(crowd.answers[2], Unknown)
    assert "no answer" in crowd.answers[2].problem
    log.gate.set()
    crowd.join()


def test_a_loop_commits_once_per_tick(log: Log, committer: Committer) -> None:
    async def main() -> list[Outcome]:
        host = Host(SimpleNamespace(committer=committer), asyncio.get_running_loop())  # type: ignore[arg-type]

        async def commit(key: int) -> Outcome:
            return answer(await host.commit(append(key)))

        first = await asyncio.gather(*(commit(key) for key in range(1, 6)))
        return [*first, await commit(6)]

    assert asyncio.run(main()) == [Committed(key) for key in range(1, 7)]
    assert log.batches == [[1, 2, 3, 4, 5], [6]]
    assert set(log.threads) == {threading.get_ident()}


def test_a_thread_that_is_committing_takes_the_loops_appends_along(log: Log, committer: Committer) -> None:
    answered: list[Request] = []
    done = threading.Event()

    def on_done(request: Request) -> None:
        answered.append(request)
        done.set()

    crowd = Crowd(committer, log)
    log.gate.clear()
    crowd.commit(1)
    committer.enqueue(Request(append(2), None, on_done))
    committer.flush()
    assert answered == []
    log.gate.set()
    assert done.wait(PATIENCE_S)
    crowd.join()
    assert log.batches == [[1], [2]]
    assert [answer(request) for request in answered] == [Committed(2)]


def test_cancelling_who_waits_on_a_loop_does_not_cancel_the_append(log: Log, committer: Committer) -> None:
    async def main() -> None:
        host = Host(SimpleNamespace(committer=committer), asyncio.get_running_loop())  # type: ignore[arg-type]
        waiter = host.commit(append(1))
        waiter.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    asyncio.run(main())
    assert log.batches == [[1]]


def test_many_threads_lose_no_append(log: Log, committer: Committer) -> None:
    answers: list[list[Outcome]] = [[] for _ in range(8)]

    def work(number: int) -> None:
        for turn in range(50):
            answers[number].append(committer.commit(append(number * 100 + turn)))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [[Committed(number * 100 + turn) for turn in range(50)] for number in range(8)]
    assert sorted(key for batch in log.batches for key in batch) == sorted(
        number * 100 + turn for number in range(8) for turn in range(50)
    )
    assert committer.appends == 400
    assert committer.commits == len(log.batches)


@pytest.fixture
def journal() -> Journal:
    return Journal("run", 1, 77, 4, 99, 0, SystemClock())


def test_an_unknown_append_is_sent_again_identically_until_it_is_answered(journal: Journal) -> None:
    staged = journal.stage((RunWaiting(1, 0, ()),))
    assert not journal.settle(Unknown("connection lost"))
    assert not journal.settle(Unknown("connection lost"))
    assert (journal.seq, journal.digest) == (4, 99)
    assert journal.settle(Committed(1))
    assert (journal.seq, journal.digest) == (5, staged.events[-1][2])
    assert [event[:2] for event in staged.events] == [(5, 77)]


def test_a_conflict_ends_the_activation(journal: Journal) -> None:
    journal.stage((RunWaiting(1, 0, ()),))
    with pytest.raises(LeaseLostError, match="run 'run' was taken over by another worker"):
        journal.settle(Conflict())
    assert journal.lost


def test_recorded_time_never_runs_backwards() -> None:
    times = iter([50, 40, 60, 10])
    clock = SimpleNamespace(now_us=lambda: next(times))
    journal = Journal("run", 1, 77, 4, 99, 45, clock)  # type: ignore[arg-type]
    assert [journal.at_us() for _ in range(4)] == [50, 50, 60, 60]
