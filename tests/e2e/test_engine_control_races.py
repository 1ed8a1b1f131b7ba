"""
Cancel and resume when the run moves on between the look at it and the append.

Owns: the moments in between; a meddler makes them. Must not know how a run is asked to end. The first of them was found
by the simulation: a run that completed in that moment was cancelled afterwards.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import fluxo
from fluxo import Engine, MemoryStore, RunStatus, UsageError, step, workflow
from fluxo.model.events import RunCancelled, RunCompleted, RunReopened
from tests.e2e.meddling import Meddler
from tests.e2e.places import PATIENCE_S

broken = {"yes": False}


@step(name="races.work")
def work() -> int:
    if broken["yes"]:
        raise LookupError("broken")
    return 5


@workflow(name="races.quick")
def quick() -> int:
    return work()


@workflow(name="races.waits")
def waits() -> int:
    try:
        return fluxo.wait_signal("go", int)
    finally:
        work()


class Between:
    """Does something once, when an engine is about to read a log's end."""

    def __init__(self) -> None:
        self.act: Callable[[], object] | None = None

    def __call__(self) -> None:
        act, self.act = self.act, None
        if act is not None:
            act()


def client_of(store: MemoryStore, between: Between) -> Engine:
    meddler: Any = Meddler(store, lambda real, batch: real(batch), before_tail=between)
    return Engine(meddler, worker=False)


@pytest.mark.parametrize("force", [False, True], ids=["asked", "forced"])
def test_a_run_that_completes_meanwhile_is_not_cancelled(force: bool) -> None:
    broken["yes"] = False
    store, between = MemoryStore(), Between()
    with client_of(store, between) as client:
        client.start(quick.options(id="run"))

        def complete() -> None:
            with Engine(store) as worker:
                assert worker.get("run").result(PATIENCE_S) == 5

        between.act = complete
        assert client.cancel("run", force=force) is False
        assert client.get("run").status() is RunStatus.COMPLETED
        assert isinstance(client.history("run")[-1], RunCompleted)


def test_a_run_that_begins_meanwhile_is_asked_to_end_and_not_forced() -> None:
    broken["yes"] = False
    store, between = MemoryStore(), Between()
    with client_of(store, between) as client:
        client.start(waits.options(id="run"))

        def begin() -> None:
            with Engine(store) as other:
                handle = other.get("run")
                while handle.status() is not RunStatus.WAITING:
                    pass

        between.act = begin
        assert client.cancel("run") is True
        with Engine(store) as other:
            assert other.get("run").wait(PATIENCE_S)
        last = client.history("run")[-1]
        assert isinstance(last, RunCancelled)
        assert not last.forced


def test_a_run_that_is_resumed_meanwhile_is_resumed_once() -> None:
    broken["yes"] = True
    store, between = MemoryStore(), Between()
    with Engine(store) as worker:
        assert worker.start(quick.options(id="run")).wait(PATIENCE_S)
    with client_of(store, between) as client:
        between.act = lambda: client.resume("run")
        with pytest.raises(UsageError, match="only failed and blocked runs can be resumed"):
            client.resume("run")
        kinds = [type(event) for event in client.history("run")]
        assert kinds.count(RunReopened) == 1
