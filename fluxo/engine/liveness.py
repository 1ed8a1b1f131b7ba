"""
Which workers are dead.

Owns: the judgement over others, and the record that they judge this process by. Must not know runs. Theory: PROTOCOL
rule 10: a worker is dead when its counter stood still for one lease on the observer's own monotonic clock; on the same
host (boot id and pid namespace) a process that is gone, or whose pid now belongs to another, is dead at once.
"""

from __future__ import annotations

from collections.abc import Sequence

from fluxo.clock import Clock
from fluxo.runtime.processes import Processes
from fluxo.store import WorkerRecord

__all__ = ["Liveness", "this_process"]


def this_process(processes: Processes, worker_id: str, namespace: str, label: str) -> WorkerRecord:
    """The record under which this process registers."""
    pid = processes.pid()
    return WorkerRecord(worker_id, namespace, label, processes.host(), pid, processes.started(pid))


class Liveness:
    """Remembers when each worker's counter last moved."""

    def __init__(self, clock: Clock, processes: Processes, lease_s: float) -> None:
        self._clock = clock
        self._lease_s = lease_s
        self._processes = processes
        self._host = processes.host()
        self._seen: dict[str, tuple[int, float]] = {}

    def dead(self, workers: Sequence[WorkerRecord], own: str | None) -> tuple[str, ...]:
        """Ids of the workers that are dead by now; one's own never is."""
        now_s = self._clock.monotonic_s()
        seen: dict[str, tuple[int, float]] = {}
        dead: list[str] = []
        for worker in workers:
            beat, since_s = self._seen.get(worker.worker_id, (-1, now_s))
            if beat != worker.beat:
                since_s = now_s
            seen[worker.worker_id] = (worker.beat, since_s)
            if worker.worker_id != own and (now_s - since_s >= self._lease_s or self._gone(worker)):
                dead.append(worker.worker_id)
        self._seen = seen
        return tuple(dead)

    def _gone(self, worker: WorkerRecord) -> bool:
        if not worker.host or worker.host != self._host:
            return False
        return self._processes.started(worker.pid) != worker.pid_started
