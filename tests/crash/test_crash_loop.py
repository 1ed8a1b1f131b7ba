"""
A run that kills every process that executes it.

Owns: the proof that it is found out and put aside, that those beside it are not blamed for long, and that it can go on
once its code is mended. Theory: PROTOCOL rule 13. Back-offs are shortened in the children; their growth is
shown on virtual time in tests/e2e/test_protocol_stranded.py.
"""

from __future__ import annotations

import json
import signal

from fluxo import Engine, RunStatus
from fluxo.limits import CRASH_LOOP_TAKEOVERS_MAX
from fluxo.model.events import RunBlocked, RunClaimed
from tests.crash.flows import BOOM, bomb, expected, fan, line, march, shy
from tests.crash.judge import judge, log_of
from tests.crash.processes import Nursery
from tests.crash.worker import settle
from tests.crash.world import World

WORD = 3


def test_a_step_that_kills_its_process_is_blocked_and_those_beside_it_finish(nursery: Nursery, world: World) -> None:
    folder = str(world.folder)
    with Engine(world.store, worker=False) as client:
        bad = client.start(bomb.options(id="bad"), folder)
        beside = client.start(shy.options(id="beside"), folder)
        quick = [client.start(flow.options(id=flow.name), folder, 1) for flow in (line, fan)]
        for handle in quick:
            handle.signal("word", WORD)

        deaths = 0
        while (code := nursery.fork(settle, folder).ended()) != 0:
            assert code == BOOM
            deaths += 1
            assert deaths <= 1 + CRASH_LOOP_TAKEOVERS_MAX, "the run that kills its process is never put aside"

        assert deaths == 1 + CRASH_LOOP_TAKEOVERS_MAX
        info = bad.info()
        assert (info.status, info.reason, info.owner) == (RunStatus.BLOCKED, "crash_loop", None)
        assert f"{deaths} workers in a row died" in info.report
        assert beside.result(timeout=10) == "nobody there"
        assert [handle.result(timeout=10) for handle in quick] == [expected("line", 1, WORD), expected("fan", 1, WORD)]
        for run_id in ("beside", "crash.line", "crash.fan"):
            judge(world, run_id)
        assert sum(isinstance(event, RunClaimed) and event.unclean for event in log_of(world, "beside")) <= 2

        (world.folder / "defused").touch()
        bad.resume()
        child = nursery.fork(settle, folder)
        assert child.ended() == 0
        assert dict(json.loads(line) for line in child.lines())["bad"] == "completed"
        assert bad.result(timeout=10) == "defused"
        assert sum(isinstance(event, RunBlocked) for event in log_of(world, "bad")) == 1


def test_a_run_that_gets_on_between_the_deaths_of_its_workers_is_no_suspect(nursery: Nursery, world: World) -> None:
    steps = 2 + CRASH_LOOP_TAKEOVERS_MAX
    with Engine(world.store, worker=False) as client:
        handle = client.start(march.options(id="on"), str(world.folder), steps)
        for _ in range(steps):
            assert nursery.fork(settle, str(world.folder), "after_ack:1").ended() == -signal.SIGKILL
        assert nursery.fork(settle, str(world.folder)).ended() == 0
        assert handle.result(timeout=10) == steps
        events = judge(world, "on")
    assert sum(isinstance(event, RunClaimed) and event.unclean for event in events) == steps
    assert set(world.effects().values()) == {1}
