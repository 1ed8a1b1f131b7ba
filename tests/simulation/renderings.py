"""
Programs as workflows: the same program, sync and async.

Owns: two interpreters that call steps. Must not know the oracle. See `tests.simulation.programs` for what a program is.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

import fluxo
from fluxo import Retry, SignalTimeoutError, step, workflow
from tests.simulation.programs import ATTEMPTS, CUT_SHORT, HUGE, MODULUS, TIMED_OUT, Program, computed, weighted

_RETRY = Retry(max_attempts=ATTEMPTS, initial=0.5, multiplier=2.0)


@step(name="programs.calculate")
def calculate(n: int, before: int) -> int:
    return computed(n, before)


@step(name="programs.calculate_async")
async def calculate_async(n: int, before: int, after_s: float = 0.0) -> int:
    if after_s:
        await asyncio.sleep(after_s)
    return computed(n, before)


@step(name="programs.stumble", retry=_RETRY)
def stumble(n: int, before: int, times: int) -> int:
    if fluxo.info().attempt <= times:
        raise ConnectionError("stumbled")
    return computed(n, before)


@step(name="programs.stumble_async", retry=_RETRY)
async def stumble_async(n: int, before: int, times: int) -> int:
    if fluxo.info().attempt <= times:
        raise ConnectionError("stumbled")
    return computed(n, before)


@step(name="programs.fail")
def fail(n: int) -> int:
    raise ValueError(n)


@step(name="programs.write_at_length")
def write_at_length(n: int) -> str:
    return "x" * HUGE


@workflow(name="programs.sync")
def sync_program(program: str, start: int) -> int:
    return _play(json.loads(program), start)


@workflow(name="programs.async")
async def async_program(program: str, start: int) -> int:
    return await _play_async(json.loads(program), start)


def _play(program: Program, before: int) -> int:  # noqa: C901 - one case per kind of block
    match program:
        case ["sleep", seconds]:
            fluxo.sleep(seconds)
            return before
        case ["signal", name, seconds]:
            try:
                return fluxo.wait_signal(name, int, timeout=seconds)
            except SignalTimeoutError:
                return TIMED_OUT
        case ["seq", programs]:
            for part in programs:
                before = _play(part, before)
            return before
        case ["loop", body]:
            for _ in range(before % 3):
                before = _play(body, before)
            return before
        case ["gather", leaves]:
            return weighted(fluxo.gather(*[_submit(leaf, before) for leaf in leaves]))
        case ["race", leaves]:
            return fluxo.wait_any(*[_submit(leaf, before) for leaf in leaves]).result()
        case ["map", count]:
            return weighted(calculate.map(list(range(count)), [before] * count))
        case ["try", body, handler]:
            try:
                return _play(body, before)
            except (ValueError, ConnectionError):
                return _play(handler, before)
        case ["finally", body, last]:
            try:
                return _play(body, before)
            finally:
                _play(last, before)
        case ["timeout", _, body]:
            return _play(body, before)
        case ["huge", n]:
            return len(write_at_length(n)) % MODULUS
        case _:
            return _leaf(program, before)


def _leaf(leaf: Program, before: int) -> int:
    match leaf:
        case ["flaky", n, times]:
            return stumble(n, before, times)
        case ["fails", n]:
            return fail(n)
        case _:
            return calculate(leaf[1], before)


def _submit(leaf: Program, before: int) -> Any:
    match leaf:
        case ["flaky", n, times]:
            return stumble.submit(n, before, times)
        case ["fails", n]:
            return fail.submit(n)
        case ["huge", _]:
            # Told apart from a number only when it is looked at, so its length stands for it here.
            return calculate.submit(HUGE % MODULUS, 0)
        case _:
            return calculate.submit(leaf[1], before)


async def _play_async(program: Program, before: int) -> int:  # noqa: C901 - one case per kind of block
    match program:
        case ["sleep", seconds]:
            await asyncio.sleep(seconds)
            return before
        case ["signal", name, seconds]:
            try:
                return await fluxo.aio.wait_signal(name, int, timeout=seconds)
            except SignalTimeoutError:
                return TIMED_OUT
        case ["seq", programs]:
            for part in programs:
                before = await _play_async(part, before)
            return before
        case ["loop", body]:
            for _ in range(before % 3):
                before = await _play_async(body, before)
            return before
        case ["gather", leaves]:
            return weighted(await asyncio.gather(*[_leaf_async(leaf, before) for leaf in leaves]))
        case ["race", leaves]:
            return await _race(leaves, before)
        case ["map", count]:
            return weighted(await calculate_async.aio.map(list(range(count)), [before] * count))
        case ["try", body, handler]:
            try:
                return await _play_async(body, before)
            except (ValueError, ConnectionError):
                return await _play_async(handler, before)
        case ["finally", body, last]:
            try:
                return await _play_async(body, before)
            finally:
                await _play_async(last, before)
        case ["timeout", seconds, body]:
            return await _in_time(seconds, body, before)
        case _:
            return await _leaf_async(program, before)


async def _in_time(seconds: float, body: Program, before: int) -> int:
    try:
        async with asyncio.timeout(seconds):
            return await _play_async(body, before)
    except TimeoutError:
        return CUT_SHORT


async def _race(leaves: list[Program], before: int) -> int:
    tasks = [asyncio.ensure_future(_leaf_async(leaf, before)) for leaf in leaves]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)  # noqa: TID251 - only the list is looked at
    winner = next(task for task in tasks if task.done())
    for task in tasks:
        if not task.done():
            task.cancel()
        elif task is not winner:
            task.exception()
    return winner.result()


async def _leaf_async(leaf: Program, before: int) -> int:
    match leaf:
        case ["flaky", n, times]:
            return await stumble_async(n, before, times)
        case ["fails", n]:
            return await fail.aio(n)
        case ["huge", n]:
            return len(await write_at_length.aio(n)) % MODULUS
        case ["slow", n, seconds]:
            return await calculate_async(n, before, seconds)
        case _:
            return await calculate_async(leaf[1], before)
