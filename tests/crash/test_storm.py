"""
Two hundred kills at random moments.

Owns: the proof that no moment is special. Must not know failpoints: each process starts and finishes runs of all
kinds as fast as it can until it is killed from outside. The seed of the moments is printed; give it back
in FLUXO_CRASH_SEED.
"""

from __future__ import annotations

import json
import os
import random
import time

import pytest

from fluxo.model.events import RunClaimed
from tests.crash.flows import expected
from tests.crash.judge import Judge, run_ids
from tests.crash.processes import Nursery
from tests.crash.worker import finish_the_started, start_for_ever
from tests.crash.world import World

KILLS = 200
MOMENT_S = 0.04


@pytest.mark.timeout(180)
def test_two_hundred_random_kills_lose_nothing_and_double_nothing(nursery: Nursery, world: World) -> None:
    seed = int(os.environ.get("FLUXO_CRASH_SEED") or random.SystemRandom().getrandbits(32))
    print(f"to repeat these moments: FLUXO_CRASH_SEED={seed}")  # noqa: T201
    draw = random.Random(seed)
    acknowledged: list[str] = []
    for life in range(KILLS):
        child = nursery.fork(start_for_ever, str(world.folder), life)
        if draw.random() < 0.6:
            acknowledged.append(child.line())
        time.sleep(draw.uniform(0, MOMENT_S))
        child.kill()
        acknowledged += child.lines()

    last = nursery.fork(finish_the_started, str(world.folder))
    assert last.ended() == 0
    results = dict(json.loads(line) for line in last.lines())

    assert set(acknowledged) <= set(results), "a start was acknowledged and its run is gone"
    assert sorted(results) == sorted(run_ids(world))
    for run_id, result in results.items():
        name, _, number = run_id.split("-")
        assert result == expected(name, int(number), int(number)), run_id
    judge = Judge(world)
    takeovers = sum(isinstance(event, RunClaimed) and event.unclean for run_id in results for event in judge(run_id))
    assert takeovers > KILLS / 2, "the kills hit too little"
    effects = world.effects()
    assert effects.total() - len(effects) <= takeovers * 5, "an effect was repeated without a kill"
