"""
The wrong spelling of the right name.

Owns: that each is refused, by an error that names the right one. Must not know why it would be wrong.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from typing import Any

import pytest

import fluxo
from fluxo import RunFailedError, UsageError, step, workflow
from tests.e2e.places import Place


@step
def plain_step() -> int:
    return 1


@step
async def async_step() -> int:
    return 1


@workflow
def other_workflow() -> int:
    return 1


@workflow
async def other_async_workflow() -> int:
    return 1


SYNC: dict[str, tuple[Callable[[], Any], str]] = {
    "an async step called bare": (async_step, r"async_step\.submit\(\.\.\.\)\.result\(\)"),
    "a sync step's aio": (plain_step.aio, r"call plain_step\(\.\.\.\) here"),
    "aio.sleep": (lambda: asyncio.run(fluxo.aio.sleep(1)), r"use fluxo\.sleep here"),
    "aio.sleep_until": (lambda: asyncio.run(fluxo.aio.sleep_until(fluxo.now())), r"use fluxo\.sleep here"),
    "aio.wait_signal": (lambda: asyncio.run(fluxo.aio.wait_signal("go")), r"use fluxo\.wait_signal here"),
    "aio.wait_any_signal": (lambda: asyncio.run(fluxo.aio.wait_any_signal("go")), r"use fluxo\.wait_signal here"),
    "aio.wait": (lambda: asyncio.run(fluxo.aio.wait([])), r"use fluxo\.wait_any here"),
    "aio.signal": (lambda: fluxo.aio.signal("run", "go"), r"call fluxo\.signal\(\.\.\.\) here"),
    "awaiting a future": (lambda: plain_step.submit().__await__().__next__(), r"use \.result\(\)"),
    "a workflow in a workflow": (other_workflow, "child runs do not exist yet; make it a step"),
    "a resource": (lambda: fluxo.resource("db"), r"fluxo\.resource\('db'\) is for steps"),
    "wait_any of nothing": (fluxo.wait_any, "at least one future"),
}


async def awaited(make: Callable[[], Any]) -> Any:
    made = make()
    return await made


ASYNC: dict[str, tuple[Callable[[], Any], str]] = {
    "a sync step called bare": (plain_step, r"await plain_step\.aio\(\.\.\.\)"),
    "sleep": (lambda: fluxo.sleep(1), r"await asyncio\.sleep or fluxo\.aio\.sleep"),
    "sleep_until": (lambda: fluxo.sleep_until(fluxo.now()), r"fluxo\.aio\.sleep"),
    "wait_signal": (lambda: fluxo.wait_signal("go"), r"await fluxo\.aio\.wait_signal"),
    "wait_any_signal": (lambda: fluxo.wait_any_signal("go"), r"await fluxo\.aio\.wait_signal"),
    "signal": (lambda: fluxo.signal("run", "go"), r"await fluxo\.aio\.signal"),
    "wait_any": (lambda: fluxo.wait_any(plain_step.submit()), r"await fluxo\.aio\.wait"),
    "result of an open future": (lambda: plain_step.submit().result(), "await the future instead"),
    "exception of an open future": (lambda: plain_step.submit().exception(), "await the future before"),
    "gather": (lambda: fluxo.gather(async_step.submit()), "await the future instead"),
    "map": (lambda: plain_step.map([1]), r"await plain_step\.aio\.map\(\.\.\.\)"),
    "map of an async step": (lambda: async_step.map([1]), r"await async_step\.aio\.map\(\.\.\.\)"),
    "shield": (lambda: fluxo.shield().__enter__(), r"use asyncio\.shield"),
    "a workflow in a workflow": (lambda: awaited(other_async_workflow), "child runs do not exist yet"),
    "a resource": (lambda: fluxo.resource("db"), "is for steps"),
    "a thread": (lambda: asyncio.to_thread(plain_step), r"put the call into a @step and await it"),
}


@pytest.mark.parametrize("wrong", SYNC)
def test_in_a_sync_workflow_each_is_refused_and_the_right_one_named(memory_place: Place, wrong: str) -> None:
    call, right = SYNC[wrong]

    @workflow
    def misspelt() -> None:
        call()

    with memory_place.engine() as engine, pytest.raises(RunFailedError, match=right) as failed:
        engine.run(misspelt)
    assert type(failed.value.__cause__) is UsageError


@pytest.mark.parametrize("wrong", ASYNC)
def test_in_an_async_workflow_each_is_refused_and_the_right_one_named(memory_place: Place, wrong: str) -> None:
    call, right = ASYNC[wrong]

    @workflow
    async def misspelt() -> None:
        made = call()
        if asyncio.iscoroutine(made):
            await made

    with memory_place.engine() as engine, pytest.raises(RunFailedError, match=right) as failed:
        engine.run(misspelt)
    assert type(failed.value.__cause__) is UsageError


def test_a_step_called_from_a_thread_of_the_workflow_is_refused(memory_place: Place) -> None:
    errors: list[Exception] = []

    @workflow
    def threaded() -> None:
        def call() -> None:
            try:
                plain_step()
            except UsageError as error:
                errors.append(error)

        thread = threading.Thread(target=contextvars.copy_context().run, args=(call,))
        thread.start()
        thread.join()

    with memory_place.engine() as engine:
        engine.run(threaded)
    (error,) = errors
    assert "use step.submit(...) to run them in parallel" in str(error)


@pytest.mark.parametrize(
    "wrong, right",
    [
        (lambda: fluxo.wait_signal("go"), "a step cannot wait for a signal"),
        (lambda: fluxo.wait_any_signal("go"), "a step cannot wait for a signal"),
        (async_step.submit, "await it"),
    ],
)
def test_in_a_step_what_belongs_in_the_workflow_is_refused(
    memory_place: Place, wrong: Callable[[], Any], right: str
) -> None:
    @step
    def misplaced() -> None:
        wrong()

    @workflow
    def calls_it() -> None:
        misplaced()

    with memory_place.engine() as engine, pytest.raises(RunFailedError, match=right):
        engine.run(calls_it)


@pytest.mark.parametrize("ask", ["result", "wait", "status", "info", "history", "cancel", "resume"])
def test_a_handle_is_not_to_be_asked_inside_a_workflow(memory_place: Place, ask: str) -> None:
    engine = memory_place.engine()

    @workflow
    def asks() -> None:
        getattr(handle, ask)()

    @workflow
    async def asks_later() -> None:
        await getattr(handle.aio, ask)()

    with engine:
        handle = engine.start(other_workflow)
        handle.result(timeout=10)
        for flow in (asks, asks_later):
            with pytest.raises(RunFailedError, match=r"must not be called inside a workflow.*call it in a step"):
                engine.start(flow).result(timeout=10)  # type: ignore[call-overload]


@pytest.mark.parametrize(
    "ask",
    [
        lambda engine: engine.get("x"),
        lambda engine: engine.list(),
        lambda engine: engine.signal("x", "go"),
        lambda engine: engine.cancel("x"),
        lambda engine: engine.history("x"),
        lambda engine: engine.stats(),
        lambda engine: engine.purge(older_than=1),
        lambda engine: engine.recover(),
        lambda engine: engine.start(other_workflow),
        lambda engine: engine.run(other_workflow),
    ],
)
def test_an_awaitable_engine_is_not_to_be_asked_inside_a_workflow(
    memory_place: Place, ask: Callable[[Any], Any]
) -> None:
    engine = memory_place.engine()

    @workflow
    async def asks() -> None:
        await ask(engine.aio)

    with engine:
        handle = engine.start(asks)
        with pytest.raises(RunFailedError, match=r"must not be called inside a workflow.*call it in a step"):
            handle.result(timeout=10)


def test_what_is_no_workflow_cannot_be_started(memory_place: Place) -> None:
    def bare() -> None: ...

    with memory_place.engine() as engine:
        for wrong in (bare, plain_step, "name", None):
            with pytest.raises(UsageError, match="only functions decorated with @workflow can be started"):
                engine.start(wrong)  # type: ignore[call-overload]


@pytest.mark.parametrize(
    "setting, message",
    [
        ({"concurrency": 0}, "concurrency must be a whole number from 1"),
        ({"concurrency": True}, "concurrency must be"),
        ({"queues": "default"}, r"queues must be a sequence of names: \('default',\)"),
        ({"queues": ("",)}, "queue '' is not usable"),
        ({"namespace": " "}, "namespace ' ' is not usable"),
        ({"lease": 0}, "lease must be more than zero"),
        ({"lease": -1}, "lease must be zero or more"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused_when_the_engine_is_made(
    setting: dict[str, Any], message: str
) -> None:
    with pytest.raises(fluxo.ConfigurationError, match=message):
        fluxo.Engine("memory://", **setting)
