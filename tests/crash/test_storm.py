"""
Kills at random moments, two hundred of them.

Owns: the proof that no moment is special, neither for a process alone on its file nor for one of several. Must not know
failpoints: each process starts and finishes runs of all kinds as fast as it can until it is killed from outside. The
seed of the moments is printed; give it back in FLUXO_CRASH_SEED.
"""

from __future__ import annotations

import itertools
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

MOMENT_S = 0.04


@pytest.mark.timeout(180)
@pytest.mark.parametrize("processes, kills", [(1, 200), (3, 60)], ids=["alone", "three"])
def test_kills_at_random_moments_lose_nothing_and_double_nothing(
    nursery: Nursery, world: World, processes: int, kills: int
) -> None:
    seed = int(os.environ.get("FLUXO_CRASH_SEED") or random.SystemRandom().getrandbits(32))
    print(f"to repeat these moments: FLUXO_CRASH_SEED={seed}")  # noqa: T201
    acknowledged = storm(nursery, world, random.Random(seed), processes, kills)

    last = nursery.fork(finish_the_started, str(world.folder))
    assert last.ended() == 0
    results = dict(json.loads(line) for line in last.lines())

    assert acknowledged <= set(results), "a start was acknowledged and its run is gone"
    assert sorted(results) == sorted(run_ids(world))
    for run_id, result in results.items():
        name, _, number = run_id.split("-")
        assert result == expected(name, int(number), int(number)), run_id
    judge = Judge(world)
    takeovers = sum(isinstance(event, RunClaimed) and event.unclean for run_id in results for event in judge(run_id))
    assert takeovers > kills / 2, "the kills hit too little"


def storm(nursery: Nursery, world: World, draw: random.Random, processes: int, kills: int) -> set[str]:
    """Kill one of `processes` processes and replace it, `kills` times; the runs whose start was acknowledged."""
    acknowledged: set[str] = set()
    lives = itertools.count()
    alive = [nursery.fork(start_for_ever, str(world.folder), next(lives)) for _ in range(processes)]
    for _ in range(kills):
        number = draw.randrange(processes)
        if draw.random() < 0.6:
            acknowledged.add(alive[number].line())
        time.sleep(draw.uniform(0, MOMENT_S))
        alive[number].kill()
        acknowledged.update(alive[number].lines())
        alive[number] = nursery.fork(start_for_ever, str(world.folder), next(lives))
    for child in alive:
        child.kill()
        acknowledged.update(child.lines())
    return acknowledged
