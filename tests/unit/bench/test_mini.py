"""
The mini engine is an engine: it records, it replays, it notices.

Owns: that the floor fluxo is measured against does what it claims. Must not know fluxo.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from bench.mini import DivergenceError, MiniRun, astep, execute, execute_async, step

executed: list[int] = []


@step
def double(n: int) -> int:
    executed.append(n)
    return 2 * n


@step
def triple(n: int) -> int:
    return 3 * n


@astep
async def adouble(n: int) -> int:
    executed.append(n)
    return 2 * n


def doubled() -> list[int]:
    return [double(n) for n in range(3)]


async def adoubled() -> list[Any]:
    return [await adouble(n) for n in range(3)]


def test_a_recorded_step_is_not_executed_again() -> None:
    log: list[tuple[int, int, bytes]] = []
    assert execute(doubled, MiniRun(1, log)) == [0, 2, 4]
    assert [(run, position) for run, position, _ in log] == [(1, 0), (1, 1), (1, 2)]
    executed.clear()
    assert execute(doubled, MiniRun(1, log, [body for _, _, body in log])) == [0, 2, 4]
    assert executed == []


def test_a_recorded_async_step_is_not_executed_again() -> None:
    log: list[tuple[int, int, bytes]] = []
    assert asyncio.run(execute_async(adoubled, MiniRun(1, log))) == [0, 2, 4]
    executed.clear()
    assert asyncio.run(execute_async(adoubled, MiniRun(1, log, [body for _, _, body in log]))) == [0, 2, 4]
    assert executed == []


def test_another_step_than_the_recorded_one_is_noticed() -> None:
    log: list[tuple[int, int, bytes]] = []
    execute(lambda: double(1), MiniRun(1, log))
    with pytest.raises(DivergenceError, match="double recorded, triple called"):
        execute(lambda: triple(1), MiniRun(1, log, [log[0][2]]))
