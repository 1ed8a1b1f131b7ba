"""
Replay on the engine's own path, over the same rows only read and only decoded (G6).

Owns: the price of a recorded event, and how often a workflow is suspended on one. Must not know recovery: the run is
handed to the engine by hand, and its end is answered but not written, so that the same log can be replayed again.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec

import fluxo
from bench.engines import OnLoop, on_loop
from bench.histories import plant, record
from bench.load import Receipt, acharge, aorders, charge, orders
from bench.report import Figure
from bench.setting import Setting
from bench.timing import interleave, timed
from fluxo.model.events import Event, StepCompleted
from fluxo.runtime.reading import read_history
from fluxo.store import Append, Committed, Outcome
from fluxo.stores.sql import SqliteStore

__all__ = ["replayed"]

_ROWS = "SELECT seq, nonce, digest, body FROM fluxo_events WHERE run = ? ORDER BY seq"


class Frozen:
    """A SQLite store that answers appends as if they were written."""

    def __init__(self, path: Path) -> None:
        self._store = SqliteStore(str(path))

    def append(self, batch: list[Append]) -> list[Outcome]:
        """Nothing is written."""
        return [Committed(append.key) for append in batch]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


class Counting:
    """Awaits a coroutine and counts how often it is suspended."""

    def __init__(self, inner: Generator[Any, Any, Any]) -> None:
        self._inner = inner
        self.suspensions = 0

    def __await__(self) -> Generator[Any, Any, Any]:
        answer = None
        while True:
            try:
                wanted = self._inner.send(answer)
            except StopIteration as end:
                return end.value
            self.suspensions += 1
            answer = yield wanted


_counted: list[Counting] = []


@fluxo.workflow
async def counted(steps: int) -> int:
    body: Any = aorders.fn(steps)
    _counted.append(Counting(body))
    total: int = await _counted[-1]
    return total


def replayed(setting: Setting) -> Iterator[Figure]:
    """G6: microseconds per recorded event, arguments checked; suspensions per recorded step."""
    events = setting.size(20_000, 5_000)
    for colour, workflow, step in (("sync", orders, charge), ("async", aorders, acharge)):
        with ExitStack() as stack:
            path = setting.path(f"replay-{colour}")
            key = plant(path, workflow, record(workflow, ["r"], events), queue="held")["r"]
            replay = _replayer(stack, path, workflow, key)
            connection = sqlite3.connect(path)
            stack.callback(connection.close)
            rows = connection.execute(_ROWS, (key,)).fetchall()
            slices = {
                "read": timed(_reading(connection, key), events),
                "decode": timed(_decoding([row[3] for row in rows], step), events),
                "replay": timed(replay, events),
            }
            series = interleave(slices, budget_s=setting.seconds(6), rounds_max=60)
        read_us, decode_us, replay_us = series.us("read"), series.us("decode"), series.us("replay")
        yield Figure(
            goal="g6",
            what=f"replay of {events:,} steps, {colour}, per event",
            raw=f"read {read_us:.2f} + decode {decode_us:.2f} µs",
            measured=series.ratio("replay", "read", "decode"),
            unit="x raw",
            bound=3.0,
            stretch=1.5,
            detail=f"{replay_us:.2f} µs an event, {1 / replay_us:.2f} million events/s",
            limited_by="Python per event: checksum, encoding and comparing arguments, matching, the call itself",
        )
    yield _suspensions(setting)


def _suspensions(setting: Setting) -> Figure:
    steps = 1000
    path = setting.path("suspensions")
    logs = record(counted, ["r"], steps)
    key = plant(path, counted, logs, queue="held")["r"]
    with ExitStack() as stack:
        replay = _replayer(stack, path, counted, key)
        replay()
    return Figure(
        goal="g6",
        what="suspensions per recorded step, async",
        raw="an awaited result that is there",
        measured=_counted[-1].suspensions / steps,
        unit="",
        bound=0.0,
        detail=f"{_counted[-1].suspensions} in {steps:,} recorded steps; "
        f"{_counted[0].suspensions} when they were executed",
        limited_by="steps that are not the very next event",
    )


def _replayer(stack: ExitStack, path: Path, workflow: Any, key: int) -> Callable[[], None]:
    """A function that replays the planted run, on an engine that leaves it alone."""
    store: Any = Frozen(path)
    if workflow.is_async:
        opened = stack.enter_context(on_loop(store, queues=("bench",)))
        return lambda: _replay_on_loop(opened, workflow, key)
    engine = stack.enter_context(fluxo.Engine(store, queues=("bench",)))
    return lambda: _replay_in_thread(engine, workflow, key)


def _replay_in_thread(engine: fluxo.Engine, workflow: Any, key: int) -> None:
    activation = _activation(engine, workflow, key)
    activation.execute()
    _check(activation)


def _replay_on_loop(opened: OnLoop, workflow: Any, key: int) -> None:
    watch = opened.blocking._node.watch

    async def whole() -> Any:
        over: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        watch.add("r", over.set_result)
        activation = _activation(opened.blocking, workflow, key)
        activation.begin()
        await over
        watch.remove("r", over.set_result)
        return activation

    _check(opened.call(whole))


def _activation(engine: fluxo.Engine, workflow: Any, key: int) -> Any:
    node = engine._node
    return node._activate(workflow, key, 1, read_history(node.core.store, "r", key), 0)


def _check(activation: Any) -> None:
    ended = activation.ended
    if type(ended).__name__ != "RunCompleted" or activation.core.committer.appends == 0:
        raise AssertionError(f"the replay ended as {ended!r}")


def _reading(connection: sqlite3.Connection, key: int) -> Callable[[], object]:
    """Only read: all rows of the run by the bare driver."""
    return lambda: connection.execute(_ROWS, (key,)).fetchall()


def _decoding(bodies: list[bytes], step: Any) -> Callable[[], None]:
    """Only decode: the envelope of every event and the payload of every result, by the bare decoders."""
    envelope = msgspec.msgpack.Decoder(Event).decode
    payload = msgspec.json.Decoder(Receipt).decode
    first = next(event for body in bodies if isinstance(event := envelope(body[1:]), StepCompleted))
    skip = _payload_offset(first.result, step)

    def work() -> None:
        for body in bodies:
            event = envelope(body[1:])
            if type(event) is StepCompleted:
                payload(event.result[skip:] if skip else event.result)

    return work


def _payload_offset(result: bytes, step: Any) -> int:
    """How many bytes the payload codec puts before the JSON it wraps."""
    expected = step.result.decode(result, "bench")
    for offset in range(4):
        try:
            if msgspec.json.decode(result[offset:], type=Receipt) == expected:
                return offset
        except msgspec.DecodeError:
            continue
    raise AssertionError(f"a result is stored as {result!r}, which the bare decoder cannot read")
