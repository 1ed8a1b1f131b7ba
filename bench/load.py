"""
The workflows that are measured.

Owns: one step and one workflow of each colour that do nothing of their own, so that what is measured is the engine.
Must not know how they are measured. A result has four fields, 56 bytes of JSON; an argument is one integer.
"""

from __future__ import annotations

import time

import msgspec

import fluxo

__all__ = ["Receipt", "acharge", "aorders", "aparked", "astamped", "charge", "orders", "receipt", "stamped"]


class Receipt(msgspec.Struct):
    """What every step returns."""

    id: int
    name: str
    total: float
    tags: list[str]


def receipt(n: int) -> Receipt:
    """The body of every step."""
    return Receipt(n, "order", 1.5, ["a", "b"])


@fluxo.step
def charge(n: int) -> Receipt:
    return Receipt(n, "order", 1.5, ["a", "b"])


@fluxo.step
async def acharge(n: int) -> Receipt:
    return Receipt(n, "order", 1.5, ["a", "b"])


@fluxo.workflow
def orders(steps: int) -> int:
    total = 0
    for n in range(steps):
        total += charge(n).id
    return total


@fluxo.workflow
async def aorders(steps: int) -> int:
    total = 0
    for n in range(steps):
        total += (await acharge(n)).id
    return total


@fluxo.step
def nothing() -> None:
    """Nothing at all."""


@fluxo.step
async def anothing() -> None:
    """Nothing at all."""


@fluxo.step
def stamp(n: int) -> float:
    return time.perf_counter()


@fluxo.step
async def astamp(n: int) -> float:
    return time.perf_counter()


latencies_s: list[float] = []
"""From the end of a step's body to the next line of its workflow, of every step of `stamped` and `astamped`."""


@fluxo.workflow
def stamped(steps: int) -> int:
    for n in range(steps):
        ended_s = stamp(n)
        latencies_s.append(time.perf_counter() - ended_s)
    return steps


@fluxo.workflow
async def astamped(steps: int) -> int:
    for n in range(steps):
        ended_s = await astamp(n)
        latencies_s.append(time.perf_counter() - ended_s)
    return steps


@fluxo.workflow
async def aparked(n: int) -> int:
    await acharge(n)
    answer: int = await fluxo.aio.wait_signal("go", int)
    return answer


@fluxo.workflow
def seen(n: int) -> float:
    """Answers when its worker began it, on the machine's monotonic clock."""
    return stamp(n)


@fluxo.workflow
async def asignalled(n: int) -> float:
    """Answers when its worker had the signal, on the machine's monotonic clock."""
    await fluxo.aio.wait_signal("go", int)
    return await astamp(n)
