"""
Many steps at once.

Owns: submit, map, gather and their like inside a run. Must not know how attempts are scheduled.
"""

from __future__ import annotations

import asyncio
import threading
from contextvars import ContextVar
from typing import Any

import pytest

import fluxo
from fluxo import RunFailedError, step, workflow
from fluxo.model.events import StepCompleted
from tests.e2e.places import Facts, Place

customer: ContextVar[str] = ContextVar("customer", default="nobody")


class Crowd:
    """Counts how many are inside at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.inside = 0
        self.most = 0

    def __enter__(self) -> None:
        with self._lock:
            self.inside += 1
            self.most = max(self.most, self.inside)

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self.inside -= 1


@step
def double(number: int) -> int:
    return number * 2


@step
async def double_later(number: int) -> int:
    await asyncio.sleep(0)
    return number * 2


@step
def fail_if_odd(number: int) -> int:
    if number % 2:
        raise ValueError(f"{number} is odd")
    return number


def test_results_come_in_the_order_of_the_calls(place: Place) -> None:
    @workflow
    def fan_out() -> list[list[int]]:
        futures = [double.submit(number) for number in range(10)]
        return [
            [future.result() for future in reversed(futures)],
            fluxo.gather(*futures),
            double.map(range(10)),
            double_later.map(range(3)),
            [double_later.submit(7).result()],
        ]

    @workflow
    async def fan_out_later() -> list[list[int]]:
        futures = [double.submit(number) for number in range(10)]
        return [
            [await future for future in reversed(futures)],
            [future.result() for future in futures],
            await double.aio.map(range(10)),
            await double_later.aio.map(range(3)),
            list(await asyncio.gather(double_later(7))),
        ]

    numbers = [number * 2 for number in range(10)]
    with place.engine() as engine:
        for flow in (fan_out, fan_out_later):
            assert engine.run(flow) == [numbers[::-1], numbers, numbers, [0, 2, 4], [14]]  # type: ignore[call-overload]


def test_submitted_steps_run_side_by_side(place: Place) -> None:
    meeting = threading.Barrier(4, timeout=10)

    @step
    def meet() -> int:
        return meeting.wait()

    @workflow
    def together() -> list[int]:
        return sorted(fluxo.gather(*(meet.submit() for _ in range(4))))

    @workflow
    async def together_later() -> list[int]:
        return sorted(await asyncio.gather(*(meet.aio() for _ in range(4))))

    with place.engine() as engine:
        assert engine.run(together) == engine.run(together_later) == [0, 1, 2, 3]


@pytest.mark.parametrize("colour", ["sync", "async"])
def test_map_keeps_to_its_concurrency(place: Place, colour: str) -> None:
    crowd = Crowd()

    @step
    def enter(number: int) -> int:
        with crowd:
            return number

    @workflow
    def mapped() -> list[int]:
        return enter.map(range(20), concurrency=3)

    @workflow
    async def mapped_later() -> list[int]:
        return await enter.aio.map(range(20), concurrency=3)

    with place.engine() as engine:
        assert engine.run(mapped if colour == "sync" else mapped_later) == list(range(20))
    assert 1 <= crowd.most <= 3


def test_map_takes_several_iterables_and_stops_with_the_shortest(place: Place) -> None:
    @step
    def add(a: int, b: int) -> int:
        return a + b

    @workflow
    def mapped() -> list[list[int]]:
        return [add.map([1, 2, 3], [10, 20]), add.map([], [1])]

    with place.engine() as engine:
        assert engine.run(mapped) == [[11, 22], []]


def test_gather_raises_the_first_error_in_the_order_given(place: Place) -> None:
    @workflow
    def gathers() -> list[int]:
        return fluxo.gather(*(fail_if_odd.submit(number) for number in (0, 3, 1)))

    @workflow
    def collects() -> list[str]:
        results = fluxo.gather(*(fail_if_odd.submit(number) for number in (0, 3, 2)), return_exceptions=True)
        return [repr(result) for result in results]

    with place.engine() as engine:
        with pytest.raises(RunFailedError, match="3 is odd"):
            engine.run(gathers)
        assert engine.run(collects) == ["0", "ValueError('3 is odd')", "2"]


@pytest.mark.parametrize("colour", ["sync", "async"])
def test_the_order_of_completion_is_recorded_and_replayed(place: Place, colour: str) -> None:
    may_end = [threading.Event() for _ in range(4)]
    order = [2, 0, 3, 1]
    seen: list[list[int]] = []

    @step
    def wait_my_turn(number: int) -> int:
        assert may_end[number].wait(10)
        place_in_line = order.index(number)
        if place_in_line + 1 < len(order):
            may_end[order[place_in_line + 1]].set()
        return number

    @workflow
    def race() -> None:
        futures = [wait_my_turn.submit(number) for number in range(4)]
        may_end[order[0]].set()
        first = fluxo.wait_any(*futures)
        seen.append([first.result(), *(future.result() for future in fluxo.as_completed(futures))])
        fluxo.wait_signal("go")

    @workflow
    async def race_later() -> None:
        futures = [wait_my_turn.submit(number) for number in range(4)]
        may_end[order[0]].set()
        (first, *_) = await fluxo.aio.wait(futures)
        seen.append([first.result(), *[future.result() async for future in fluxo.aio.as_completed(futures)]])
        await fluxo.aio.wait_signal("go")

    facts = Facts()
    with place.engine(observers=[facts]) as engine:
        engine.start((race if colour == "sync" else race_later).options(id="race"))
        facts.wait("run_waiting", "race")
    with place.engine() as engine:
        engine.signal("race", "go")
        engine.get("race").result(timeout=10)
        completed = [event for event in engine.history("race") if isinstance(event, StepCompleted)]
    live, replayed = seen
    assert live == replayed
    assert sorted(live[1:]) == [0, 1, 2, 3]
    assert live[0] == 2
    assert len(completed) == 4


def test_a_future_says_whether_its_outcome_has_come(place: Place) -> None:
    may_end = threading.Event()

    @step
    def slow() -> str:
        assert may_end.wait(10)
        return "slow"

    @workflow
    def looks() -> list[Any]:
        future = slow.submit()
        before = future.done()
        may_end.set()
        return [before, future.result(), future.done(), future.exception()]

    with place.engine() as engine:
        assert engine.run(looks) == [False, "slow", True, None]


def test_a_run_may_end_before_its_submitted_steps_do(place: Place) -> None:
    may_end, ended = threading.Event(), threading.Event()

    @step
    def slow() -> None:
        assert may_end.wait(10)
        ended.set()

    @workflow
    def leaves() -> str:
        slow.submit()
        return "left"

    @workflow
    async def leaves_later() -> str:
        slow.submit()
        await asyncio.sleep(0)
        return "left"

    with place.engine() as engine:
        for flow in (leaves, leaves_later):
            may_end.clear()
            ended.clear()
            handle = engine.start(flow)  # type: ignore[call-overload]
            assert handle.result(timeout=10) == "left"
            may_end.set()
            assert [type(event).__name__ for event in handle.history()][-1] == "RunCompleted"


def test_more_submitted_steps_than_threads_take_turns(place: Place) -> None:
    @workflow
    def many() -> int:
        return sum(double.map(range(50)))

    with place.engine(concurrency=2) as engine:
        assert engine.run(many) == 2450


def test_a_workflow_starts_with_an_empty_context_and_its_steps_see_what_it_sets(place: Place) -> None:
    @step
    def who() -> str:
        return customer.get()

    @step
    async def who_later() -> str:
        return customer.get()

    @workflow
    def shop() -> list[str]:
        first = customer.get()
        customer.set("Ada")
        return [first, who(), who.submit().result(), who_later.submit().result(), *who.map([])]

    @workflow
    async def shop_later() -> list[str]:
        first = customer.get()
        customer.set("Ada")
        return [first, await who_later(), await who.aio(), *(await asyncio.gather(who_later(), who.aio()))]

    customer.set("Grace")
    with place.engine() as engine:
        assert engine.run(shop) == ["nobody", "Ada", "Ada", "Ada"]
        assert engine.run(shop_later) == ["nobody", "Ada", "Ada", "Ada", "Ada"]
    assert customer.get() == "Grace"
    customer.set("nobody")


def test_a_step_that_raises_cancelled_by_itself_fails_and_hangs_nobody(place: Place) -> None:
    @step
    async def gives_up() -> None:
        raise asyncio.CancelledError

    @workflow
    async def calls() -> None:
        await gives_up()

    @workflow
    async def gathers() -> None:
        await asyncio.gather(gives_up(), double_later(1))

    @workflow
    def submits() -> None:
        gives_up.submit().result()

    with place.engine() as engine:
        for flow in (calls, gathers, submits):
            handle = engine.start(flow)  # type: ignore[call-overload]
            with pytest.raises(RunFailedError, match="CancelledError"):
                handle.result(timeout=10)
