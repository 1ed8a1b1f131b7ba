"""
A secret in arguments, results, errors and signals stays in the log that it was put into (I14).

Owns: the canary, and where it must not be seen: in any log record at any level, in what is shown of engines, handles
and runs. Must not know who would have said it. The report of a divergence holds arguments: it is in the store, too.
"""

from __future__ import annotations

import logging
from typing import Any

import pytest

import fluxo
from fluxo import Retry, step, workflow
from fluxo.store import Message
from fluxo.testing.simulation.cluster import Cluster
from fluxo.testing.simulation.faults import CrashAt

CANARY = "canary-4111-1111"


@step(name="canary.pass_on", retry=Retry(max_attempts=2, initial=1))
def pass_on(secret: str) -> str:
    if fluxo.info().attempt == 1:
        raise ConnectionError(f"refused {secret}")
    return secret


@step(name="canary.refuse")
def refuse(secret: str) -> str:
    raise PermissionError(f"not with {secret}")


@workflow(name="canary.keeps")
def keeps(secret: str) -> str:
    passed = pass_on(secret)
    return passed + fluxo.wait_signal("more", str)


@workflow(name="canary.fails")
def fails(secret: str) -> str:
    return refuse(secret)


@workflow(name="canary.diverges")
def diverges(secret: str) -> str:
    fluxo.wait_signal("more", str)
    return pass_on(secret + str(len(seen)))


seen: list[int] = []


def play(flow: Any, *crashes: int) -> list[str]:
    """One run with a crash; everything that could be shown of it."""
    faults = CrashAt(*crashes)
    cluster = Cluster(faults=faults, lease_s=1e7)
    shown: list[str] = []

    def main(engine: Any) -> None:
        handle = engine.start(flow.options(id="run"), CANARY)
        shown.extend([repr(handle), repr(engine), repr(flow)])

    cluster.on_crash = lambda _: seen.append(1) or cluster.boot(main)  # type: ignore[func-returns-value]
    cluster.boot(main)
    text = f'"{CANARY}"'.encode()
    cluster.scheduler.later(
        cluster.scheduler.now_us + 5_000_000,
        lambda: cluster.store.deliver([Message("default", "run", "signal", "more", "once", text)]),
    )
    cluster.run(lambda: _is_over(cluster), 1e6)
    node = cluster.nodes[-1]
    info = node.engine.get("run").info()
    shown.extend([repr(node.engine.list()), repr(info) if info.report is None else repr(info.status)])
    shown.extend(repr(activation) for activation in node.active)
    assert cluster.close() == []
    return [*faults.points, *shown]


def _is_over(cluster: Cluster) -> bool:
    run = cluster.store.get("default", "run")
    return run is not None and str(run.status) in ("completed", "failed", "blocked")


@pytest.mark.parametrize("flow", [keeps, fails, diverges], ids=lambda flow: flow.name)
def test_a_secret_is_in_no_log_record_and_in_nothing_that_is_shown(flow: Any, caplog: pytest.LogCaptureFixture) -> None:
    seen.clear()
    with caplog.at_level(logging.DEBUG):
        points = [point for point in play(flow) if point.startswith(("before", "after"))]
        for point in range(len(points)):
            for text in play(flow, point):
                assert CANARY not in text
    told = [record.getMessage() + str(record.exc_text or "") + str(record.args) for record in caplog.records]
    assert told or flow is not diverges
    said = [text for text in told if CANARY in text]
    assert said == []
