"""
One simulated storm: a cluster under faults until they stop, then it must come to rest.

Owns: the scenario (workers that crash and are replaced, a client that starts, signals and cancels, the end of the
faults) and its verdict. Must not know which workflows run.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch
from zlib import crc32

from fluxo.authoring.workflow import WorkflowBase
from fluxo.errors import FluxoError, RunNotFoundError, StoreUnavailableError, UsageError
from fluxo.model.run import ENDED, RunRecord, RunStatus
from fluxo.store import RunQuery
from fluxo.testing.simulation.cluster import Cluster, SimNode
from fluxo.testing.simulation.faults import Storm, StormRates
from fluxo.testing.simulation.invariants import Invariants

STORM_S = 120.0
SMALL = (
    "fluxo.runtime.committer.COMMIT_EVENTS_MAX",
    "fluxo.runtime.reading.READ_EVENTS_PAGE",
    "fluxo.engine.claims.CLAIM_RUNS_MAX",
)
REST_S = 200_000.0
"""Virtual time within which everything must have ended once the faults are over (I13); sleeps are shorter."""


@dataclass
class Begun:
    """A run that the client starts, and what it sends to it: (seconds from the start, name, payload), None cancels."""

    workflow: WorkflowBase
    args: tuple[Any, ...]
    run_id: str
    messages: Sequence[tuple[float, str | None, Any]] = ()


@dataclass
class Weather:
    """
    How a storm is made; every knob from the seed unless given.

    Attributes:
        lease_s: What a worker's lease lasts; with a short one, whoever is slow has lost it.
        small: Batches, pages and claims of one.
        jumps: How often some machine's wall clock is set, by up to an hour either way.
    """

    workers: int = 2
    rates: StormRates = field(default_factory=StormRates)
    one_machine: bool = True
    failpoints: bool = False
    skew_us: int = 0
    concurrency: int = 4
    lease_s: float = 10.0
    small: bool = False
    jumps: int = 0


def weather_of(source: random.Random) -> Weather:
    """A weather from a seed: some calm, some with large skews, some on one machine, some that are all crashes."""
    return Weather(
        workers=source.choice((1, 2, 2, 3)),
        rates=StormRates(
            crash=source.choice((0.0, 0.01, 0.03)),
            stop=source.choice((0.0, 0.01, 0.03)),
            give_way=source.choice((0.0, 0.1, 0.5)),
            error_before=source.choice((0.0, 0.02, 0.1)),
            error_after=source.choice((0.0, 0.02, 0.1)),
            slow=source.choice((0.0, 0.02)),
            hint_lost=source.choice((0.0, 0.3, 1.0)),
            hint_repeated=source.choice((0.0, 0.3)),
            outage=source.choice((0.0, 0.0, 0.005)),
            budget=source.choice((2, 4, 8)),
        ),
        one_machine=source.random() < 0.5,
        failpoints=source.random() < 0.3,
        skew_us=source.choice((0, 0, 2_000_000, -2_000_000, 3_600_000_000)),
        concurrency=source.choice((1, 4)),
        lease_s=source.choice((10.0, 10.0, 1.0)),
        small=source.random() < 0.25,
        jumps=source.choice((0, 0, 3)),
    )


@dataclass
class Aftermath:
    """
    What is left of a storm.

    Attributes:
        trace: A digest of everything that was ever written, in order.
        crashes: How many processes died.
    """

    runs: dict[str, RunRecord]
    logs: dict[str, list[Any]]
    trace: int
    crashes: int
    situations: dict[str, int]
    failures: list[BaseException]


class StormyCluster:
    """The scenario; `ride` plays it to its end."""

    def __init__(self, seed: int, begun: Sequence[Begun], resources: dict[str, Any], weather: Weather) -> None:
        self.source = random.Random(seed)
        self.weather = weather
        self.storm = Storm(random.Random(self.source.getrandbits(64)), weather.rates, lease_s=weather.lease_s)
        order = random.Random(self.source.getrandbits(64))
        self.cluster = Cluster(
            seed=self.source.getrandbits(64),
            faults=self.storm,
            choose=order.randrange,
            lease_s=weather.lease_s,
            resources=resources,
            one_machine=weather.one_machine,
            failpoints=weather.failpoints,
            concurrency=weather.concurrency,
        )
        self.invariants = Invariants(self.cluster)
        self.begun = begun
        self.crashes = 0
        self.sent: dict[str, int] = {}

    def ride(self) -> Aftermath:
        """
        Play the storm.

        Raises:
            InvariantError: what broke, in the step that broke it.
            AssertionError: it never came to rest.
        """
        cluster = self.cluster
        cluster.on_crash = self._on_crash
        for _ in range(self.weather.jumps):
            at_us = cluster.scheduler.now_us + self.source.randrange(round(STORM_S * 1_000_000))
            cluster.scheduler.later(at_us, self._jump)
        with ExitStack() as knobs:
            for knob in SMALL if self.weather.small else ():
                knobs.enter_context(patch(knob, 1))
            return self._ride()

    def _ride(self) -> Aftermath:
        cluster = self.cluster
        try:
            for _ in range(self.weather.workers):
                self._boot()
            client = cluster.boot(self._client, works=False)
            cluster.run(self._over, STORM_S)
            self.storm.calm = True
            if not any(node.alive and node.node.works for node in cluster.nodes):
                self._boot()
            if not client.alive:
                cluster.boot(self._client, works=False)
            rested = cluster.run(self._over, REST_S)
            self.invariants.finish()
            assert rested, f"no rest (I13): {self._standing()}"
        finally:
            failures = cluster.close()
        return self._aftermath(failures)

    def _aftermath(self, failures: list[BaseException]) -> Aftermath:
        runs = {run.run_id: run for run in self._runs()}
        logs = {run.run_id: self.invariants.logs[run.key].events for run in runs.values()}
        trace = 0
        for key in sorted(self.invariants.logs):
            for row in self.invariants.logs[key].rows:
                trace = crc32(repr(row).encode(), trace)
        situations = dict(self.cluster.situations)
        for what, times in self.storm.seen.items():
            situations[what] = situations.get(what, 0) + times
        return Aftermath(runs, logs, trace, self.crashes, situations, failures)

    def _jump(self) -> None:
        """Somebody sets the clock of a machine."""
        node = self.source.choice(self.cluster.nodes)
        node.clock.skew_us = self.source.randrange(-3_600_000_000, 3_600_000_000)
        self.cluster.happened("clock set")

    def _boot(self) -> None:
        skew_us = self.source.choice((0, self.weather.skew_us))
        self.cluster.boot(self._worker, skew_us=skew_us)

    def _worker(self, engine: Any) -> None:
        """A worker has nothing to do but to be there."""

    def _on_crash(self, node: SimNode) -> None:
        self.crashes += 1
        scheduler = self.cluster.scheduler
        delay_s = self.source.choice((0.0, 0.5, 2 * self.weather.lease_s))
        again: Callable[[], object] = self._boot if node.node.works else self._boot_client
        scheduler.later(scheduler.now_us + round(delay_s * 1_000_000), lambda: self._unless_over(again))

    def _unless_over(self, again: Callable[[], object]) -> None:
        again()

    def _boot_client(self) -> None:
        self.cluster.boot(self._client, works=False)

    def _client(self, engine: Any) -> None:
        """Start every run and send what is to be sent, again and again until it is known to have arrived."""
        scheduler = self.cluster.scheduler
        for begun in self.begun:
            workflow = begun.workflow.options(id=begun.run_id)
            self._insist(lambda workflow=workflow, begun=begun: engine.start(workflow, *begun.args))
        messages = sorted(
            (at_s, begun.run_id, n, name, payload)
            for begun in self.begun
            for n, (at_s, name, payload) in enumerate(begun.messages)
        )
        began_us = scheduler.now_us
        for at_s, run_id, n, name, payload in messages:
            rest_us = began_us + round(at_s * 1_000_000) - scheduler.now_us
            if rest_us > 0:
                scheduler.wait(None, rest_us / 1_000_000)
            if name is None:
                self._insist(lambda run_id=run_id: engine.cancel(run_id))
            else:
                self._insist(
                    lambda run_id=run_id, name=name, payload=payload, n=n: engine.signal(
                        run_id, name, payload, key=f"{name}-{n}"
                    )
                )
        self.done = True

    done = False

    def _insist(self, call: Callable[[], object]) -> None:
        while True:
            try:
                call()
                return
            except StoreUnavailableError:
                self.cluster.scheduler.wait(None, 0.5)
            except (UsageError, RunNotFoundError):
                return  # it has ended meanwhile, or never began: nobody is there to be told
            except FluxoError:
                raise

    def _runs(self) -> list[RunRecord]:
        return self.cluster.store.find(RunQuery("default", limit=1000)).runs

    def _over(self) -> bool:
        if not self.done:
            return False
        runs = self._runs()
        return len(runs) == len(self.begun) and all(
            run.status in ENDED or run.status is RunStatus.BLOCKED for run in runs
        )

    def _standing(self) -> list[tuple[str, str, str | None, int]]:
        return [(run.run_id, str(run.status), run.owner, run.tail_seq) for run in self._runs()]
