"""
Bounds: what is too long, too much or too far away.

Owns: that a bound is said, not run into. Must not know the bounds of a payload (`test_bad_input.py`).
"""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import fluxo
from fluxo import ConfigurationError, Retry, RunBlockedError, RunFailedError, RunStatus, step, workflow
from tests.e2e.places import Facts, Place


@step
def one() -> int:
    return 1


@step
async def one_later() -> int:
    return 1


@workflow
def many(steps: int) -> int:
    return sum(one() for _ in range(steps))


@workflow
async def many_later(steps: int) -> int:
    return sum([await one_later() for _ in range(steps)])


MANY = pytest.mark.parametrize("flow", [many, many_later], ids=["sync", "async"])

TOO_LONG: list[Callable[[], Any]] = [
    lambda: fluxo.sleep(timedelta.max),
    lambda: fluxo.sleep(1e300),
    lambda: fluxo.sleep(math.inf),
    lambda: fluxo.sleep(math.nan),
    lambda: fluxo.wait_signal("go", timeout=timedelta.max),
    lambda: fluxo.wait_any_signal("go", timeout=1e300),
]


@MANY
def test_a_run_of_ten_steps_costs_at_most_twelve_commits(place: Place, flow: Any) -> None:
    with place.engine() as engine:
        engine.run(flow, 1)
        before = engine.stats().commits
        assert engine.run(flow, 10) == 10
        assert engine.stats().commits - before <= 12


@MANY
def test_a_history_that_grows_too_long_blocks_its_run(place: Place, flow: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with place.engine() as engine:
        with monkeypatch.context() as patch:
            patch.setattr("fluxo.runtime.journal.EVENTS_PER_RUN_MAX", 5)
            handle = engine.start(flow, 10)
            with pytest.raises(RunBlockedError, match=r"blocked \(limit\).*split the work over several runs"):
                handle.result(timeout=10)
            assert len(handle.history()) <= 6
            assert engine.run(flow, 2) == 2
        handle.resume()
        assert handle.result(timeout=10) == 10


@pytest.mark.parametrize("wait", TOO_LONG)
def test_a_wait_that_no_clock_can_hold_is_refused(place: Place, wait: Callable[[], Any]) -> None:
    @workflow
    def waits() -> None:
        wait()

    with place.engine() as engine, pytest.raises(RunFailedError, match=r"finite|at most") as failed:
        engine.run(waits)
    assert isinstance(failed.value.__cause__, ConfigurationError)


@pytest.mark.parametrize("setting", [{"timeout": timedelta.max}, {"timeout": 1e300}])
def test_a_timeout_that_no_clock_can_hold_is_refused(setting: dict[str, Any]) -> None:
    for decorator in (step, workflow):
        with pytest.raises(ConfigurationError, match="at most"):
            decorator(**setting)(lambda: None)
    with pytest.raises(ConfigurationError, match="at most"):
        Retry(initial=timedelta.max)


@workflow
async def sleep_for_ever() -> None:
    await asyncio.sleep(math.inf)


@workflow
async def time_out_never() -> None:
    async with asyncio.timeout(1e300):
        await fluxo.aio.wait_signal("never")


@workflow
def sleep_until_the_end_of_days() -> None:
    fluxo.sleep_until(datetime.max.replace(tzinfo=UTC))


@pytest.mark.parametrize("flow", [sleep_for_ever, time_out_never, sleep_until_the_end_of_days])
def test_a_wait_as_long_as_time_itself_parks_like_any_other(place: Place, flow: Any) -> None:
    facts = Facts()
    with place.engine(observers=[facts]) as engine:
        handle = engine.start(flow)
        facts.wait("run_waiting", handle.id)
        assert handle.status() is RunStatus.WAITING
        assert handle.cancel()
        with pytest.raises(fluxo.RunCancelledError):
            handle.result(timeout=10)


def test_a_caller_of_run_can_wait_as_long_as_time_itself(place: Place) -> None:
    facts = Facts()

    with place.engine(observers=[facts]) as engine:

        def end() -> None:
            facts.wait("run_waiting", "ends")
            engine.cancel("ends")

        ending = threading.Thread(target=end)
        ending.start()
        with pytest.raises(fluxo.RunCancelledError):
            engine.run(sleep_until_the_end_of_days.options(id="ends"))
        ending.join()
