"""
Failed and blocked runs that go on.

Owns: what `resume` runs again and what it keeps. Must not know why a run was blocked (`test_divergence.py`).
"""

from __future__ import annotations

import asyncio

import pytest

import fluxo
from fluxo import Retry, RunFailedError, UsageError, step, workflow
from fluxo.model.events import RunFailed, RunReopened
from tests.e2e.places import Facts, Place


class World:
    """What the steps of a test do and whether it works."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.broken = True

    def call(self, name: str, *, may_fail: bool = False) -> str:
        self.calls.append(name)
        if may_fail and self.broken:
            raise ConnectionError(f"{name} is away")
        return name


world = World()


@pytest.fixture(autouse=True)
def new_world() -> None:
    world.__init__()  # type: ignore[misc]


@step
def safe(name: str) -> str:
    return world.call(name)


@step
def fragile(name: str) -> str:
    return world.call(name, may_fail=True)


@step
async def safe_later(name: str) -> str:
    return world.call(name)


@step
async def fragile_later(name: str) -> str:
    return world.call(name, may_fail=True)


@workflow
def chain() -> list[str]:
    return [safe("a"), fragile("b"), safe("c")]


@workflow
async def chain_later() -> list[str]:
    return [await safe_later("a"), await fragile_later("b"), await safe_later("c")]


@pytest.mark.parametrize("flow", [chain, chain_later], ids=["sync", "async"])
def test_the_failed_step_runs_again_and_completed_ones_do_not(
    place: Place, flow: fluxo.Workflow[[], list[str]]
) -> None:
    with place.engine() as engine:
        handle = engine.start(flow)
        with pytest.raises(RunFailedError, match="b is away"):
            handle.result(timeout=10)
        world.broken = False
        handle.resume()
        assert handle.result(timeout=10) == ["a", "b", "c"]
        assert handle.status() == "completed"
        events = handle.history()
    assert world.calls == ["a", "b", "b", "c"]
    (failed,) = [n for n, event in enumerate(events, 1) if isinstance(event, RunFailed)]
    (reopened,) = [event for event in events if isinstance(event, RunReopened)]
    assert failed in reopened.voided


@pytest.mark.parametrize("flow", [chain, chain_later], ids=["sync", "async"])
def test_a_run_may_fail_and_be_resumed_again_and_again(place: Place, flow: fluxo.Workflow[[], list[str]]) -> None:
    with place.engine() as engine:
        handle = engine.start(flow)
        for _ in range(3):
            with pytest.raises(RunFailedError):
                handle.result(timeout=10)
            handle.resume()
        assert handle.wait(timeout=10)
        world.broken = False
        handle.resume()
        assert handle.result(timeout=10) == ["a", "b", "c"]
    assert world.calls == ["a", "b", "b", "b", "b", "b", "c"]


def test_another_engine_may_resume_what_failed_here(place: Place) -> None:
    with place.engine() as engine:
        handle = engine.start(chain.options(id="chain"))
        handle.wait(timeout=10)
    world.broken = False
    with place.engine(worker=False) as client:
        client.resume("chain")
        assert client.get("chain").status() == "pending"
    with place.engine() as engine:
        assert engine.get("chain").result(timeout=10) == ["a", "b", "c"]
    assert world.calls == ["a", "b", "b", "c"]


def test_a_resumed_step_gets_all_its_attempts_anew(place: Place) -> None:
    @step(retry=Retry(max_attempts=2, initial=0))
    def flaky() -> str:
        return world.call(f"attempt {fluxo.info().attempt}", may_fail=True)

    @workflow
    def flow() -> str:
        return flaky()

    with place.engine() as engine:
        handle = engine.start(flow)
        assert handle.wait(timeout=10)
        world.broken = False
        handle.resume()
        assert handle.result(timeout=10).startswith("attempt")
    assert world.calls[:2] == ["attempt 1", "attempt 2"]
    assert len(world.calls) == 3


def test_what_only_the_error_led_to_is_undone_by_resume(place: Place) -> None:
    @workflow
    def cautious() -> list[str]:
        try:
            return [safe("a"), fragile("b")]
        except ConnectionError:
            safe("handler")
            raise

    with place.engine() as engine:
        handle = engine.start(cautious)
        assert handle.wait(timeout=10)
        world.broken = False
        handle.resume()
        assert handle.result(timeout=10) == ["a", "b"]
    assert world.calls == ["a", "b", "handler", "b"]


def test_siblings_that_completed_are_kept(place: Place) -> None:
    @workflow
    def fan_out() -> list[str]:
        futures = [safe.submit("a"), fragile.submit("b"), safe.submit("c")]
        for future in futures:
            future.exception()
        return fluxo.gather(*futures)

    @workflow
    async def fan_out_later() -> list[str]:
        results = await asyncio.gather(safe_later("a"), fragile_later("b"), safe_later("c"), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result
        return [str(result) for result in results]

    for flow in (fan_out, fan_out_later):
        world.__init__()  # type: ignore[misc]
        with place.engine() as engine:
            handle = engine.start(flow)
            assert handle.wait(timeout=10)
            assert handle.status() == "failed"
            world.broken = False
            handle.resume()
            assert handle.result(timeout=10) == ["a", "b", "c"]
        assert sorted(world.calls) == ["a", "b", "b", "c"]


def test_an_error_of_the_workflow_itself_is_run_again_over_its_recorded_steps(place: Place) -> None:
    @workflow
    def buggy() -> str:
        name = safe("a")
        if world.broken:
            raise ZeroDivisionError
        return name

    with place.engine() as engine:
        handle = engine.start(buggy)
        with pytest.raises(RunFailedError, match="ZeroDivisionError"):
            handle.result(timeout=10)
        world.broken = False
        handle.resume()
        assert handle.result(timeout=10) == "a"
    assert world.calls == ["a"]


def test_signals_that_were_taken_stay_taken(place: Place) -> None:
    @workflow
    def listens() -> list[str]:
        return [fluxo.wait_signal("n", str), fragile("b"), fluxo.wait_signal("n", str)]

    with place.engine() as engine:
        handle = engine.start(listens)
        handle.signal("n", "first")
        assert handle.wait(timeout=10)
        world.broken = False
        handle.resume()
        handle.signal("n", "second")
        assert handle.result(timeout=10) == ["first", "b", "second"]


def test_only_failed_and_blocked_runs_can_be_resumed(place: Place) -> None:
    @workflow
    def waits() -> None:
        fluxo.wait_signal("go")

    facts = Facts()
    with place.engine(observers=[facts]) as engine:
        handle = engine.start(waits)
        facts.wait("run_waiting", handle.id)
        with pytest.raises(UsageError, match="is waiting: only failed and blocked runs can be resumed"):
            handle.resume()
        handle.signal("go")
        handle.result(timeout=10)
        before = handle.history()
        with pytest.raises(UsageError, match="is completed"):
            handle.resume()
        assert handle.history() == before
