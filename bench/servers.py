"""
``python -m bench.servers [postgresql] [redis] [mongodb]``: fluxo on stores that are servers.

Owns: the raw baselines by each driver, and the figures of issue "any backend" in the form of limits.md §8: steps
against a raw single-row commit on the same server, interleaved, as ratios of medians. Must not know stores' insides.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from bench.engines import on_loop
from bench.load import aorders, charge, orders
from bench.processes import idle_part, latencies
from bench.timing import interleave, quantile
from fluxo import Engine
from fluxo.testing.servers import MongoServer, PostgresServer, RedisServer, Server

BODY = b"x" * 120
BUDGET_S = 12.0
STEPS = 100
Commit = Callable[[], object]


def postgres_commit(url: str) -> Commit:
    """One row, autocommit, on a reused binary cursor: the fastest that psycopg offers."""
    import psycopg

    connection = psycopg.connect(url, autocommit=True)
    columns = "run bigint, seq bigint, nonce bigint, digest bigint, body bytea, UNIQUE (run, seq)"
    connection.execute(f"CREATE TABLE raw ({columns})".encode())
    cursor = connection.cursor(binary=True)
    numbers = itertools.count()
    statement = "INSERT INTO raw VALUES (1, %b::bigint, 7, 9, %b)"
    return lambda: cursor.execute(statement, (next(numbers) + 10**6, BODY), prepare=True)


def redis_commit(url: str) -> Commit:
    """One RPUSH by redis-py."""
    import redis

    client = redis.Redis.from_url(url)
    return lambda: client.rpush("raw", BODY)


def mongo_commit(url: str) -> Commit:
    """One insert_one with majority and journal."""
    import pymongo
    from pymongo.write_concern import WriteConcern

    client: pymongo.MongoClient[dict[str, Any]] = pymongo.MongoClient(url)
    raw = client["bench"].get_collection("raw", write_concern=WriteConcern("majority", j=True))
    numbers = itertools.count()
    return lambda: raw.insert_one({"_id": {"r": 1, "s": next(numbers)}, "n": 7, "d": 9, "b": BODY})


SERVERS: dict[str, tuple[Callable[[], Server], Callable[[str], Commit]]] = {
    "postgresql": (PostgresServer, postgres_commit),
    "redis": (RedisServer, redis_commit),
    "mongodb": (MongoServer, mongo_commit),
}


def main() -> None:
    """Measure the products named, or all."""
    for product in sys.argv[1:] or SERVERS:
        make, commit_of = SERVERS[product]
        with make() as server:
            print(f"\n{product}")
            against_raw(server.url, commit_of(server.url))
            between_processes(server.url)


def per_item(work: Callable[[], object], items: int) -> float:
    began_s = time.perf_counter()
    work()
    return (time.perf_counter() - began_s) / items * 1e6


def against_raw(url: str, commit: Commit) -> None:
    """G1, G4, G5."""

    def raw() -> None:
        for _ in range(100):
            commit()

    with Engine(url, concurrency=128) as engine, on_loop(url, worker=True) as loop:

        def threads() -> None:
            running = [threading.Thread(target=lambda: engine.run(orders, 10)) for _ in range(100)]
            for thread in running:
                thread.start()
            for thread in running:
                thread.join()

        async def crowd(runs: int) -> None:
            await asyncio.gather(*[loop.engine.run(aorders, 10) for _ in range(runs)])

        variants = {
            "(a)": lambda: per_item(raw, 100),
            "sync": lambda: per_item(lambda: engine.run(orders, STEPS), STEPS),
            "async": lambda: per_item(lambda: loop.call(lambda: loop.engine.run(aorders, STEPS)), STEPS),
            "100 async": lambda: per_item(lambda: loop.call(lambda: crowd(100)), 1000),
            "1000 async": lambda: per_item(lambda: loop.call(lambda: crowd(1000)), 10_000),
            "100 threads": lambda: per_item(threads, 1000),
        }
        series = interleave(variants, budget_s=BUDGET_S)
    print(f"  (a) a raw commit: {series.us('(a)'):.0f} µs; {len(series.rounds)} rounds")
    for name in ("sync", "async"):
        print(f"  G1 a step of a {STEPS}-step run, {name}: {series.ratio(name, '(a)'):.2f} × (a)")
    for name in ("100 async", "100 threads", "1000 async"):
        print(f"  G4/G5 {name}: {series.us(name):.0f} µs a step, {1 / series.ratio(name, '(a)'):.1f} × as many as (a)")


def between_processes(url: str) -> None:
    """Enqueue to first step, and signal to resumed step, in another process; and what waiting costs."""
    for what, seconds in latencies(url).items():
        p50_ms, p95_ms = (quantile(seconds, part) * 1000 for part in (0.5, 0.95))
        print(f"  {what} to the step it leads to in another process: p50 {p50_ms:.1f} ms, p95 {p95_ms:.1f} ms")
    print(f"  an idle worker: {idle_part(url, 10) * 100:.2f} % of a core")


if __name__ == "__main__":
    # The workflows' steps are registered by the import above; this names one so that it is not taken for unused.
    assert charge is not None
    main()
