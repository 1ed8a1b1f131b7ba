"""
Taking over runs whose worker is gone.

Owns: 100,000 events at once (time and memory), and that the price grows linearly with the history and with the number
of runs. Must not know how replay works. Each recovery is a process of its own: it opens an engine on a file with
unfinished runs and waits for their results.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fluxo
from bench import child
from bench.histories import plant, record
from bench.load import aorders, orders
from bench.report import Figure
from bench.setting import Setting
from bench.timing import resident_bytes, resident_peak_bytes

__all__ = ["large", "linear", "recover"]

_PAGE_NOTE = "a slope between two sizes, so that what SQLite and the pages of reading keep does not count"


def recover(path: str, run_ids: list[str]) -> dict[str, float]:
    """In a child: open an engine on `path` and wait for these runs; seconds, and resident memory before and at most."""
    with fluxo.Engine(f"sqlite:///{path}.warm") as warm:
        warm.run(orders, 10)
        warm.run(aorders, 10)
    before = resident_bytes()
    began = time.perf_counter()
    engine = fluxo.Engine(f"sqlite:///{path}", concurrency=8)
    with engine:
        handles = [engine.get(run_id) for run_id in run_ids]
        for handle in handles:
            handle.result(timeout=120)
        seconds = time.perf_counter() - began
    return {"seconds": seconds, "before": before, "peak": resident_peak_bytes()}


def large(setting: Setting) -> Iterator[Figure]:
    """100,000 events: one second, 300 MB, and bytes per event (G9)."""
    events = 100_000
    for colour, workflow in (("sync", orders), ("async", aorders)):
        whole, payload = _recover_one(setting, workflow, events)
        mib = whole["peak"] / 2**20
        yield Figure(
            goal="large",
            what=f"100,000 events replayed, {colour}",
            raw=f"{payload / events:.0f} B of arguments and results each",
            measured=whole["seconds"],
            unit="s",
            bound=1.0,
            detail="from opening the engine to the result, in a fresh process",
            limited_by="Python per event; see g6",
        )
        yield Figure(
            goal="large",
            what=f"100,000 events replayed, {colour}, peak memory",
            raw=f"{whole['before'] / 2**20:.0f} MB before",
            measured=mib,
            unit="MB",
            bound=300.0,
            limited_by="bodies kept until the replay is over",
        )
        twice, twice_payload = _recover_one(setting, workflow, 2 * events)
        grown = twice["peak"] - whole["peak"]
        yield Figure(
            goal="g9",
            what=f"memory per event beyond its payload, {colour}",
            raw=f"payload {payload / events:.0f} B",
            measured=(grown - (twice_payload - payload)) / events,
            unit="B",
            bound=120.0,
            stretch=40.0,
            detail=f"{grown / events:.0f} B in all; {_PAGE_NOTE}",
            limited_by="a bytes object (33 B), its slot and its number (16 B), and the envelope of every event",
        )


def linear(setting: Setting) -> Iterator[Figure]:
    """The price of an event in long histories, and of a run among many."""
    tries = range(setting.size(2, 1))
    seconds = {count: min(_recover_one(setting, orders, count)[0]["seconds"] for _ in tries) for count in _LENGTHS}
    short, middle, long = _LENGTHS
    lower_us = (seconds[middle] - seconds[short]) / (middle - short) * 1e6
    upper_us = (seconds[long] - seconds[middle]) / (long - middle) * 1e6
    yield Figure(
        goal="linear",
        what="cost of an event, 50k to 100k over 10k to 50k",
        raw=f"{lower_us:.2f} µs an event from 10k to 50k",
        measured=upper_us / lower_us,
        unit="x",
        bound=1.5,
        detail=f"{upper_us:.2f} µs an event from 50k to 100k; in all "
        + ", ".join(f"{count // 1000}k: {spent:.2f} s" for count, spent in seconds.items()),
        limited_by="collector passes over what replay keeps",
    )
    crowds = {count: _recover_many(setting, count) for count in (200, 800, setting.size(3200, 1600))}
    per_run = {count: seconds / count * 1e6 for count, seconds in crowds.items()}
    few, many = min(per_run), max(per_run)
    yield Figure(
        goal="linear",
        what=f"cost of a recovered run, {many} over {few} runs",
        raw=f"{per_run[few]:.0f} µs a run of {few}",
        measured=per_run[many] / per_run[few],
        unit="x",
        bound=1.5,
        detail=", ".join(f"{count} runs: {us:.0f} µs" for count, us in per_run.items()) + " each, 20 steps recorded",
        limited_by="claims in batches of 100",
    )


_LENGTHS = (10_000, 50_000, 100_000)


def _recover_one(setting: Setting, workflow: Any, events: int) -> tuple[dict[str, float], int]:
    """The child's answer, and the bytes of arguments and results in the log."""
    path = setting.path(f"recover-{events}")
    logs = record(workflow, ["r"], events)
    plant(path, workflow, logs)
    answer = child.call("bench.recovery:recover", path=str(path), run_ids=["r"])
    return answer, _payload_bytes(path)


def _recover_many(setting: Setting, runs: int) -> float:
    path = setting.path(f"recover-runs-{runs}")
    run_ids = [f"r{number}" for number in range(runs)]
    plant(path, orders, record(orders, run_ids, 20))
    seconds: float = child.call("bench.recovery:recover", path=str(path), run_ids=run_ids)["seconds"]
    return seconds


def _payload_bytes(path: Path) -> int:
    import sqlite3

    from fluxo.codec.event import decode_event
    from fluxo.model.events import StepCompleted

    connection = sqlite3.connect(path)
    try:
        total = 0
        for (body,) in connection.execute("SELECT body FROM fluxo_events"):
            event = decode_event(body)
            if isinstance(event, StepCompleted):
                total += len(event.result) + len(event.args or b"")
        return total
    finally:
        connection.close()
