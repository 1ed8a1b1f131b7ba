"""
A process that was stopped for longer than its lease, and then goes on.

Owns: the proof that the log fences it, wherever it was stopped (PROTOCOL rule 3). The operating system stops all its
threads at a named place; to others it looks alive, but its counter stands still.
"""

from __future__ import annotations

import itertools
import json
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from fluxo.model.events import RunClaimed
from tests.crash.flows import FLOWS, expected
from tests.crash.judge import judge
from tests.crash.processes import Child, Nursery
from tests.crash.test_failpoints import VALUE, WORD, begin
from tests.crash.worker import finish, finish_and_stay
from tests.crash.world import World
from tests.servers import SERVERS, url_of_its_own

LEASE_S = 1.0
PLACES = ("before_effect:2", "after_effect:2", "after_commit:2", "after_ack:2", "during_takeover:1")


def stop_at(nursery: Nursery, folder: Path, name: str, place: str, product: str) -> tuple[World, Child]:
    """A process that stopped at this place, with its thread of heartbeats outside of a commit."""
    for number in itertools.count():
        own = folder.with_name(f"{folder.name}-{number}")
        if product != "sqlite":
            World(own).keep_runs_in(url_of_its_own(product))
        world = begin(own, name)
        child = nursery.fork(finish, str(world.folder), f"{place}:SIGSTOP", LEASE_S)
        child.stopped()
        if product != "sqlite" or is_writable(world):
            return world, child
        # SQLite's lock stops with its holder, and with it everyone: that is not what is shown here.
        child.kill()
    raise AssertionError("unreachable")


def is_writable(world: World) -> bool:
    with closing(sqlite3.connect(world.folder / "runs.db", timeout=0)) as database:
        try:
            database.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return False
        return True


@pytest.mark.timeout(180)
@pytest.mark.parametrize("product", ["sqlite", *SERVERS])
@pytest.mark.parametrize("name", list(FLOWS))
def test_an_owner_that_was_stopped_past_its_lease_is_refused_when_it_goes_on(
    nursery: Nursery, tmp_path: Path, name: str, product: str
) -> None:
    stopped = {place: stop_at(nursery, tmp_path / place.replace(":", "-"), name, place, product) for place in PLACES}
    worlds = {place: world for place, (world, _) in stopped.items()}
    heirs = {place: nursery.fork(finish_and_stay, str(world.folder), LEASE_S) for place, world in worlds.items()}
    for heir in heirs.values():
        assert json.loads(heir.line()) == [name, expected(name, VALUE, WORD)]
    ends = {place: judge(world, name) for place, world in worlds.items()}

    for place, (_, sleeper) in stopped.items():
        sleeper.kill(signal.SIGCONT)
        assert sleeper.ended() == 0
        assert json.loads(sleeper.lines()[-1]) == [name, expected(name, VALUE, WORD)]
        assert judge(worlds[place], name) == ends[place], "the stopped owner wrote after it had been fenced"
        assert max(worlds[place].effects().values()) <= 2
        claims = [event for event in ends[place] if isinstance(event, RunClaimed)]
        assert [claim.unclean for claim in claims] == [False, True]
        heirs[place].say("enough")
        assert heirs[place].ended() == 0
