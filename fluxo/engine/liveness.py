"""
Which workers are dead.

Owns: this process's identity and the judgement over others. Must not know runs. Theory: PROTOCOL rule 10: a
worker is dead when its counter stood still for one lease on the observer's own monotonic clock; on the same host
(boot id and pid namespace) a process that is gone, or whose pid now belongs to another, is dead at once.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from fluxo.clock import Clock
from fluxo.store import WorkerRecord

__all__ = ["Liveness", "this_process"]


def this_process(worker_id: str, namespace: str, label: str) -> WorkerRecord:
    """The record under which this process registers."""
    pid = os.getpid()
    return WorkerRecord(worker_id, namespace, label, _host(), pid, _started(pid))


class Liveness:
    """Remembers when each worker's counter last moved."""

    def __init__(self, clock: Clock, lease_s: float) -> None:
        self._clock = clock
        self._lease_s = lease_s
        self._host = _host()
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
        return _started(worker.pid) != worker.pid_started


def _host() -> str:
    """Boot id and pid namespace: who shares it sees the same process table. Empty where the system has neither."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _started(pid: int) -> int:
    """Start time of a process in clock ticks since boot; 0 if there is none (or it is a zombie)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return 0 if fields[0] in ("Z", "X") else int(fields[19])
