"""
Plain asyncio programs about tasks: starting, awaiting, cancelling and naming them.

Owns: these programs. Must not know how they are replayed.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import fluxo
from tests.e2e.asyncio_programs import (
    ANYTHING,
    FOR_EVER_S,
    called_by,
    caller,
    echo,
    in_a_thread,
    never,
    program,
    refuse,
    slowly,
    third_time,
    twice,
)


@program([1, 2, 3, 4])
async def gather() -> list[Any]:
    return list(await asyncio.gather(echo(1), slowly(2), in_a_thread.aio(3), echo(4)))


@program(["1", "ValueError('no')", "3"])
async def gather_with_errors() -> list[str]:
    results = await asyncio.gather(echo(1), refuse("no"), echo(3), return_exceptions=True)
    return [repr(result) for result in results]


@program(["no", "after"])
async def first_error_of_a_gather() -> list[str]:
    seen: list[str] = []
    try:
        await asyncio.gather(echo(1), refuse("no"), never())
    except ValueError as error:
        seen.append(str(error))
    seen.append(await echo("after"))
    return seen


@program(["*", "*l", "*ll", "*lll", "*llr", "*lr", "*lrl", "*lrr", "*r", "*rl", "*rll", "*rlr", "*rr", "*rrl", "*rrr"])
async def nested_tasks() -> list[Any]:
    async def branch(depth: int, path: str) -> list[Any]:
        own = [await echo(path)]
        if depth:
            children = (branch(depth - 1, f"{path}{side}") for side in "lr")
            for part in await asyncio.gather(*children):
                own += part
        return own

    return await branch(3, "*")


@program([0, 2, 4, 6, 8])
async def task_group() -> list[int]:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(twice(number)) for number in range(5)]
    return [task.result() for task in tasks]


@program(ANYTHING)
async def aborted_task_group_after_steps_in_a_task() -> list[int]:
    """Abort iterates a set of tasks: each task's cleanup shows the order."""
    seen: list[int] = []

    async def some_steps() -> None:
        for number in range(5):
            await echo(number)

    async def pending(number: int) -> None:
        try:
            await asyncio.sleep(FOR_EVER_S)
        finally:
            seen.append(number)
            await echo(number)

    await asyncio.create_task(some_steps())
    with suppress(BaseExceptionGroup):
        async with asyncio.TaskGroup() as group:
            for number in range(40):
                group.create_task(pending(number))
            group.create_task(refuse("abort"))
    return seen


@program([True, "kept"])
async def shielded_step() -> list[Any]:
    seen: list[Any] = []
    inner = asyncio.ensure_future(slowly("kept"))

    async def impatient() -> None:
        await asyncio.shield(inner)

    outer = asyncio.create_task(impatient())
    await asyncio.sleep(0)
    outer.cancel()
    with suppress(asyncio.CancelledError):
        await outer
    seen.append(outer.cancelled())
    seen.append(await inner)
    return seen


@program(["cleaned up", "cancelled: enough"])
async def cancelled_task() -> list[str]:
    seen: list[str] = []

    async def worker() -> None:
        try:
            await never()
        except asyncio.CancelledError:
            seen.append(await echo("cleaned up"))
            raise

    task = asyncio.create_task(worker())
    await echo("meanwhile")
    task.cancel("enough")
    try:
        await task
    except asyncio.CancelledError as error:
        seen.append(f"cancelled: {error}")
    return seen


@program(["done", False])
async def task_that_refuses_to_be_cancelled() -> list[Any]:
    async def stubborn() -> str:
        while True:
            try:
                return await slowly("done")  # type: ignore[no-any-return]
            except asyncio.CancelledError:
                continue

    task = asyncio.create_task(stubborn())
    await asyncio.sleep(0)
    task.cancel()
    return [await task, task.cancelled()]


@program(ANYTHING)
async def wait_first_completed() -> list[Any]:
    seen: list[Any] = []
    pending = {asyncio.create_task(steps(number), name=f"{number}") for number in range(12)}
    while pending:
        done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        seen.append([task.get_name() for task in done])
    return seen


async def steps(number: int) -> None:
    for _ in range(number % 4):
        await echo(number)


@program([0, 2, 4, 6, 8, 10, 12, 14, 16, 18])
async def as_completed_of_tasks() -> list[Any]:
    tasks = [asyncio.create_task(twice(number)) for number in range(10)]
    return [await first for first in asyncio.as_completed(tasks)]


@program(["Task-2", "Task-3", "Task-4", "Task-5"])
async def names_of_tasks() -> list[str]:
    async def own_name() -> str:
        await echo(1)
        task = asyncio.current_task()
        assert task is not None
        return task.get_name()

    first = await asyncio.create_task(own_name())
    return [first, *await asyncio.gather(*(own_name() for _ in range(3)))]


@program(["left", "left", "right", "right", "main", "main"])
async def context_variables() -> list[str]:
    async def branch(name: str) -> list[str]:
        caller.set(name)
        inner = await asyncio.create_task(called_by())
        return [await called_by(), inner]

    caller.set("main")
    parts = await asyncio.gather(branch("left"), branch("right"))
    return [*parts[0], *parts[1], await called_by(), caller.get()]


@program(ANYTHING)
async def seeded_chance() -> list[str]:
    async def draws(count: int) -> list[str]:
        drawn = [f"{fluxo.random().random():.6f}"]
        for number in range(count):
            await echo(number)
            drawn += [f"{fluxo.random().random():.6f}", str(fluxo.uuid4())]
        return drawn

    parts = await asyncio.gather(draws(1), draws(2))
    return [*parts[0], *parts[1], *await draws(1)]


@program([True, [0, 1, 2, 3], 0, [True, True, True, True]])
async def submitted_steps() -> list[Any]:
    futures = [slowly.submit(number) for number in range(4)]
    first = await fluxo.aio.wait(futures, count=2)
    rest = [await future async for future in fluxo.aio.as_completed(futures)]
    return [len(first) >= 2, sorted(rest), await futures[0], [future.done() for future in futures]]


@program([[0, 1, 2, 3, 4, 5], ["a", "b", "c"]])
async def mapped_steps() -> list[Any]:
    return [await in_a_thread.aio.map(range(6), concurrency=2), await echo.aio.map("abc")]


@program(["a", "b", "c"], sleeps=True)
async def retried_beside_others() -> list[Any]:
    return list(await asyncio.gather(third_time("a"), echo("b"), third_time("c")))
