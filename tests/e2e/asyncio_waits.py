"""
Plain asyncio programs about waiting: timers, locks, queues, events, callbacks.

Owns: these programs. Must not know how they are replayed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

import fluxo
from tests.e2e.asyncio_programs import HOUR_S, echo, never, program, slowly


@program(["too late", "after"], sleeps=True)
async def timeout_that_fires() -> list[str]:
    seen: list[str] = []
    try:
        async with asyncio.timeout(HOUR_S):
            await never()
    except TimeoutError:
        seen.append("too late")
    seen.append(await echo("after"))
    return seen


@program([1, 2, False, 3])
async def timeout_that_does_not_fire() -> list[Any]:
    async with asyncio.timeout(HOUR_S) as bound:
        first = await echo(1)
        bound.reschedule(asyncio.get_running_loop().time() + 2 * HOUR_S)
        second = await slowly(2)
    return [first, second, bound.expired(), await echo(3)]


@program(["inner", "outer"], sleeps=True)
async def nested_timeouts() -> list[str]:
    seen: list[str] = []
    try:
        async with asyncio.timeout(HOUR_S):
            try:
                async with asyncio.timeout(HOUR_S / 2):
                    await never()
            except TimeoutError:
                seen.append(await echo("inner"))
            await never()
    except TimeoutError:
        seen.append(await echo("outer"))
    return seen


@program(["after"], sleeps=True)
async def wait_for_that_times_out() -> list[str]:
    seen: list[str] = []
    with suppress(TimeoutError):
        await asyncio.wait_for(never(), HOUR_S)
    seen.append(await echo("after"))
    return seen


@program([1, 2])
async def wait_for_that_does_not() -> list[Any]:
    return [await asyncio.wait_for(slowly(1), HOUR_S), await echo(2)]


@program([5, 4, 3, 2, 1, 0], sleeps=True)
async def sleepers() -> list[int]:
    woken: list[int] = []

    async def sleeper(number: int) -> None:
        await asyncio.sleep(HOUR_S / (number + 1))
        woken.append(number)

    await asyncio.gather(*(sleeper(number) for number in range(6)), asyncio.sleep(HOUR_S), fluxo.aio.sleep(1))
    return woken


@program([0, 1, 2, 3])
async def event() -> list[Any]:
    seen: list[Any] = []
    opened = asyncio.Event()

    async def waiter(number: int) -> None:
        await opened.wait()
        seen.append(await echo(number))

    waiters = [asyncio.create_task(waiter(number)) for number in range(4)]
    await slowly("before")
    opened.set()
    await asyncio.gather(*waiters)
    return seen


@program([["a", 0], ["b", 1], ["c", 2], ["a", 3], ["b", 4], ["c", 5], ["a", 6], ["b", 7]])
async def queue() -> list[Any]:
    seen: list[Any] = []
    jobs: asyncio.Queue[int] = asyncio.Queue(maxsize=2)

    async def consume(name: str) -> None:
        while True:
            job = await jobs.get()
            seen.append((name, await echo(job)))
            jobs.task_done()

    consumers = [asyncio.create_task(consume(name)) for name in "abc"]
    for job in range(8):
        await jobs.put(job)
    await jobs.join()
    for consumer in consumers:
        consumer.cancel()
    await asyncio.gather(*consumers, return_exceptions=True)
    return [[name, job] for name, job in seen]


@program([["in", 0], ["out", 0], ["in", 1], ["out", 1], ["in", 2], ["out", 2], ["in", 3], ["out", 3]])
async def lock() -> list[Any]:
    seen: list[Any] = []
    mutex = asyncio.Lock()

    async def guarded(number: int) -> None:
        async with mutex:
            seen.append(("in", number))
            await slowly(number)
            seen.append(("out", number))

    await asyncio.gather(*(guarded(number) for number in range(4)))
    return [list(fact) for fact in seen]


@program([1, 2, 3, 3, 3, 3, 3, 3, 3])
async def semaphore() -> list[int]:
    inside = 0
    most: list[int] = []
    places = asyncio.Semaphore(3)

    async def bounded(number: int) -> None:
        nonlocal inside
        async with places:
            inside += 1
            most.append(inside)
            await slowly(number)
            inside -= 1

    await asyncio.gather(*(bounded(number) for number in range(9)))
    return most


@program([0, 1, 2, "woken 0", "woken 1", "woken 2", "through 2", "through 0", "through 1"])
async def condition_and_barrier() -> list[Any]:
    seen: list[Any] = []
    changed = asyncio.Condition()
    barrier = asyncio.Barrier(3)

    async def wait_for_three(number: int) -> None:
        async with changed:
            await changed.wait_for(lambda: len(seen) >= 3)
            seen.append(f"woken {number}")
        await barrier.wait()
        seen.append(await echo(f"through {number}"))

    waiters = [asyncio.create_task(wait_for_three(number)) for number in range(3)]
    for number in range(3):
        value = await echo(number)
        async with changed:
            seen.append(value)
            changed.notify_all()
    await asyncio.gather(*waiters)
    return seen


@program(["soon", "at once", "step", "at", "late"], sleeps=True)
async def callbacks() -> list[str]:
    seen: list[str] = []
    loop = asyncio.get_running_loop()
    finished = loop.create_future()
    loop.call_later(HOUR_S, seen.append, "late")
    loop.call_at(loop.time() + HOUR_S / 2, seen.append, "at")
    loop.call_later(HOUR_S / 4, seen.append, "never").cancel()
    loop.call_soon(seen.append, "soon")
    loop.call_later(0, seen.append, "at once")
    loop.call_later(HOUR_S * 1.5, finished.set_result, None)
    seen.append(await echo("step"))
    await finished
    return seen


@program(["open a", "open b", 0, 1, 2, "close b", "close a"])
async def generators_and_contexts() -> list[Any]:
    seen: list[Any] = []

    async def numbers() -> AsyncIterator[int]:
        for number in range(3):
            yield await echo(number)

    @asynccontextmanager
    async def opened(name: str) -> AsyncIterator[str]:
        yield await echo(f"open {name}")
        seen.append(await echo(f"close {name}"))

    async with AsyncExitStack() as stack:
        seen += [await stack.enter_async_context(opened(name)) for name in "ab"]
        seen += [number async for number in numbers()]
    return seen


@program([0, 1, "closed", "between", "after"])
async def generator_left_unfinished() -> list[Any]:
    """Its cleanup is a task of its own, started where it was left."""
    seen: list[Any] = []

    async def numbers() -> AsyncIterator[int]:
        try:
            for number in range(5):
                yield await echo(number)
        finally:
            seen.append(await echo("closed"))

    async for number in numbers():
        seen.append(number)
        if number == 1:
            break
    seen.append(await slowly("between"))
    await asyncio.sleep(0.001)
    return [*seen, await echo("after")]


@program(["told yes", "yes"])
async def hand_made_future() -> list[str]:
    seen: list[str] = []
    answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    answer.add_done_callback(lambda future: seen.append(f"told {future.result()}"))

    async def give() -> None:
        answer.set_result(await slowly("yes"))

    giver = asyncio.create_task(give())
    seen.append(await answer)
    await giver
    return seen
