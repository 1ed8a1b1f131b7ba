"""
A message that comes in time and that nobody hints at.

Owns: the moment of a wait's deadline when the inbox holds what was waited for. Must not know how a worker looks.
"""

from __future__ import annotations

from collections.abc import Collection

import pytest

from fluxo.authoring.workflow import WorkflowBase
from fluxo.store import Message
from fluxo.testing.quiet import quiet
from fluxo.testing.simulation.cluster import Cluster
from fluxo.testing.simulation.faults import CrashAt
from fluxo.testing.simulation.invariants import Invariants
from tests.simulation.programs import TIMED_OUT
from tests.simulation.proofs import RENDERINGS


class Deaf(CrashAt):
    """No fault but that, from some moment on, no hint arrives."""

    yes = False

    def hints(self) -> Collection[float]:
        return () if self.yes else (0.0,)


@pytest.mark.parametrize("rendering", RENDERINGS, ids=lambda rendering: rendering.name)
@pytest.mark.parametrize("after_s, result", [(4.999999, 11), (5.000001, TIMED_OUT)])
def test_a_message_delivered_before_a_deadline_beats_it_however_late_it_is_looked_for(
    rendering: WorkflowBase, after_s: float, result: int
) -> None:
    deaf = Deaf()
    cluster = Cluster(lease_s=1e7, faults=deaf)
    watch = Invariants(cluster)
    begun: list[str] = []

    def main(engine: object) -> None:
        begun.append(engine.start(rendering.options(id="run"), '["signal", "early", 5]', 2).id)  # type: ignore[attr-defined]

    def deliver() -> None:
        deaf.yes = True
        cluster.store.deliver([Message("default", "run", "signal", "early", "once", b"11")])

    with quiet():
        node = cluster.boot(main)
        cluster.run(lambda: bool(begun))
        cluster.scheduler.later(cluster.scheduler.now_us + round(after_s * 1_000_000), deliver)
        assert cluster.run(lambda: _has_ended(cluster), 20.0)
        watch.finish()
        assert node.engine.get("run").result() == result
        assert cluster.close() == []


def _has_ended(cluster: Cluster) -> bool:
    run = cluster.store.get("default", "run")
    return run is not None and str(run.status) == "completed"
