"""
Simulated processes over one simulated store.

Owns: booting a process with an engine in it, killing and stopping it at the points that the faults choose, and taking
the whole apart at the end. Must not know workflows or invariants. A process that dies leaves behind what a killed one
leaves: its rows in the store, and nothing that acts.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from contextvars import copy_context
from datetime import timedelta
from typing import Any, NoReturn

from fluxo.engine import Engine
from fluxo.engine.node import Node
from fluxo.errors import StoreError
from fluxo.runtime.activation import Activation
from fluxo.runtime.async_run import AsyncRun
from fluxo.runtime.core import StandIn
from fluxo.runtime.sync_run import SyncRun
from fluxo.store import Append, Outcome
from fluxo.stores.memory import MemoryStore
from fluxo.testing.simulation.faults import CrashAt, Fault, Faults, Verdict
from fluxo.testing.simulation.fibers import Choose, Gone, Scheduler, SimEvent, SimProcess, first
from fluxo.testing.simulation.ports import SimClock, SimProcesses, sim_ports
from fluxo.testing.simulation.store import SimBell, SimStore

__all__ = ["START_US", "Appended", "Cluster", "SimNode"]

START_US = 1_800_000_000_000_000
"""When simulated time begins, unless something else is asked for: 15 January 2027, 08:00 UTC."""

Appended = Callable[["SimNode", Sequence[Append], Sequence[Outcome]], None]
Main = Callable[[Engine], None]


class Cluster:
    """
    Processes, their store, and the scheduler that runs them all.

    Args:
        seed: Every identifier and every jitter comes from it.
        faults: What goes wrong; nothing by default.
        choose: Who of the ready runs next; taking turns by default.
        lease_s: The engines' lease.
        resources: What steps get from `fluxo.resource`.
        one_machine: The processes see each other's deaths in the process table; otherwise only silence tells.
        failpoints: Named failpoints are points, too. The engine's short way past them is not taken then.
        stand_in: What runs in place of step bodies.
        concurrency: Sync runs of one process at once, as the engine's.
        start_us: What time it is when it begins.

    Attributes:
        nodes: All processes ever booted, in order.
        on_crash: Called when a process has died at a point, after that.
        on_appended, on_told: Called with every answer of the store to an append; and when the process hears it.
        situations: Named things that really happened, counted.
    """

    def __init__(
        self,
        *,
        seed: int = 0,
        faults: Faults | None = None,
        choose: Choose = first,
        lease_s: float = 10.0,
        resources: Mapping[str, Any] | None = None,
        one_machine: bool = True,
        failpoints: bool = False,
        stand_in: StandIn | None = None,
        concurrency: int = 8,
        start_us: int = START_US,
    ) -> None:
        self.scheduler = Scheduler(choose, start_us)
        self.clock = SimClock(self.scheduler)
        self.bell = SimBell()
        self.store = MemoryStore(self.clock, self.bell)
        self.faults: Faults = CrashAt() if faults is None else faults
        self.nodes: list[SimNode] = []
        self.on_crash: Callable[[SimNode], None] | None = None
        self.on_appended: Appended | None = None
        self.on_told: Appended | None = None
        self.situations: dict[str, int] = {}
        self.lease_s = lease_s
        self.resources = dict(resources or {})
        self.one_machine = one_machine
        self.failpoints = failpoints
        self.stand_in = stand_in
        self.concurrency = concurrency
        self.table: dict[int, SimProcess] = {}
        self.random = random.Random(seed)

    def boot(self, main: Main | None = None, *, works: bool = True, skew_us: int = 0) -> SimNode:
        """Start a process: its engine opens, then `main` is called with it, on a fiber of its own."""
        node = SimNode(self, len(self.nodes) + 1, works=works, skew_us=skew_us)
        self.nodes.append(node)
        node.begin(main)
        return node

    def happened(self, situation: str) -> None:
        """Count a situation by its name."""
        self.situations[situation] = self.situations.get(situation, 0) + 1

    def run(self, until: Callable[[], bool], within_s: float | None = None) -> bool:
        """Let everything happen until `until` holds, at most `within_s` virtual seconds; whether it does."""
        limit_us = None if within_s is None else self.scheduler.now_us + round(within_s * 1_000_000)
        return self.scheduler.run(until, limit_us)

    def close(self) -> list[BaseException]:
        """End the simulation: every process dies where it stands; what came out of fibers."""
        for node in self.nodes:
            node.die()
        for node in self.nodes:
            node.hush()
        failures = list(self.scheduler.end())
        for node in self.nodes:
            node.bury()
        return failures


class SimNode:
    """
    One process of a cluster: an engine, and its connection to the store.

    Attributes:
        opened: Its engine is open: registered, and through with its first recovery.
        unsure: Runs whose last append was answered unknown without having been executed.
    """

    def __init__(self, cluster: Cluster, pid: int, *, works: bool, skew_us: int) -> None:
        self.cluster = cluster
        self.name = f"process {pid}"
        self.process = SimProcess(self.name)
        cluster.table[pid] = self.process
        self.clock = SimClock(cluster.scheduler, skew_us)
        machine = "machine" if cluster.one_machine else f"machine {pid}"
        processes = SimProcesses(machine, pid, cluster.table)
        source = random.Random(cluster.random.getrandbits(64))
        ports, self.threads = sim_ports(cluster.scheduler, self.process, self.clock, processes, source)
        self._hinted = SimEvent(cluster.scheduler)
        cluster.bell.listeners.append(self._on_ring)
        self.engine = Engine(
            SimStore(cluster.store, self),
            ports=ports,
            worker=works,
            lease=timedelta(seconds=cluster.lease_s),
            resources=cluster.resources,
            concurrency=cluster.concurrency,
            name=self.name,
        )
        self.node: Node = self.engine._node  # pyright: ignore[reportPrivateUsage]
        self.node.core.stand_in = cluster.stand_in
        if cluster.failpoints:
            self.node.core.failpoint = self.point
        self.opened = False
        self.unsure: dict[int, str] = {}

    @property
    def alive(self) -> bool:
        """Whether the process has not died."""
        return self.process.alive

    @property
    def active(self) -> Sequence[Activation]:
        """The runs it holds, or believes to hold."""
        return tuple(self.node.worker.active.values())

    def begin(self, main: Main | None) -> None:
        """The first fiber: open the engine, then `main`."""

        def first_fiber() -> None:
            try:
                self.node.open()
            except StoreError:
                # What an application does that cannot open its engine: end, and be started again.
                self.die()
                if self.cluster.on_crash is not None:
                    self.cluster.on_crash(self)
                return
            self.opened = True
            if main is not None:
                main(self.engine)

        self.cluster.scheduler.spawn(self.process, first_fiber, f"main of {self.name}")

    def point(self, name: str) -> None:
        """
        Die, stop or give way here, if the faults say so.

        Raises:
            Gone: the process is dead, and this is what is left of it.
        """
        scheduler = self.cluster.scheduler
        fiber = scheduler.current
        if not self.process.alive:
            raise Gone
        if fiber is None:
            return
        verdict = self.cluster.faults.at(self.name, name)
        if verdict is Verdict.GO:
            return
        if verdict is Verdict.CRASH:
            self.crash()
        if verdict is Verdict.STOP:
            self.process.stopped = True
            due_us = scheduler.now_us + round(self.cluster.faults.stop_s() * 1_000_000)
            scheduler.later(due_us, self._go_on)
        scheduler.give_way()

    def crash(self) -> NoReturn:
        """Die here and now, on a fiber of this process; whoever wants to boot another is told."""
        self.die()
        if self.cluster.on_crash is not None:
            self.cluster.on_crash(self)
        # Nothing of this process runs ever again, so neither does what stands below this line.
        self.cluster.scheduler.leave()

    def fault(self, method: str) -> Fault:
        if self.cluster.scheduler.current is None:
            return Fault.NONE
        delay_s = self.cluster.faults.delay_s()
        if delay_s > 0:
            self.cluster.scheduler.wait(None, delay_s)
        return self.cluster.faults.on_call(self.name, method)

    def wait_hint(self, timeout_s: float) -> bool:
        hinted = self._hinted.wait(timeout_s)
        self._hinted.clear()
        return hinted

    def hint(self) -> None:
        self._hinted.set()

    def lost(self, batch: Sequence[Append]) -> None:
        self.unsure.update((append.key, self.name) for append in batch)

    def appended(self, batch: Sequence[Append], outcomes: Sequence[Outcome]) -> None:
        if self.cluster.on_appended is not None:
            self.cluster.on_appended(self, batch, outcomes)

    def told(self, batch: Sequence[Append], outcomes: Sequence[Outcome]) -> None:
        if self.cluster.on_told is not None:
            self.cluster.on_told(self, batch, outcomes)

    def die(self) -> None:
        """As by SIGKILL. What the dead process's code finds when it is unwound much later refuses to do anything."""
        if not self.process.alive:
            return
        self.process.alive = False
        self.cluster.bell.listeners.remove(self._on_ring)
        for activation in self.active:
            activation.journal.lost = True
            if isinstance(activation, SyncRun):
                activation.unwinding = True

    def hush(self) -> None:
        """Before a dead process is unwound: nothing that this wakes may run."""
        for loop in self.threads.loops:
            loop.hush()

    def bury(self) -> None:
        """Take apart what a dead process has left in memory."""
        for activation in self.active:
            if isinstance(activation, AsyncRun):
                with suppress(Gone):
                    # What is unwound sets context variables, and they must not be the test's.
                    copy_context().run(activation.loop.discard)
        for loop in self.threads.loops:
            loop.discard()
        self.node.worker.active.clear()

    def _on_ring(self) -> None:
        scheduler = self.cluster.scheduler
        for delay_s in self.cluster.faults.hints():
            if delay_s <= 0:
                self._hinted.set()
            else:
                scheduler.later(scheduler.now_us + round(delay_s * 1_000_000), self._hinted.set)

    def _go_on(self) -> None:
        self.cluster.scheduler.go_on(self.process)
