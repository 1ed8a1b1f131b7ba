"""
Acting at the very moment: a meddler between an engine and its store, and steps that a test holds.

Owns: them, and the workflows that the protocol's tests share. Must not know any test.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, cast

import fluxo
from fluxo import Engine, RunStatus, step, workflow
from fluxo.codec.event import chain, decode_event, encode_event
from fluxo.ids import new_nonce
from fluxo.model.events import Event, RunClaimed
from fluxo.runtime.ports import Ports
from fluxo.store import Append, Committed, EventRow, Outcome, Projection, Store
from tests.e2e.places import PATIENCE_S, Place

QUICK = timedelta(seconds=0.2)
"""A lease whose heartbeats come often; the live are not judged by it within one process."""

Real = Callable[[Sequence[Append]], list[Outcome]]
Meddling = Callable[[Real, Sequence[Append]], list[Outcome]]


class Meddler:
    """A store that hands each append to a test before (or instead of) the real one."""

    def __init__(
        self, real: Store, meddling: Meddling, *, deaf: bool = False, before_tail: Callable[[], None] | None = None
    ) -> None:
        self._real = real
        self._meddling = meddling
        self._deaf = deaf
        self._before_tail = before_tail

    def append(self, batch: Sequence[Append]) -> list[Outcome]:
        return self._meddling(self._real.append, batch)

    def tail(self, key: int) -> EventRow | None:
        if self._before_tail is not None:
            self._before_tail()
        return self._real.tail(key)

    def wait(self, timeout_s: float) -> bool:
        return self._real.wait(timeout_s) and not self._deaf

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


class Gate:
    """A place in a step's body where a test holds it."""

    def __init__(self, who: str, *, shut: bool = False) -> None:
        self.who = who
        self.reached = threading.Event()
        self.opened = threading.Event()
        if not shut:
            self.opened.set()

    def enter(self) -> str:
        self.reached.set()
        assert self.opened.wait(PATIENCE_S)
        return self.who


@step(name="protocol.enter")
def enter(number: int) -> str:
    gate: Gate = fluxo.resource("gate")
    return gate.enter()


@workflow(name="protocol.doors")
def doors(count: int) -> list[str]:
    return [enter(number) for number in range(count)]


@workflow(name="protocol.adoors")
async def adoors(count: int) -> list[str]:
    return [await enter.aio(number) for number in range(count)]


@workflow(name="protocol.beside")
def beside(count: int) -> list[str]:
    return enter.map(range(count))


@workflow(name="protocol.listen")
def listen(count: int) -> list[str]:
    return [fluxo.wait_signal("word", str) for _ in range(count)]


@workflow(name="protocol.alisten")
async def alisten(count: int) -> list[str]:
    return [await fluxo.aio.wait_signal("word", str) for _ in range(count)]


def plainly(append: Real, batch: Sequence[Append]) -> list[Outcome]:
    """No meddling."""
    return append(batch)


def meddled(
    place: Place,
    meddling: Meddling = plainly,
    *,
    deaf: bool = False,
    before_tail: Callable[[], None] | None = None,
    **options: Any,
) -> Engine:
    store = cast(Store, Meddler(place.store(), meddling, deaf=deaf, before_tail=before_tail))
    return Engine(store, ports=Ports(clock=place.clock), **options)


def events_of(append: Append) -> list[Event]:
    return [decode_event(row[3]) for row in append.events]


def declare_dead(place: Place, owner: str | None) -> None:
    """What another worker does to one whose lease has run out."""
    assert owner is not None
    place.look().unregister(owner)


def claim_by_hand(place: Place, run_id: str, worker_id: str, *, unclean: bool = False) -> None:
    """A claim in a worker's name that nothing follows: its answer was lost, or its worker has died."""
    store, nonce = place.look(), new_nonce()
    run = store.get("default", run_id)
    assert run is not None
    tail = store.tail(run.key)
    assert tail is not None
    body = encode_event(RunClaimed(decode_event(tail[3]).at_us, worker_id, unclean))
    row = (tail[0] + 1, nonce, chain(tail[2], nonce, body), body)
    projection = Projection(RunStatus.RUNNING, None, run.consumed, worker_id, nonce)
    assert store.append([Append(run.key, tail[0], tail[2], [row], projection)]) == [Committed(run.key)]


def kinds(engine: Engine, run_id: str) -> list[type]:
    return [type(event) for event in engine.history(run_id)]
