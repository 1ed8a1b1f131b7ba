"""
Workflows that users might write, good ones and bad ones, for the tests of `fluxo.testing`.

Owns: one workflow per property that a check must confirm or refute. They stand at module level so that another process
can import them.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from dataclasses import dataclass
from datetime import timedelta

import fluxo
from fluxo import Retry, SignalTimeoutError, step, workflow


@dataclass
class Order:
    id: str
    lines: list[int]


@step
def price(line: int) -> int:
    return line * 3


@step
async def fetch(line: int) -> int:
    return line + 1


@step(retry=Retry(max_attempts=3, initial=60.0))
def fragile(line: int) -> int:
    return line


@step
def refund(line: int) -> int:
    return -line


@workflow
def ten_steps(start: int) -> int:
    for _ in range(10):
        start = price(start) % 1000
    return start


@workflow
async def gathered(start: int) -> int:
    first = await fetch(start)
    second, third = await asyncio.gather(fetch(first), fetch(first + 1))
    await asyncio.sleep(60)
    return second * third


@workflow
async def first_of_two(start: int) -> int:
    tasks = [asyncio.ensure_future(fetch(n)) for n in (start, start + 10)]
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)  # noqa: TID251 - users may
    return min(task.result() for task in done)


@workflow
def order_total(order: Order, discount: int = 0) -> int:
    prices = price.map(order.lines)
    fluxo.sleep(timedelta(days=3))
    return sum(prices) - discount


@workflow
def approved(start: int) -> str:
    price(start)
    try:
        return fluxo.wait_signal("approval", str, timeout=timedelta(hours=1))
    except SignalTimeoutError:
        refund(start)
        return "expired"


@workflow
def patient(start: int) -> int:
    return fluxo.wait_signal("go", int) + price(start)


@workflow
def compensated(start: int) -> int:
    try:
        return fragile(start)
    except ConnectionError:
        refund(start)
        raise


@workflow
def coin(start: int) -> int:
    if random.random() < 0.5:  # noqa: TID251 - what the check must find
        return price(start)
    return refund(start)


@workflow
def wall_clock(start: int) -> int:
    return price(int(time.time()))  # noqa: TID251 - what the check must find


@workflow
def ordered_by_hash(start: int) -> int:
    for word in {"one", "two", "three", "four", "five"}:
        start += price(len(word) + ord(word[1]))
    return start


@workflow
def reads_environment(start: int) -> int:
    return price(len(os.environ["TZ"]) if "TZ" in os.environ else start)


counted: list[int] = []


@workflow
def remembers(start: int) -> int:
    counted.append(start)
    return price(start + len(counted))


@workflow
def result_by_chance(start: int) -> float:
    price(start)
    return random.random()  # noqa: TID251 - what the check must find
