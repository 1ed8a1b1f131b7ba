"""
Two processes on one SQLite file.

Owns: how soon a worker sees what another process wrote, and what an idle worker costs. Must not know other loads.
The worker is a child; this process only sends. Both read the same monotonic clock.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fluxo
from bench import child
from bench.load import asignalled, seen
from bench.raw import RawLog
from bench.report import Figure
from bench.setting import ROOT, Setting
from bench.timing import quantile

__all__ = ["idle", "idle_part", "latencies", "seen_elsewhere", "serve", "worker"]


def serve(url: str) -> dict[str, Any]:
    """In a child: work until stdin is closed."""
    with fluxo.Engine(url):
        print("ready", flush=True)
        sys.stdin.read()
    return {}


def seen_elsewhere(setting: Setting) -> Iterator[Figure]:
    """A signal, or a new run, sent by one process until another acts on it."""
    probes = setting.size(80, 25)
    url = setting.url("processes")
    log = RawLog(setting.path("raw"))
    raw_ms = quantile(log.row_seconds(400), 0.95) * 1000
    log.close()
    for what, seconds in latencies(url, probes).items():
        yield Figure(
            goal="seen",
            what=f"{what} seen by another process, p95",
            raw=f"(a) p95 {raw_ms:.1f} ms a commit",
            measured=quantile(seconds, 0.95) * 1000,
            unit="ms",
            bound=50.0,
            detail=f"p50 {quantile(seconds, 0.5) * 1000:.1f} ms, most {max(seconds) * 1000:.1f} ms "
            f"of {len(seconds)}; from the call that sends it to the step it leads to",
            limited_by="how often the file is polled",
        )


def latencies(url: str, probes: int = 80) -> dict[str, list[float]]:
    """Seconds from a signal, or a start, in this process to the step that it leads to in another one."""
    with worker(url), fluxo.Engine(url, worker=False) as client:
        waiting = [client.start(asignalled, n) for n in range(probes)]
        while client.stats().runs.get("waiting", 0) < probes:
            time.sleep(0.05)
        client.start(seen, 0).result(timeout=30)
        signals: list[float] = []
        runs: list[float] = []
        for number, handle in enumerate(waiting):
            _pause(number)
            sent = time.perf_counter()
            handle.signal("go", number)
            signals.append(handle.result(timeout=30) - sent)
            _pause(number)
            sent = time.perf_counter()
            runs.append(client.start(seen, number).result(timeout=30) - sent)
    return {"a signal": signals, "a new run": runs}


def idle_part(url: str, seconds: float) -> float:
    """The part of a core that a worker with nothing to do takes."""
    with worker(url) as process:
        time.sleep(1)
        before, began = _cpu_s(process.pid), time.perf_counter()
        time.sleep(seconds)
        return (_cpu_s(process.pid) - before) / (time.perf_counter() - began)


def idle(setting: Setting) -> Iterator[Figure]:
    """CPU of a worker that has nothing to do."""
    seconds = setting.seconds(10)
    with worker(setting.url("idle")) as process:
        time.sleep(1)
        before, began = _cpu_s(process.pid), time.perf_counter()
        time.sleep(seconds)
        used, elapsed = _cpu_s(process.pid) - before, time.perf_counter() - began
    yield Figure(
        goal="idle",
        what="CPU of an idle engine on SQLite",
        raw="a sleeping process, 0 %",
        measured=used / elapsed * 100,
        unit="% of a core",
        bound=1.0,
        detail=f"{used * 1000:.0f} ms of CPU in {elapsed:.1f} s",
        limited_by="how often the file is polled, and what a look costs",
    )


@contextmanager
def worker(url: str) -> Generator[subprocess.Popen[str], None, None]:
    process = subprocess.Popen(
        child.command("bench.processes:serve", {"url": url}),
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        if process.stdout.readline().strip() != "ready":
            raise child.ChildFailed("the worker process did not come up; its error stands above")
        yield process
    finally:
        process.stdin.close()
        process.wait(timeout=60)
        process.stdout.close()


def _pause(number: int) -> None:
    """Between 30 and 90 ms, evenly spread, so that no poll's phase is hit again and again."""
    time.sleep(0.03 + (0.5 + number * 0.6180339887) % 1.0 * 0.06)


def _cpu_s(pid: int) -> float:
    """CPU time of all threads of a process so far; /proc/<pid>/stat counts in steps of 10 ms, which is too coarse."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text(encoding="ascii").split()[0]) for task in tasks) / 1e9
