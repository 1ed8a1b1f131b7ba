"""
Workers that are killed, and servers that are killed, on every store that has a server.

Owns: the storms: which processes, which kills, and the demand that nothing acknowledged is lost or doubled. Must not
know stores. The seed of the moments is printed; give it back in FLUXO_CRASH_SEED.
"""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from fluxo.testing.servers import MongoServer, PostgresServer, RedisServer, Server
from tests.crash.flows import expected
from tests.crash.judge import Judge
from tests.crash.processes import Nursery
from tests.crash.test_storm import storm
from tests.crash.witness import run_ids
from tests.crash.worker import finish_the_started, start_through_outages
from tests.crash.world import World
from tests.servers import SERVERS, url_of_its_own

KILLS = 20
STOPS = 3
BACKEND_KILLS = 50
RUNS = 40


def seed() -> int:
    drawn = int(os.environ.get("FLUXO_CRASH_SEED") or random.SystemRandom().getrandbits(32))
    print(f"to repeat these moments: FLUXO_CRASH_SEED={drawn}")  # noqa: T201
    return drawn


def judge_all(nursery: Nursery, world: World, acknowledged: set[str], outages: int = 0) -> None:
    """Let a last process finish everything, and hold each run against the invariants and its result."""
    last = nursery.fork(finish_the_started, str(world.folder))
    assert last.ended() == 0
    results = dict(json.loads(line) for line in last.lines())
    assert acknowledged <= set(results), "a start was acknowledged and its run is gone"
    assert sorted(results) == sorted(run_ids(world))
    judge = Judge(world, outages)
    for run_id, result in results.items():
        name, _, number = run_id.split("-")
        assert result == expected(name, int(number), int(number)), run_id
        judge(run_id)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("product", SERVERS)
def test_workers_that_are_killed_at_random_lose_nothing_and_double_nothing(
    nursery: Nursery, world: World, product: str
) -> None:
    world.keep_runs_in(url_of_its_own(product))
    acknowledged = storm(nursery, world, random.Random(seed()), processes=3, kills=KILLS)
    judge_all(nursery, world, acknowledged)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("make", [PostgresServer, RedisServer, MongoServer], ids=SERVERS)
def test_a_server_that_is_killed_under_load_loses_nothing_that_it_acknowledged(
    nursery: Nursery, tmp_path: Path, make: Callable[..., Server]
) -> None:
    draw = random.Random(seed())
    world = World(tmp_path)
    with make(use_environment=False) as server:
        world.keep_runs_in(url_of_its_own(server.product.lower(), server.url))
        children = [nursery.fork(start_through_outages, str(world.folder), life, RUNS) for life in range(3)]
        acknowledged = {child.line() for child in children}
        for _ in range(STOPS):
            time.sleep(draw.uniform(0, 0.4))
            if isinstance(server, PostgresServer):
                server.stop_at_once()
            else:
                server.kill()
            server.start()
        for child in children:
            assert child.ended(120) == 0
            lines = child.lines()
            assert lines[-1] == "done"
            acknowledged.update(lines[:-1])
        assert len(acknowledged) == 3 * RUNS
        judge_all(nursery, world, acknowledged, outages=STOPS)


@pytest.mark.timeout(300)
def test_sessions_of_postgresql_that_are_ended_under_load_are_made_anew(nursery: Nursery, tmp_path: Path) -> None:
    draw = random.Random(seed())
    world = World(tmp_path)
    with PostgresServer(use_environment=False) as server:
        world.keep_runs_in(url_of_its_own("postgresql", server.url))
        acknowledged: set[str] = set()
        killed = lives = 0
        with psycopg.connect(server.url, autocommit=True) as admin:
            # However fast the machine: there is load until the last session has been ended.
            while killed < BACKEND_KILLS:
                children = [nursery.fork(start_through_outages, str(world.folder), lives + n, RUNS) for n in range(2)]
                lives += 2
                acknowledged.update(child.line() for child in children)
                killed += end_sessions(admin, draw, BACKEND_KILLS - killed)
                for child in children:
                    assert child.ended(120) == 0
                    acknowledged.update(child.lines()[:-1])
        assert len(acknowledged) == lives * RUNS
        judge_all(nursery, world, acknowledged, outages=BACKEND_KILLS)


def end_sessions(admin: psycopg.Connection[tuple[int]], draw: random.Random, most: int) -> int:
    """End fluxo's sessions one by one until there is none, or `most` have been ended; their number."""
    for killed in range(most):
        time.sleep(draw.uniform(0, 0.05))
        pids = admin.execute("SELECT pid FROM pg_stat_activity WHERE application_name = 'fluxo'").fetchall()
        if not pids:
            return killed
        admin.execute("SELECT pg_terminate_backend(%s)", draw.choice(pids))
    return most
