"""
The store on Redis.

Owns: the contract's methods as calls of scripts. Must not know keys inside a shard (``lua/common.lua``), durability
settings (`opening`) or what an error means (`scripts`). A shard is everything under one hash tag: one on a single
server, several on a cluster, by the run's id. A run's integer key is its creation time in microseconds times
SHARDS_MAX, plus its shard: keys grow with time on all shards, and tell where a run is.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, cast

import redis
from redis.cluster import RedisCluster

from fluxo.clock import Clock
from fluxo.errors import ConfigurationError, StoreUnavailableError
from fluxo.ids import new_worker_id
from fluxo.limits import INBOX_MESSAGES_MAX
from fluxo.model.names import shard_of
from fluxo.model.run import RunRecord, RunStatus
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
    Outcome,
    Release,
    RunPage,
    RunQuery,
    StoreStats,
    Unknown,
    WorkerRecord,
)
from fluxo.stores.bell import Bell
from fluxo.stores.listening import Listener
from fluxo.stores.redis import wire
from fluxo.stores.redis.line import PubSubLine
from fluxo.stores.redis.opening import prepare
from fluxo.stores.redis.scripts import Lost, Scripts, packed

__all__ = ["RedisStore"]

CLUSTER_SHARDS: Final = 16
LOOKED_AT_MAX: Final = 1_000
PURGED_AT_ONCE_MAX: Final = 200


class RedisStore:
    """
    The store in a Redis, or a Redis Cluster.

    Args:
        client: A `redis.Redis` or `redis.cluster.RedisCluster` without decode_responses, which is never closed here;
            or a URL.
        prefix: What every key begins with; stores with different prefixes do not see each other.
        allow_loss: Accept a server without append-only file, which forgets everything when it ends.
        clock: What the store takes for the time; the server's clock if None.

    Raises:
        ConfigurationError: no such URL or client, or a prefix that is no plain name.
    """

    def __init__(
        self,
        client: redis.Redis | RedisCluster | str,
        *,
        prefix: str = "fluxo",
        allow_loss: bool = False,
        clock: Clock | None = None,
    ) -> None:
        if not (prefix.isidentifier() and prefix.isascii() and len(prefix) <= 48):
            raise ConfigurationError("prefix= must be a plain name of at most 48 letters, digits and underscores")
        self._url = client if isinstance(client, str) else None
        self._client: Any = _client_of(client) if isinstance(client, str) else client
        if self._client.get_encoder().decode_responses:
            raise ConfigurationError("RedisStore needs a client without decode_responses: events are bytes")
        self._where = f"Redis at {wire.address_of(self._client)}"
        self._prefix = prefix
        self._allow_loss = allow_loss
        self._clock = clock
        self._teller = new_worker_id().encode()
        self._channel = f"{prefix}:news"
        self._bell = Bell()
        self._scripts = Scripts(self._client, self._where)
        self._shards = 0
        self._pid = 0
        self._listener: Listener | None = None
        self._opening = threading.Lock()

    def append(self, batch: Sequence[Append]) -> list[Outcome]:
        outcomes: dict[int, Outcome] = {}
        for shard, places in self._by_shard(batch, self._shard_of_append):
            part = [batch[n] for n in places]
            outcomes.update(zip(places, self._append(shard, part), strict=True))
        if any(append.new is not None or append.projection is not None for append in batch):
            self._bell.ring()
        return [outcomes[n] for n in range(len(batch))]

    def _append(self, shard: int, part: list[Append]) -> list[Outcome]:
        body = packed([wire.item_of(append, self._place(append.key)[0]) for append in part])
        try:
            binary = [each for append in part for each in wire.binary_of(append)]
            answers = self._scripts.once("append", self._ids(shard), body, self._given_now(), *self._telling, *binary)
        except Lost as error:
            problem = f"the connection to {self._where} was lost during the append ({error.__cause__})"
            return [Unknown(problem) for _ in part]
        return [self._outcome(shard, answer) for answer in answers]

    def _outcome(self, shard: int, answer: list[Any]) -> Outcome:
        if answer[0] == b"ok":
            return Committed(wire.key_of(answer[1], shard))
        if answer[0] == b"is":
            return Existing(wire.record_of(answer[1:], shard))
        return Conflict()

    def read(self, key: int, after_seq: int, limit: int) -> list[EventRow]:
        if limit <= 0:
            return []
        us, shard = self._place(key)
        events = self._ask(lambda client: client.lrange(self._events(us, shard), after_seq, after_seq + limit - 1))
        return [wire.event_of(seq, event) for seq, event in enumerate(events, after_seq + 1)]

    def tail(self, key: int) -> EventRow | None:
        us, shard = self._place(key)
        seq, event = self._run("read", shard, "tail", us)
        return wire.event_of(seq, event) if seq else None

    def due(self, query: DueQuery) -> DueRuns:
        routes = [
            wire.route(query.namespace, queue, workflow, version)
            for queue in query.queues
            for workflow, version in query.workflows
        ]
        runs: list[RunRecord] = []
        wakes: list[int] = []
        now_us = 0
        for shard in range(self._open_shards):
            now, wake, rows = self._run(
                "due", shard, self._given_now(), query.limit, packed(routes), packed(list(query.dead))
            )
            now_us = max(now_us, int(now))
            wakes += [int(wake)] if wake else []
            runs += [wire.record_of(row, shard) for row in rows]
        runs.sort(key=lambda run: (-run.priority, run.key))
        return DueRuns(runs[: query.limit], now_us, min(wakes, default=None))

    def register(self, worker: WorkerRecord) -> None:
        for shard in reversed(range(self._open_shards)):
            record = packed(worker) if shard == 0 else b""
            self._run("worker", shard, "register", worker.worker_id, record, *self._telling)
        self._bell.ring()

    def heartbeat(self, worker_id: str) -> list[tuple[int, int]] | None:
        if not self._run("worker", 0, "beat", worker_id):
            return None
        return self._pairs("owned", worker_id)

    def unregister(self, worker_id: str) -> None:
        for shard in range(self._open_shards):
            self._run("worker", shard, "unregister", worker_id, *self._telling)
        self._bell.ring()

    def workers(self) -> list[WorkerRecord]:
        tag = self._tag(0)
        records = self._ask(lambda client: client.hgetall(f"{tag}records"))
        beats = self._ask(lambda client: client.hgetall(f"{tag}beats"))
        return sorted(
            (wire.worker_of(record, int(beats.get(worker_id, 0))) for worker_id, record in records.items()),
            key=lambda worker: worker.worker_id,
        )

    def release(self, runs: Sequence[Release]) -> int:
        released = 0
        for shard, places in self._by_shard(runs, lambda release: self._place(release.key)[1]):
            body = packed([wire.release_of(runs[n], self._place(runs[n].key)[0]) for n in places])
            released += self._run("release", shard, body, self._given_now(), *self._telling)
        if released:
            self._bell.ring()
        return released

    def deliver(self, messages: Sequence[Message]) -> list[Delivery]:
        deliveries: dict[int, Delivery] = {}
        for shard, places in self._by_shard(messages, lambda message: self._shard_of(message.run_id)):
            body = packed([wire.message_of(messages[n]) for n in places])
            payloads = [messages[n].payload for n in places]
            arguments = (body, INBOX_MESSAGES_MAX, self._given_now(), *self._telling, *payloads)
            answers = self._run("deliver", shard, *arguments)
            deliveries.update(zip(places, (wire.delivery_of(answer, shard) for answer in answers), strict=True))
        if any(delivery.verdict is Delivered.ACCEPTED for delivery in deliveries.values()):
            self._bell.ring()
        return [deliveries[n] for n in range(len(messages))]

    def inbox(self, key: int, after_n: int) -> list[InboxItem]:
        us, shard = self._place(key)
        found = self._ask(lambda client: client.hgetall(f"{self._tag(shard)}inbox:{us}"))
        items = (wire.inbox_item_of(int(n), body) for n, body in found.items() if int(n) > after_n)
        return sorted(items, key=lambda item: item.n)

    def arrivals(self, owner: str) -> list[tuple[int, int]]:
        return self._pairs("arrivals", owner)

    def get(self, namespace: str, run_id: str) -> RunRecord | None:
        shard = self._shard_of(run_id)
        found = self._run("read", shard, "get", namespace, run_id)
        return wire.record_of(found, shard) if found else None

    def find(self, query: RunQuery) -> RunPage:
        found = [run for shard in range(self._open_shards) for run in self._find(shard, query)]
        found.sort(key=lambda run: -run.key)
        page = found[: query.limit]
        return RunPage(page, page[-1].key if len(found) > len(page) else None)

    def _find(self, shard: int, query: RunQuery) -> list[RunRecord]:
        below = wire.below(query.before_key, shard)
        found: list[RunRecord] = []
        while True:
            asked = query.limit + 1 - len(found)
            rows, last = self._run(
                "find", shard, query.namespace, below, asked, LOOKED_AT_MAX, packed(wire.filters_of(query))
            )
            found += [wire.record_of(row, shard) for row in rows]
            if not last or len(found) > query.limit:
                return found
            below = last

    def stats(self, namespace: str) -> StoreStats:
        """Counts; those of events are summed over the runs a thousand at a time, each at its own moment."""
        counts: dict[str, int] = {}
        events = 0
        for shard in range(self._open_shards):
            above: Any = "0"
            flat: list[bytes] = []
            while above:
                flat, some, above = self._run("stats", shard, namespace, above, LOOKED_AT_MAX)
                events += some
            for name, number in zip(flat[::2], flat[1::2], strict=True):
                counts[name.decode()] = counts.get(name.decode(), 0) + int(number)
        workers = sum(worker.namespace == namespace for worker in self.workers())
        runs = {status.value: counts.get(status.value, 0) for status in RunStatus}
        return StoreStats(runs, events, counts.get("unread", 0), workers)

    def purge(self, namespace: str, ended_before_us: int, limit: int) -> int:
        gone = 0
        for shard in range(self._open_shards):
            some = -1
            while some and gone < limit:
                some = self._run("purge", shard, namespace, ended_before_us, min(limit - gone, PURGED_AT_ONCE_MAX))
                gone += some
        return gone

    def now_us(self) -> int:
        if self._clock is not None:
            return self._clock.now_us()
        seconds, micros = self._ask(lambda client: client.time())
        return int(seconds) * 1_000_000 + int(micros)

    def wait(self, timeout_s: float) -> bool:
        return self._bell.wait(timeout_s)

    def nudge(self) -> None:
        self._bell.ring()

    def open(self) -> None:
        with self._opening:
            if self._shards:
                return
            shards = CLUSTER_SHARDS if isinstance(self._client, RedisCluster) else 1
            meta = f"{{{self._prefix}:0}}:meta"
            self._shards = prepare(self._client, self._where, meta, shards, allow_loss=self._allow_loss)
            self._pid = os.getpid()
            self._listener = Listener(
                lambda: PubSubLine(self._client, self._channel, self._teller), self._bell, self._where
            )
            self._listener.start()

    def close(self) -> None:
        with self._opening:
            self._shards = 0
            listener, self._listener = self._listener, None
            if listener is not None and self._pid == os.getpid():
                listener.stop()
                if self._url is not None:
                    self._client.close()
        self._bell.ring()

    @property
    def _open_shards(self) -> int:
        if not self._shards:
            raise StoreUnavailableError(self._where, "the store is not open; call open() first")
        if self._pid != os.getpid():
            raise StoreUnavailableError(
                self._where, "the store was opened before this process was forked; make a new store in this process"
            )
        return self._shards

    @property
    def _telling(self) -> tuple[str, bytes]:
        return self._channel, self._teller

    def _given_now(self) -> str:
        return "" if self._clock is None else str(self._clock.now_us())

    def _tag(self, shard: int) -> str:
        return f"{{{self._prefix}:{shard}}}:"

    def _ids(self, shard: int) -> str:
        return f"{self._tag(shard)}ids"

    def _events(self, us: int, shard: int) -> str:
        return f"{self._tag(shard)}events:{us}"

    def _shard_of(self, run_id: str) -> int:
        return shard_of(run_id) % self._open_shards

    def _shard_of_append(self, append: Append) -> int:
        return self._place(append.key)[1] if append.new is None else self._shard_of(append.new.run_id)

    def _by_shard(self, items: Sequence[Any], shard_of_item: Callable[[Any], int]) -> Iterable[tuple[int, list[int]]]:
        """The places of the items of each shard."""
        if self._open_shards == 1:
            return [(0, list(range(len(items))))] if items else []
        shards: dict[int, list[int]] = {}
        for n, item in enumerate(items):
            shards.setdefault(shard_of_item(item), []).append(n)
        return shards.items()

    def _place(self, key: int) -> tuple[int, int]:
        """Where a run is; somewhere where none is, if the key is of no shard of this store."""
        us, shard = wire.place_of(key)
        return (us, shard) if shard < self._open_shards else (0, 0)

    def _run(self, script: str, shard: int, *arguments: Any) -> Any:
        return self._scripts.run(script, self._ids(shard), *arguments)

    def _ask(self, question: Callable[[Any], Any]) -> Any:
        """A single command that only reads."""
        self._open_shards  # noqa: B018 - for its error
        return self._scripts.ask(question)

    def _pairs(self, what: str, owner: str) -> list[tuple[int, int]]:
        return sorted(
            (wire.key_of(us, shard), int(number))
            for shard in range(self._open_shards)
            for us, number in self._run("read", shard, what, owner)
        )


def _client_of(url: str) -> Any:
    try:
        # Its keywords are not typed.
        return cast("Any", redis.Redis).from_url(
            url,
            socket_connect_timeout=5.0,
            socket_timeout=15.0,
            socket_keepalive=True,
            health_check_interval=30,
            client_name="fluxo",
        )
    except (ValueError, TypeError) as error:
        raise ConfigurationError("not a URL of Redis; write redis://user@host:6379/0") from error
