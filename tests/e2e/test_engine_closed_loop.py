"""
A host loop that is closed while steps run on it: nothing is recorded, and the run goes on elsewhere.

Owns: the two places where an async step's body is awaited. Must not know how a loop comes to be closed like that (an
application that stops its loop without cancelling what is on it). Found by the simulation, whose processes die so.
"""

from __future__ import annotations

import asyncio
import contextvars
from typing import Any

import pytest

from fluxo import Engine, MemoryStore, step, workflow
from fluxo.model.events import StepFailed

begun: list[str] = []
ends = {"wait": True}


@step(name="closed.long")
async def long(label: str) -> str:
    begun.append(label)
    if ends["wait"]:
        await asyncio.Event().wait()
    return label


@workflow(name="closed.alone")
async def alone() -> str:
    return await long("alone")


@workflow(name="closed.together")
async def together() -> list[str]:
    return await asyncio.gather(long("first"), long("second"))


@pytest.mark.parametrize("flow, bodies", [(alone, 1), (together, 2)])
def test_a_step_whose_loop_is_closed_has_no_outcome(flow: Any, bodies: int) -> None:
    begun.clear()
    ends["wait"] = True
    store = MemoryStore()
    loop = asyncio.new_event_loop()
    engine = Engine(store)

    async def until_begun() -> None:
        await engine.aio.__aenter__()
        await engine.aio.start(flow.options(id="closed"))
        while len(begun) < bodies:  # noqa: ASYNC110 - what is waited for happens on another thread or task
            await asyncio.sleep(0)
        await asyncio.sleep(0)

    loop.run_until_complete(until_begun())
    for task in asyncio.all_tasks(loop):
        task._log_destroy_pending = False  # type: ignore[attr-defined]
        coro: Any = task.get_coro()
        contextvars.copy_context().run(coro.close)
    loop.close()
    run = store.get("default", "closed")
    assert run is not None
    kinds = [type(event) for event in engine.history("closed")]
    assert StepFailed not in kinds
    engine.close(drain=False)
    ends["wait"] = False
    with Engine(store) as other:
        assert other.get("closed").result(30) in ("alone", ["first", "second"])
