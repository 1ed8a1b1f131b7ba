"""
Async programs and edits of them; see `tests.e2e.edits`.

Owns: the rows of `tests.e2e.edits_sync` in plain asyncio, and those that only tasks can have. Must not know how they
are checked.
"""

from __future__ import annotations

import asyncio
import random
import time
from typing import Any

import fluxo
from fluxo import Retry
from tests.e2e.edits import (
    HOUR_S,
    add,
    add_async,
    flaky_async,
    reported,
    take_async,
    tolerated,
    unrecorded_async,
)


async def go() -> Any:
    return await fluxo.aio.wait_signal("go")


@reported("arguments, from byte")
async def argument_changed(edited: bool) -> Any:
    await add_async(1)
    return [await add_async(3 if edited else 2), await go()]  # recorded and produced


@reported("arguments, from byte")
async def random_argument(edited: bool) -> Any:
    chance = random if edited else random.Random(1)
    return [await add_async(chance.random()), await go()]  # recorded and produced


@reported("arguments, from byte")
async def wall_clock_in_an_argument(edited: bool) -> Any:
    now_s = time.time() if edited else 5.0
    return [await add_async(now_s), await go()]  # recorded and produced


@reported("arguments, from byte")
async def set_iterated_in_another_order(edited: bool) -> Any:
    numbers = (2, 3, 1) if edited else (1, 2, 3)
    results = await asyncio.gather(*[add_async(number) for number in numbers])  # recorded and produced
    return [results, await go()]


@reported("arguments, from byte")
async def two_of_one_name_swapped_in_sequence(edited: bool) -> Any:
    if edited:
        second = await add_async(2)  # produced
        first = await add_async(1)
    else:
        first = await add_async(1)  # recorded
        second = await add_async(2)
    return [first, second, await go()]


@reported("arguments, from byte")
async def two_of_one_name_swapped_in_parallel(edited: bool) -> Any:
    first, second = (2, 1) if edited else (1, 2)
    results = await asyncio.gather(add_async(first), add.aio(second))  # recorded and produced
    return [results, await go()]


@reported("name: recorded 'edits.add_async', produced 'edits.plus'")
async def step_renamed(edited: bool) -> Any:
    renamed = add_async.options(name="edits.plus") if edited else add_async
    return [await renamed(1), await go()]  # recorded and produced


@reported("kind: recorded step, produced timer")
async def step_became_a_sleep(edited: bool) -> Any:
    await (asyncio.sleep(1) if edited else add_async(1))  # recorded and produced
    return await go()


@reported("kind: recorded step, produced signal")
async def step_became_a_wait(edited: bool) -> Any:
    await (fluxo.aio.wait_signal("other") if edited else add_async(1))  # recorded and produced
    return await go()


@reported("kind: recorded timer, produced step")
async def sleep_became_a_step(edited: bool) -> Any:
    await (take_async(1) if edited else fluxo.aio.sleep(0))  # recorded and produced
    return await go()


@reported("kind: recorded signal, produced timer")
async def wait_became_a_sleep(edited: bool) -> Any:
    await add_async(1)
    return await (asyncio.sleep(1) if edited else fluxo.aio.wait_signal("go"))  # recorded and produced


@reported("name: recorded 'edits.add_async', produced 'edits.take_async'")
async def step_removed_with_others_following(edited: bool) -> Any:
    await add_async(1)
    if not edited:
        await add_async(2)  # recorded
    return [await take_async(3), await go()]  # produced


@reported("the workflow ended before this event", produced="returned")
async def trailing_steps_removed(edited: bool) -> Any:
    first = await add_async(1)
    return [first] if edited else [first, await add_async(2), await add_async(3), await go()]  # recorded


@reported("the workflow ended before this event", produced="returned")
async def wait_removed_at_the_end(edited: bool) -> Any:
    first = await add_async(1)
    return [first] if edited else [first, await fluxo.aio.wait_signal("go")]  # recorded


@reported("the workflow ended before this event")
async def error_raised_early(edited: bool) -> Any:
    first = await add_async(1)
    if edited:
        raise LookupError("a bug in the new code")  # produced
    return [first, await add_async(2), await go()]  # recorded


@reported("name: recorded 'edits.add_async', produced 'edits.take_async'")
async def step_inserted_before_recorded_ones(edited: bool) -> Any:
    if edited:
        await take_async(9)  # produced
    return [await add_async(1), await add_async(2), await go()]  # recorded


@reported("kind: recorded signal, produced step")
async def step_inserted_where_only_a_wait_follows(edited: bool) -> Any:
    await add_async(1)
    if edited:
        await take_async(9)  # produced
    return await fluxo.aio.wait_signal("go")  # recorded


@reported("arguments, from byte")
async def timer_that_fired_changed(edited: bool) -> Any:
    await fluxo.aio.sleep(5 if edited else 0)  # recorded and produced
    return await go()


@reported("arguments, from byte")
async def timer_still_waiting_changed(edited: bool) -> Any:
    await add_async(1)
    await asyncio.sleep(2 * HOUR_S if edited else HOUR_S)  # recorded and produced
    return await go()


@reported("arguments, from byte")
async def timeout_around_a_wait_changed(edited: bool) -> Any:
    async with asyncio.timeout(HOUR_S if edited else 9 * HOUR_S):  # recorded and produced
        return await fluxo.aio.wait_signal("go")


@reported("name: recorded 'go', produced 'other'")
async def awaited_signal_renamed(edited: bool) -> Any:
    return await fluxo.aio.wait_signal("other" if edited else "go")  # recorded and produced


@reported("kind: recorded signal, produced step")
async def map_over_a_longer_list(edited: bool) -> Any:
    results = await add_async.aio.map([1, 2, 3, 4] if edited else [1, 2, 3])  # produced
    return [results, await fluxo.aio.wait_signal("go")]  # recorded


@reported("kind: recorded step, produced signal")
async def map_over_a_shorter_list(edited: bool) -> Any:
    results = await add_async.aio.map([1, 2] if edited else [1, 2, 3])  # recorded
    return [results, await fluxo.aio.wait_signal("go")]  # produced


@reported("the run no longer waits for this")
async def gather_over_a_longer_list(edited: bool) -> Any:
    numbers = [1, 2, 3, 4] if edited else [1, 2, 3]
    results = await asyncio.gather(*[add_async(number) for number in numbers])  # produced
    return [results, await fluxo.aio.wait_signal("go")]  # recorded


@reported("the code did not issue the recorded command")
async def gather_over_a_shorter_list(edited: bool) -> Any:
    numbers = [1, 2] if edited else [1, 2, 3]
    results = await asyncio.gather(*[add_async(number) for number in numbers])  # recorded
    return [results, await fluxo.aio.wait_signal("go")]  # produced


@reported("the recorded run did not wait for this", produced="timer")
async def task_added_beside_a_wait(edited: bool) -> Any:
    await add_async(1)
    beside = asyncio.create_task(asyncio.sleep(HOUR_S)) if edited else None  # produced
    await asyncio.sleep(0)
    answer = await go()
    if beside is not None:
        beside.cancel()
    return answer


@reported("the run no longer waits for this")
async def task_removed_beside_a_wait(edited: bool) -> Any:
    beside = None if edited else asyncio.create_task(asyncio.sleep(HOUR_S))  # recorded
    await add_async(1)
    answer = await fluxo.aio.wait_signal("go")  # produced
    if beside is not None:
        beside.cancel()
    return answer


@reported("the code did not issue the recorded command")
async def sequence_moved_into_a_task(edited: bool) -> Any:
    first = add_async(1)  # recorded and produced
    answer = await asyncio.create_task(first) if edited else await first
    return [answer, await go()]


@reported("arguments, from byte")
async def branches_of_a_task_group_swapped(edited: bool) -> Any:
    async def branch(number: int) -> float:
        return await add_async(number) + await add_async(number + 10)  # recorded and produced

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(branch(number)) for number in ((2, 1) if edited else (1, 2))]
    return [[task.result() for task in tasks], await go()]


@reported("arguments, from byte")
async def argument_of_a_step_that_waits_for_its_retry(edited: bool) -> Any:
    return [await flaky_async(2 if edited else 1), await go()]  # recorded and produced


@tolerated
async def code_after_the_last_event(edited: bool) -> Any:
    answer = [await add_async(1), await go()]
    if edited:
        await asyncio.gather(take_async(2), take_async(3))
    return answer


@tolerated
async def code_between_the_same_steps(edited: bool) -> Any:
    if edited:
        total = await add_async(1)
        await asyncio.sleep(0)
        total += await add_async(2)
    else:
        total = sum([await add_async(1), await add_async(2)])
    await go()
    return total


@tolerated
async def options_of_a_step(edited: bool) -> Any:
    patient = add_async.options(retry=Retry(max_attempts=9), timeout=60) if edited else add_async
    return [await patient(1), await go()]


@tolerated
async def arguments_that_are_not_recorded(edited: bool) -> Any:
    return [await unrecorded_async(2 if edited else 1), await go()]


@tolerated
async def arguments_no_longer_recorded(edited: bool) -> Any:
    recorded = not edited
    first = await add_async.options(record_args=recorded)(1)
    return [first, await flaky_async.options(record_args=recorded)(1), await go()]


@tolerated
async def annotation_of_an_awaited_signal(edited: bool) -> Any:
    return await fluxo.aio.wait_signal("go", str if edited else Any)
