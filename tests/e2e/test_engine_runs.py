"""
Starting runs and asking for them again.

Owns: run, start, get, handles, ids, inputs. Must not know how a run is advanced.
"""

from __future__ import annotations

import os
import signal
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

import fluxo
from fluxo import (
    ResultTimeoutError,
    RunExistsError,
    RunFailedError,
    RunNotFoundError,
    RunStatus,
    UsageError,
    step,
    workflow,
)
from fluxo.model.events import RunCompleted, RunStarted, StepCompleted
from tests.e2e.places import Place


@step
def price(item: str, pieces: int) -> Decimal:
    return Decimal(len(item)) * pieces


@workflow
def total(item: str, pieces: int = 1) -> Decimal:
    return price(item, pieces)


@workflow
def wait_for_go() -> str:
    return fluxo.wait_signal("go", str)


@workflow
def fail(text: str) -> None:
    raise ValueError(text)


def test_run_returns_what_the_workflow_returns(place: Place) -> None:
    with place.engine() as engine:
        assert engine.run(total, "chair", pieces=3) == Decimal(15)


def test_run_raises_from_the_original_error(place: Place) -> None:
    with place.engine() as engine, pytest.raises(RunFailedError, match="ValueError: no stock") as failed:
        engine.run(fail, "no stock")
    assert type(failed.value.__cause__) is ValueError
    assert failed.value.__cause__.args == ("no stock",)


def test_an_engine_opens_at_its_first_call(place: Place) -> None:
    engine = place.engine()
    assert engine.run(total, "chair") == Decimal(5)
    engine.close()


def test_a_closed_engine_says_so(place: Place) -> None:
    with place.engine() as engine:
        pass
    with pytest.raises(UsageError, match="make a new one"):
        engine.run(total, "chair")


@pytest.mark.parametrize("ask", ["result", "wait", "status", "info", "history", "cancel", "resume"])
def test_a_handle_of_a_closed_engine_says_so(place: Place, ask: str) -> None:
    with place.engine() as engine:
        handle = engine.start(total, "chair")
    with pytest.raises(UsageError, match="this engine has been closed: make a new one"):
        getattr(handle, ask)()
    with pytest.raises(UsageError, match="make a new one"):
        handle.signal("go")


def test_closing_twice_is_closing_once(place: Place) -> None:
    engine = place.engine()
    with engine:
        assert engine.run(total, "chair") == Decimal(5)
    engine.close()
    with pytest.raises(UsageError, match="closed"):
        engine.stats()


def test_start_returns_a_handle_with_the_result(place: Place) -> None:
    with place.engine() as engine:
        handle = engine.start(total, "chair", 2)
        assert handle.result(timeout=10) == Decimal(10)
        assert handle.status() is RunStatus.COMPLETED
        assert repr(handle) == f"Handle({handle.id!r})"


def test_a_result_can_be_read_as_often_as_wanted_and_later(place: Place) -> None:
    with place.engine() as engine:
        handle = engine.start(total, "chair", 2)
        assert handle.result(timeout=10) == handle.result(timeout=10) == engine.get(handle.id).result(timeout=10)
    with place.engine() as later:
        assert later.get(handle.id).result(timeout=10) == Decimal(10)


def test_the_same_id_is_the_same_run(place: Place) -> None:
    with place.engine() as engine:
        first = engine.start(wait_for_go.options(id="only"))
        second = engine.start(wait_for_go.options(id="only"))
        first.signal("go", "now")
        assert first.id == second.id == "only"
        assert second.result(timeout=10) == "now"
        assert engine.run(wait_for_go.options(id="only")) == "now"
        assert len(engine.list().runs) == 1


def test_positional_and_keyword_arguments_are_the_same_input(place: Place) -> None:
    with place.engine() as engine:
        assert engine.run(total.options(id="order"), "chair", 2) == Decimal(10)
        assert engine.run(total.options(id="order"), item="chair", pieces=2) == Decimal(10)


def test_an_id_taken_with_another_input_is_refused(place: Place) -> None:
    with place.engine() as engine:
        engine.run(total.options(id="order"), "chair")
        with pytest.raises(RunExistsError, match="'order' exists already with another input"):
            engine.start(total.options(id="order"), "table")
        assert engine.get("order").result(timeout=10) == Decimal(5)


def test_an_id_taken_by_another_workflow_is_refused(place: Place) -> None:
    with place.engine() as engine:
        engine.run(total.options(id="order"), "chair")
        with pytest.raises(RunExistsError, match="another workflow"):
            engine.start(wait_for_go.options(id="order"))


def test_runs_without_an_id_get_one_of_their_own(place: Place) -> None:
    with place.engine() as engine:
        ids = [engine.start(total, "chair").id for _ in range(3)]
    assert len(set(ids)) == 3


def test_an_unknown_id_is_named(place: Place) -> None:
    with place.engine() as engine:
        for ask in (engine.get, engine.history, engine.cancel, engine.resume):
            with pytest.raises(RunNotFoundError, match="no run 'nobody' in namespace 'default'"):
                ask("nobody")


def test_result_gives_up_after_its_timeout_and_the_run_goes_on(place: Place) -> None:
    with place.engine() as engine:
        handle = engine.start(wait_for_go)
        with pytest.raises(ResultTimeoutError, match=r"has no result after 0\.01 s; it goes on"):
            handle.result(timeout=0.01)
        assert not handle.wait(timeout=0.01)
        handle.signal("go", "late")
        assert handle.wait(timeout=10)
        assert handle.result(timeout=10) == "late"


def test_a_result_timeout_can_be_caught_as_the_builtin_one(place: Place) -> None:
    with place.engine() as engine, pytest.raises(TimeoutError):
        engine.start(wait_for_go).result(timeout=0)


def test_wait_does_not_raise_for_a_failed_run(place: Place) -> None:
    with place.engine() as engine:
        handle = engine.start(fail, "no stock")
        assert handle.wait(timeout=10)
        assert handle.status() == "failed"


def test_info_tells_where_a_run_stands(place: Place) -> None:
    before = datetime.now(UTC)
    with place.engine() as engine:
        handle = engine.start(total.options(id="order"), "chair")
        handle.result(timeout=10)
        info = handle.info()
    assert (info.run_id, info.workflow, info.version) == ("order", "total", "1")
    assert (info.status, info.queue, info.owner, info.wake_at) == (RunStatus.COMPLETED, "default", None, None)
    assert before <= info.created_at <= info.updated_at <= datetime.now(UTC)


def test_history_tells_what_happened(place: Place) -> None:
    with place.engine() as engine:
        handle = engine.start(total, "chair")
        handle.result(timeout=10)
        started, completed, ended = handle.history()
        assert engine.history(handle.id) == handle.history()
    assert isinstance(started, RunStarted)
    assert isinstance(completed, StepCompleted)
    assert completed.name == "price"
    assert completed.site.startswith("test_engine_runs.py:")
    assert isinstance(ended, RunCompleted)


def test_waiting_callers_in_several_threads_all_get_the_result(place: Place) -> None:
    results: list[str] = []
    with place.engine() as engine:
        handle = engine.start(wait_for_go)
        waiting = [threading.Thread(target=lambda: results.append(handle.result(timeout=10))) for _ in range(4)]
        for thread in waiting:
            thread.start()
        handle.signal("go", "all")
        for thread in waiting:
            thread.join()
    assert results == ["all"] * 4


@dataclass
class Basket:
    item: str
    pieces: int = 1

    @workflow
    def total(self, discount: Decimal = Decimal(0)) -> Decimal:
        return price(self.item, self.pieces) - discount

    @workflow
    async def total_later(self) -> Decimal:
        return await price.aio(self.item, self.pieces)


def test_a_method_is_a_workflow_whose_self_is_part_of_the_input(place: Place) -> None:
    with place.engine() as engine:
        assert engine.run(Basket("chair", 2).total, discount=Decimal(1)) == Decimal(9)
        assert engine.run(Basket("chair", 2).total_later) == Decimal(10)
        assert engine.run(Basket.total, Basket("table", 2)) == Decimal(10)
        engine.run(Basket("chair", 3).total.options(id="basket"))
        assert engine.run(Basket("chair", 3).total.options(id="basket")) == Decimal(15)
        with pytest.raises(RunExistsError, match="another input"):
            engine.start(Basket("chair", 4).total.options(id="basket"))


def test_a_result_found_again_has_the_type_its_workflow_promises(place: Place) -> None:
    with place.engine() as engine:
        engine.run(total.options(id="typed"), "chair")
    with place.engine(worker=False) as client:
        result = client.get("typed").result(timeout=10)
    assert (result, type(result)) == (Decimal(5), Decimal)


def test_another_version_under_the_same_id_is_another_workflow(place: Place) -> None:
    @workflow(name="versioned run")
    def old() -> int:
        return 1

    @workflow(name="versioned run", version="2")
    def new() -> int:
        return 2

    with place.engine() as engine:
        assert engine.run(old.options(id="one")) == 1
        assert engine.run(new.options(id="two")) == 2
        assert (engine.get("one").info().version, engine.get("two").info().version) == ("1", "2")
        with pytest.raises(RunExistsError, match="another workflow"):
            engine.start(new.options(id="one"))


@pytest.mark.parametrize("name", ["a/b", "50%_off", "O'Brien", 'say "hi"', "日本語", "ordér ✓", "x" * 255, "--"])
def test_ids_and_names_may_be_any_printable_text(place: Place, name: str) -> None:
    @workflow
    def echo() -> str:
        return fluxo.wait_signal(name, str)

    with place.engine(namespace=name, queues=(name,)) as engine:
        handle = engine.start(echo.options(id=name, queue=name))
        handle.signal(name, "heard", key=name)
        assert handle.result(timeout=10) == "heard"
        assert [run.run_id for run in engine.list(queue=name).runs] == [name]
        assert engine.get(name).info().queue == name


@step
def shape(first: int, /, second: int = 2, *rest: int, third: int = 3, **named: int) -> list[int]:
    return [first, second, *rest, third, *named.values()]


@workflow
def shapes(first: int, /, second: int = 2, *rest: int, third: int = 3, **named: int) -> list[list[int]]:
    return [
        shape(first),
        shape(first, second, *rest, third=third, **named),
        shape.submit(first, third=4).result(),
        *shape.map([first], [second]),
    ]


@workflow
async def shapes_later(first: int, /, second: int = 2, *rest: int, third: int = 3, **named: int) -> list[list[int]]:
    return [
        await shape.aio(first),
        await shape.aio(first, second, *rest, third=third, **named),
        await shape.submit(first, third=4),
        *(await shape.aio.map([first], [second])),
    ]


@pytest.mark.parametrize("flow", [shapes, shapes_later], ids=["sync", "async"])
def test_every_kind_of_parameter_arrives_where_it_belongs(place: Place, flow: fluxo.Workflow[..., Any]) -> None:
    with place.engine() as engine:
        assert engine.run(flow, 1) == [[1, 2, 3], [1, 2, 3], [1, 2, 4], [1, 2, 3]]
        assert engine.run(flow, 1, 5, 6, 7, third=8, fourth=9) == [
            [1, 2, 3],
            [1, 5, 6, 7, 8, 9],
            [1, 2, 4],
            [1, 5, 3],
        ]


def test_interrupting_a_caller_of_run_leaves_the_run_to_the_worker(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fluxo.runtime.sync_run.SHUTDOWN_PAUSE_S", 0.001)
    started = threading.Event()

    @workflow
    def busy() -> str:
        if not started.is_set():
            started.set()
            while True:
                pass
        return "done"

    def interrupt() -> None:
        assert started.wait(10)
        os.kill(os.getpid(), signal.SIGINT)

    with place.engine() as engine:
        interrupting = threading.Thread(target=interrupt)
        interrupting.start()
        with pytest.raises(KeyboardInterrupt):
            engine.run(busy.options(id="busy"))
        interrupting.join()
        assert engine.get("busy").result(timeout=10) == "done"
