"""
The awaitable engine: the same operations on the caller's own loop.

Owns: `async with engine.aio`, where async code runs, and that both spellings offer the same. Must not know replay.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from decimal import Decimal
from typing import Any

import pytest

import fluxo
from fluxo import AsyncEngine, Engine, Handle, ResultTimeoutError, RunFailedError, UsageError, step, workflow
from fluxo.engine.handle import AsyncHandle
from tests.e2e.places import Place


@step
async def fetch(number: int) -> int:
    await asyncio.sleep(0)
    return number * 2


@step
def compute(number: int) -> int:
    return number + 1


@workflow
async def both(number: int) -> int:
    return await compute.aio(await fetch(number))


@workflow
async def approval() -> bool:
    return await fluxo.aio.wait_signal("approved", bool)


@workflow
def blocking_approval() -> bool:
    return fluxo.wait_signal("approved", bool)


@workflow
async def fail_softly() -> None:
    raise LookupError("nothing there")


def public_methods(cls: type) -> dict[str, inspect.Signature]:
    return {
        name: inspect.signature(value)
        for name, value in vars(cls).items()
        if inspect.isfunction(value) and not name.startswith("_")
    }


def parameters(signature: inspect.Signature) -> list[tuple[Any, ...]]:
    return [(p.name, p.kind, p.default, p.annotation) for p in signature.parameters.values()]


@pytest.mark.parametrize("blocking, awaitable", [(Engine, AsyncEngine), (Handle, AsyncHandle)])
def test_every_method_can_be_awaited_with_the_same_arguments(blocking: type, awaitable: type) -> None:
    plain, mirror = public_methods(blocking), public_methods(awaitable)
    assert set(plain) == set(mirror)
    for name, signature in plain.items():
        assert parameters(mirror[name]) == parameters(signature), name
        assert mirror[name].return_annotation == signature.return_annotation, name
        assert inspect.iscoroutinefunction(vars(awaitable)[name]), name


def test_an_async_workflow_runs_its_steps_on_the_callers_loop(place: Place) -> None:
    threads: list[int] = []

    @step
    async def where() -> None:
        threads.append(threading.get_ident())

    @workflow
    async def ask_where() -> None:
        await where()
        await asyncio.gather(where(), where())

    async def main() -> None:
        async with place.engine().aio as engine:
            await engine.run(ask_where)

    asyncio.run(main())
    assert threads == [threading.get_ident()] * 3


def test_sync_steps_stay_off_the_callers_loop(place: Place) -> None:
    threads: list[int] = []

    @step
    def block() -> None:
        threads.append(threading.get_ident())

    @workflow
    async def blocks() -> None:
        await block.aio()

    async def main() -> None:
        async with place.engine().aio as engine:
            await engine.run(blocks)

    asyncio.run(main())
    assert threads != []
    assert threading.get_ident() not in threads


def test_both_colours_of_step_compose_in_an_async_workflow(place: Place) -> None:
    async def main() -> int:
        async with place.engine().aio as engine:
            return await engine.run(both, 20)

    assert asyncio.run(main()) == 41


def test_a_blocking_engine_runs_async_workflows_too(place: Place) -> None:
    with place.engine() as engine:
        assert engine.run(both, 20) == 41
        handles = [engine.start(both, number) for number in range(10)]
        assert [handle.result(timeout=10) for handle in handles] == [2 * number + 1 for number in range(10)]


def test_an_awaitable_engine_runs_sync_workflows_too(place: Place) -> None:
    async def main() -> bool:
        async with place.engine().aio as engine:
            handle = await engine.start(blocking_approval)
            await handle.aio.signal("approved", True)
            return await handle.aio.result(timeout=10)

    assert asyncio.run(main()) is True


def test_the_handle_of_an_awaitable_engine_is_the_same_handle(place: Place) -> None:
    async def main() -> None:
        async with place.engine().aio as engine:
            handle = await engine.start(approval.options(id="one"))
            assert type(handle) is Handle
            assert handle.aio.id == "one"
            assert not await handle.aio.wait(timeout=0.01)
            with pytest.raises(ResultTimeoutError):
                await handle.aio.result(timeout=0.01)
            await engine.signal("one", "approved", True)
            assert await handle.aio.result(timeout=10) is True
            assert await handle.aio.wait(timeout=10)
            assert await handle.aio.status() == "completed"
            assert (await handle.aio.info()).run_id == "one"
            assert await handle.aio.history() == await engine.history("one")
            assert await (await engine.get("one")).aio.result() is True

    asyncio.run(main())


def test_queries_and_control_can_be_awaited(place: Place) -> None:
    async def main() -> None:
        async with place.engine().aio as engine:
            with pytest.raises(RunFailedError) as failed:
                await engine.run(fail_softly.options(id="broken"))
            assert type(failed.value.__cause__) is LookupError
            waiting = await engine.start(approval.options(id="open"))
            page = await engine.list(status="failed")
            assert [run.run_id for run in page.runs] == ["broken"]
            assert (await engine.stats()).runs["failed"] == 1
            assert await engine.cancel("open")
            assert not await waiting.aio.cancel()
            assert await engine.recover() == 0
            await engine.resume("broken")
            assert await (await engine.get("broken")).aio.wait(timeout=10)
            assert await engine.purge(older_than=3600) == 0

    asyncio.run(main())


def test_many_runs_share_one_loop_and_few_commits(place: Place) -> None:
    async def main() -> None:
        async with place.engine().aio as engine:
            results = await asyncio.gather(*(engine.run(both, number) for number in range(50)))
            stats = await engine.stats()
        assert results == [2 * number + 1 for number in range(50)]
        assert stats.commits < stats.appends / 2

    asyncio.run(main())


def test_a_blocking_call_on_the_engines_own_loop_raises_instead_of_dead_locking(place: Place) -> None:
    async def main() -> None:
        engine = place.engine()
        async with engine.aio as awaitable:
            handle = await awaitable.start(approval)
            with pytest.raises(UsageError, match=r"await engine\.aio\.run\(\.\.\.\) instead"):
                engine.run(both, 1)
            with pytest.raises(UsageError, match=r"await handle\.aio\.result\(\.\.\.\) instead"):
                handle.result()
            with pytest.raises(UsageError, match=r"await handle\.aio\.wait\(\.\.\.\) instead"):
                handle.wait()
            with pytest.raises(UsageError, match=r"await engine\.aio\.close\(\.\.\.\) instead"):
                engine.close()
            await awaitable.signal(handle.id, "approved", True)
            assert await handle.aio.result(timeout=10)

    asyncio.run(main())


def test_other_loops_and_threads_may_wait_for_the_same_run(place: Place) -> None:
    with place.engine() as engine:
        handle = engine.start(approval)

        async def wait_elsewhere() -> bool:
            asyncio.get_running_loop().call_later(0, handle.signal, "approved", True)
            return await handle.aio.result(timeout=10)

        assert asyncio.run(wait_elsewhere()) is True
        assert handle.result(timeout=10) is True


def test_an_engine_in_use_cannot_move_to_a_loop(place: Place) -> None:
    async def main() -> None:
        with place.engine() as engine, pytest.raises(UsageError, match="open already"):
            async with engine.aio:
                raise AssertionError("entered")

    asyncio.run(main())


def test_cancelling_who_waits_does_not_cancel_the_run(place: Place) -> None:
    async def main() -> None:
        async with place.engine().aio as engine:
            handle = await engine.start(approval)
            waiting = asyncio.create_task(handle.aio.result())
            await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            await handle.aio.signal("approved", True)
            assert await handle.aio.result(timeout=10) is True

    asyncio.run(main())


def test_decimals_and_other_results_are_equal_in_both_spellings(place: Place) -> None:
    @workflow
    async def change() -> Decimal:
        return Decimal("1.10")

    async def main(engine: Engine) -> Decimal:
        return await engine.aio.run(change)

    with place.engine() as engine:
        assert engine.run(change) == asyncio.run(main(engine)) == Decimal("1.10")
