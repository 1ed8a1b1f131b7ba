"""
Every store answers as the memory store does, whatever is asked in whatever order.

Owns: random operations on two stores and the comparison of their answers. Must not know what an answer ought to
be: the conformance suite does. Keys may differ between stores and are translated; everything else is equal.
"""

from __future__ import annotations

import tempfile
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar
from unittest.mock import patch

import psycopg
import pymongo
import pytest
import redis
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from msgspec.structs import replace

from fluxo.model.run import RunRecord, RunStatus
from fluxo.store import (
    Append,
    Committed,
    Delivery,
    DueQuery,
    DueRuns,
    Existing,
    Message,
    Outcome,
    Projection,
    Release,
    RunPage,
    RunQuery,
    Store,
)
from fluxo.stores import MemoryStore
from fluxo.stores.mongo import MongoStore
from fluxo.stores.redis import RedisStore
from fluxo.stores.sql import SqliteStore
from fluxo.stores.sql.postgres import PostgresStore
from fluxo.stores.sql.sqlite import statements
from fluxo.testing.conformance.suite import chain, new_run, worker
from tests.servers import mongo_url, postgres_url, redis_url

# Few names, most often the first: operations that never meet show nothing.
NAMESPACES = st.sampled_from(["one", "one", "one", "two"])
RUN_IDS = st.sampled_from(["a", "b", "c"])
OWNERS = st.sampled_from([None, "w1", "w2"])
WORKERS = st.sampled_from(["w1", "w2"])
QUEUES = st.sampled_from(["default", "vip"])
VERSIONS = st.sampled_from(["1", "2"])
STATUSES = st.sampled_from(list(RunStatus))
OPEN_STATUSES = st.sampled_from([RunStatus.PENDING, RunStatus.RUNNING, RunStatus.WAITING])
NONCES = st.integers(1, 3)
MINUTES = st.one_of(st.none(), st.integers(-3, 3))
MINUTE_US = 60_000_000
WORKFLOWS = (("flow", "1"), ("flow", "2"))


class SetClock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.at_us = 1_800_000_000_000_000

    def now_us(self) -> int:
        return self.at_us

    def monotonic_s(self) -> float:
        return self.at_us / 1_000_000


class Place(ABC):
    """Where the other store keeps what it is told; empty when it is made."""

    @abstractmethod
    def store(self, clock: SetClock) -> Store:
        """A store over what is in this place, not open."""

    def close(self) -> None:  # noqa: B027 - on a server there is nothing to let go of
        """Leave it."""


class SqlitePlace(Place):
    def __init__(self) -> None:
        self.directory = tempfile.TemporaryDirectory()
        # So that the few runs of one example are enough for statements of several rows.
        self.small_chunks = patch.object(statements, "FIRST_ROWS_MAX", 2)
        self.small_chunks.start()

    def store(self, clock: SetClock) -> Store:
        path = Path(self.directory.name) / "stores-agree.db"
        # What a power cut leaves is not asked here, and half the time of a test is the disk's.
        return SqliteStore(path, clock=clock, synchronous="NORMAL")

    def close(self) -> None:
        self.small_chunks.stop()
        self.directory.cleanup()


class PostgresPlace(Place):
    def __init__(self) -> None:
        store = self.store(SetClock())
        store.open()
        store.close()
        tables = ", ".join(f"agree.fluxo_{name}" for name in ("runs", "events", "inbox", "workers"))
        with psycopg.connect(postgres_url(), autocommit=True) as connection:
            connection.execute(f"TRUNCATE {tables}".encode())

    def store(self, clock: SetClock) -> Store:
        return PostgresStore(postgres_url(), schema="agree", clock=clock, listen=False)


class RedisPlace(Place):
    def __init__(self) -> None:
        with redis.Redis.from_url(redis_url()) as client:
            for key in client.scan_iter("{agree:*"):
                client.delete(key)

    def store(self, clock: SetClock) -> Store:
        return RedisStore(redis_url(), prefix="agree", clock=clock)


class MongoPlace(Place):
    def __init__(self) -> None:
        client: pymongo.MongoClient[dict[str, Any]]
        with pymongo.MongoClient(mongo_url()) as client:
            for name in ("runs", "events", "inbox", "workers"):
                client["fluxo"][f"agree_{name}"].delete_many({})

    def store(self, clock: SetClock) -> Store:
        return MongoStore(mongo_url(), prefix="agree", clock=clock)


class StoresAgree(RuleBasedStateMachine):
    """Every rule asks both stores the same and compares what they say."""

    make_place: ClassVar[type[Place]]

    def __init__(self) -> None:
        super().__init__()
        self.clock = SetClock()
        self.memory = MemoryStore(self.clock)
        self.place = self.make_place()
        self.other = self.place.store(self.clock)
        self.to_other: dict[int, int] = {}
        self.to_memory: dict[int, int] = {}
        self.sent: list[Append] = []

    @initialize()
    def open(self) -> None:
        self.other.open()

    def teardown(self) -> None:
        self.other.close()
        self.place.close()

    def wake_at_us(self, minutes: int | None) -> int | None:
        return None if minutes is None else self.clock.at_us + minutes * MINUTE_US

    def known(self, record: RunRecord | None) -> RunRecord | None:
        """The other store's row with the memory store's key."""
        return None if record is None else replace(record, key=self.to_memory[record.key])

    def for_other(self, append: Append) -> Append:
        return append if append.new is not None else replace(append, key=self.to_other[append.key])

    def compare_appends(self, batch: list[Append]) -> None:
        expected = self.memory.append(batch)
        answers = self.other.append([self.for_other(append) for append in batch])
        for append, ours, theirs in zip(batch, expected, answers, strict=True):
            if append.new is not None and isinstance(ours, Committed):
                assert isinstance(theirs, Committed), (append, theirs)
                self.to_other[ours.key], self.to_memory[theirs.key] = theirs.key, ours.key
        assert [self.translated(answer) for answer in answers] == expected
        self.sent = (self.sent + [append for append in batch if append.new is None])[-20:]

    def translated(self, answer: Outcome) -> Outcome:
        match answer:
            case Committed(key=key):
                return Committed(self.to_memory[key])
            case Existing(run=run):
                return Existing(replace(run, key=self.to_memory[run.key]))
            case _:
                return answer

    def drawn_append(self, data: st.DataObject, key: int) -> Append:
        tail = self.memory.tail(key) or (1, 1, 1, b"")
        kind = data.draw(st.sampled_from(["tail", "tail", "tail", "stale", "gap", "digest"]), label="kind")
        if kind == "stale":
            tail = (self.memory.read(key, 0, 1) or [tail])[0]
        seq = tail[0] + (kind == "gap")
        digest = tail[2] ^ (kind == "digest")
        nonce = data.draw(NONCES, label="nonce")
        rows = chain(seq, digest, nonce, data.draw(st.integers(1, 3), label="events"), data.draw(st.binary(max_size=4)))
        projection = None
        if data.draw(st.booleans(), label="projection"):
            projection = Projection(
                data.draw(STATUSES),
                self.wake_at_us(data.draw(MINUTES)),
                data.draw(st.integers(0, 4)),
                data.draw(OWNERS),
                nonce,
            )
        consumed = tuple((n, rows[0][0]) for n in data.draw(st.sets(st.integers(1, 4), max_size=2), label="consumed"))
        return Append(key, seq, digest, rows, projection, consumed)

    @rule(data=st.data(), namespace=NAMESPACES, run_ids=st.lists(RUN_IDS, min_size=1, max_size=3))
    def create(self, data: st.DataObject, namespace: str, run_ids: list[str]) -> None:
        batch: list[Append] = []
        for run_id in run_ids:
            new = new_run(
                run_id,
                namespace=namespace,
                version=data.draw(VERSIONS),
                queue=data.draw(QUEUES),
                status=data.draw(OPEN_STATUSES),
                owner=data.draw(OWNERS),
                nonce=data.draw(NONCES),
                priority=data.draw(st.integers(-1, 1)),
                wake_at_us=self.wake_at_us(data.draw(MINUTES)),
            )
            batch.append(Append(0, 0, 0, chain(0, 0, new.nonce, data.draw(st.integers(1, 2))), new=new))
        self.compare_appends(batch)

    @precondition(lambda self: self.to_other)
    @rule(data=st.data())
    def append(self, data: st.DataObject) -> None:
        keys = data.draw(st.lists(st.sampled_from(sorted(self.to_other)), min_size=1, max_size=4, unique=True))
        self.compare_appends([self.drawn_append(data, key) for key in keys])

    @precondition(lambda self: self.sent)
    @rule(data=st.data())
    def send_again(self, data: st.DataObject) -> None:
        self.compare_appends([data.draw(st.sampled_from(self.sent))])

    @rule(
        data=st.data(),
        namespace=NAMESPACES,
        addressed=st.lists(st.tuples(RUN_IDS, st.sampled_from("klm")), min_size=1, max_size=3),
    )
    def deliver(self, data: st.DataObject, namespace: str, addressed: list[tuple[str, str]]) -> None:
        messages = [
            Message(namespace, run_id, "signal", "go", dedup_key, data.draw(st.binary(max_size=3)))
            for run_id, dedup_key in addressed
        ]
        answers = [self.known_delivery(answer) for answer in self.other.deliver(messages)]
        assert answers == self.memory.deliver(messages)

    def known_delivery(self, answer: Delivery) -> Delivery:
        return replace(answer, key=self.to_memory[answer.key]) if answer.key else answer

    @precondition(lambda self: self.to_other)
    @rule(data=st.data(), owner=WORKERS, nonce=NONCES, status=OPEN_STATUSES, minutes=MINUTES)
    def release(self, data: st.DataObject, owner: str, nonce: int, status: RunStatus, minutes: int | None) -> None:
        key = data.draw(st.sampled_from(sorted(self.to_other)))
        consumed = data.draw(st.one_of(st.none(), st.integers(0, 4)))
        release = Release(key, owner, nonce, status, self.wake_at_us(minutes), consumed)
        released = self.other.release([replace(release, key=self.to_other[key])])
        assert released == self.memory.release([release])

    @rule(worker_id=WORKERS, namespace=NAMESPACES)
    def register(self, worker_id: str, namespace: str) -> None:
        self.memory.register(worker(worker_id, namespace=namespace))
        self.other.register(worker(worker_id, namespace=namespace))

    @rule(worker_id=WORKERS)
    def unregister(self, worker_id: str) -> None:
        self.memory.unregister(worker_id)
        self.other.unregister(worker_id)

    @rule(worker_id=WORKERS)
    def heartbeat(self, worker_id: str) -> None:
        owned = self.other.heartbeat(worker_id)
        known = None if owned is None else [(self.to_memory[key], nonce) for key, nonce in owned]
        assert known == self.memory.heartbeat(worker_id)

    @rule(namespace=NAMESPACES, minutes=st.integers(-2, 1), limit=st.integers(1, 3))
    def purge(self, namespace: str, minutes: int, limit: int) -> None:
        before_us = self.clock.at_us + minutes * MINUTE_US
        assert self.other.purge(namespace, before_us, limit) == self.memory.purge(namespace, before_us, limit)

    @rule(minutes=st.integers(1, 2))
    def time_passes(self, minutes: int) -> None:
        self.clock.at_us += minutes * MINUTE_US

    @rule()
    def reopen(self) -> None:
        self.other.close()
        self.other = self.place.store(self.clock)
        self.other.open()

    @rule(
        namespace=NAMESPACES,
        queues=st.sets(QUEUES),
        workflows=st.sets(st.sampled_from(WORKFLOWS)),
        dead=st.sets(WORKERS, max_size=2),
        limit=st.integers(0, 8),
    )
    def due(
        self, namespace: str, queues: set[str], workflows: set[tuple[str, str]], dead: set[str], limit: int
    ) -> None:
        self.compare_due(
            DueQuery(namespace, tuple(sorted(queues)), tuple(sorted(workflows)), tuple(sorted(dead)), limit)
        )

    def compare_due(self, query: DueQuery) -> None:
        answer = self.other.due(query)
        known = DueRuns(
            [known for run in answer.runs if (known := self.known(run))], answer.now_us, answer.next_wake_at_us
        )
        assert known == self.memory.due(query)

    @rule(
        data=st.data(),
        namespace=NAMESPACES,
        status=st.lists(STATUSES, max_size=2),
        queue=st.one_of(st.none(), QUEUES),
        minutes=MINUTES,
        limit=st.integers(1, 3),
    )
    def find(
        self,
        data: st.DataObject,
        namespace: str,
        status: list[RunStatus],
        queue: str | None,
        minutes: int | None,
        limit: int,
    ) -> None:
        before_key = data.draw(st.one_of(st.none(), st.sampled_from([0, *sorted(self.to_other)])))
        query = RunQuery(namespace, tuple(status), "flow", queue, self.wake_at_us(minutes), before_key, limit)
        before = None if before_key is None else self.to_other.get(before_key, 0)
        answer = self.other.find(replace(query, before_key=before))
        cursor = None if answer.before_key is None else self.to_memory[answer.before_key]
        runs = [known for run in answer.runs if (known := self.known(run))]
        assert RunPage(runs, cursor) == self.memory.find(query)

    @invariant()
    def they_hold_the_same(self) -> None:
        for ours, theirs in self.to_other.items():
            assert self.other.read(theirs, 0, 100) == self.memory.read(ours, 0, 100)
            assert self.other.tail(theirs) == self.memory.tail(ours)
            assert self.other.inbox(theirs, 0) == self.memory.inbox(ours, 0)
        for namespace in ("one", "two"):
            assert self.other.stats(namespace) == self.memory.stats(namespace)
            self.compare_due(DueQuery(namespace, ("default", "vip"), WORKFLOWS, (), 100))
            for run_id in "abc":
                assert self.known(self.other.get(namespace, run_id)) == self.memory.get(namespace, run_id)
        for owner in ("w1", "w2"):
            arrivals: list[Any] = [(self.to_memory[key], n) for key, n in self.other.arrivals(owner)]
            assert arrivals == self.memory.arrivals(owner)
        assert self.other.workers() == self.memory.workers()


# Without the explain phase: it traces every line, which takes minutes here and once in a while ends the interpreter.
AGREE = settings(phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink], stateful_step_count=40)
# A server answers each of some thousand questions per example over a socket.
AGREE_REMOTELY = settings(AGREE, max_examples=20, stateful_step_count=25)
AGREE_SLOWLY = settings(AGREE, max_examples=8, stateful_step_count=20)


class SqliteAgrees(StoresAgree):
    make_place = SqlitePlace


class PostgresAgrees(StoresAgree):
    make_place = PostgresPlace


class RedisAgrees(StoresAgree):
    make_place = RedisPlace


class MongoAgrees(StoresAgree):
    make_place = MongoPlace


TestSqliteAgrees = SqliteAgrees.TestCase
TestSqliteAgrees.settings = AGREE
TestPostgresAgrees = pytest.mark.timeout(300)(PostgresAgrees.TestCase)
TestPostgresAgrees.settings = AGREE_REMOTELY
TestRedisAgrees = RedisAgrees.TestCase
TestRedisAgrees.settings = AGREE_REMOTELY
TestMongoAgrees = pytest.mark.timeout(300)(MongoAgrees.TestCase)
TestMongoAgrees.settings = AGREE_SLOWLY
