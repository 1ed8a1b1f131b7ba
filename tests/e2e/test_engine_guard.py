"""
The guard: what a workflow's own code calls and no replay repeats, told at the call.

Owns: one workflow per kind of call, with names imported before and after. Must not know profile functions.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import sys
import threading
import uuid
import warnings
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from random import choice
from time import time as now_s
from typing import Any

import pytest

import fluxo
from fluxo import Engine, RunFailedError, UsageError, step, workflow

PATIENCE_S = 30


@step
def stamp() -> float:
    return now_s()


@step
async def stamp_async() -> float:
    return now_s()


@workflow
def reads_clock() -> float:
    stamp()
    return now_s()


@workflow
def reads_date() -> str:
    return datetime.now(UTC).isoformat()


@workflow
def draws() -> int:
    return choice([1, 2])


@workflow
def makes_id() -> str:
    return str(uuid.uuid4())


@workflow
def opens(path: str) -> str:
    with open(path) as file:
        return file.read()


@workflow
def reads_bytes() -> int:
    return len(os.urandom(4))


@workflow
def starts_thread() -> None:
    threading.Thread(target=print).start()


@workflow
async def reads_clock_async() -> float:
    await stamp_async()
    first, _ = await asyncio.gather(stamp_async(), stamp_async())
    return now_s() - first


@workflow
async def reads_clock_in_a_task() -> float:
    async def late() -> float:
        await stamp_async()
        return now_s()

    return (await asyncio.gather(late(), stamp_async()))[0]


@workflow
def well_behaved(words: list[str]) -> str:
    """Everything the guard must leave alone."""
    logging.getLogger("user").info("the log record reads the clock itself")
    fluxo.logger.info("so does this one")
    seeded = random.Random(7)
    chosen = seeded.choice(words) + fluxo.random().choice(words)
    stamp()
    futures = [stamp.submit() for _ in range(2)]
    fluxo.gather(*futures)
    fluxo.sleep(0)
    return f"{chosen} {fluxo.now():%Y} {fluxo.uuid4()} {sorted(set(words))}"


@pytest.mark.parametrize(
    "flow, args, advice",
    [
        (
            reads_clock,
            (),
            r"FX101 time.time at test_engine_guard.py:\d+ in reads_clock: .* — fluxo.now\(\)",
        ),
        (reads_date, (), r"FX101 datetime.datetime.now .* — fluxo.now\(\)"),
        (draws, (), r"FX102 random.choice .* — fluxo.random\(\)"),
        (makes_id, (), r"FX103 uuid.uuid4 .* — fluxo.uuid4\(\)"),
        (opens, ("x",), r"FX105 io.open .* in a @step"),
        (reads_bytes, (), r"FX102 os.urandom"),
        (starts_thread, (), r"FX107 threading.Thread"),
        (reads_clock_async, (), r"FX101 time.time at .* in reads_clock_async"),
        (reads_clock_in_a_task, (), r"FX101 time.time at .* in reads_clock_in_a_task.<locals>.late"),
    ],
)
def test_the_call_is_refused_with_the_safe_spelling(flow: Any, args: tuple[Any, ...], advice: str) -> None:
    with Engine("memory://", guard="raise") as engine:
        with pytest.raises(RunFailedError) as caught:
            engine.start(flow, *args).result(PATIENCE_S)
        assert isinstance(caught.value.__cause__, UsageError)
        assert caught.match("FX")
        with pytest.raises(UsageError, match=advice):
            raise caught.value.__cause__


@pytest.mark.parametrize("start", [Engine.run, lambda engine, *args: engine.start(*args).result(PATIENCE_S)])
def test_what_a_replay_repeats_is_left_alone_and_so_are_steps(start: Callable[..., str]) -> None:
    with Engine("memory://", guard="raise") as engine:
        assert "a" in start(engine, well_behaved, ["a"])


def test_a_warning_names_the_line_and_the_workflow_goes_on() -> None:
    with Engine("memory://", guard="warn") as engine, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert engine.run(reads_clock) > 0
    assert [warning.category for warning in caught] == [RuntimeWarning]
    line = Path(caught[0].filename).read_text().splitlines()[caught[0].lineno - 1]
    assert line == "    return now_s()"
    assert "FX101" in str(caught[0].message)


def test_it_is_off_unless_asked_for() -> None:
    with Engine("memory://") as engine:
        assert engine.run(reads_clock) > 0


def test_a_profile_function_of_the_user_s_is_there_again_afterwards() -> None:
    def mine(*_: object) -> None:
        """Profiles nothing."""

    standing = sys.getprofile()
    sys.setprofile(mine)
    try:
        with Engine("memory://", guard="raise") as engine:
            engine.run(well_behaved, ["a"])
        assert sys.getprofile() is mine
    finally:
        sys.setprofile(standing)


def test_a_mode_that_does_not_exist_is_refused() -> None:
    with pytest.raises(UsageError, match="guard must be one of 'off', 'warn', 'raise', not 'loud'"):
        Engine("memory://", guard="loud")  # type: ignore[arg-type]
