"""
Outside a run a decorated function is just the function.

Owns: that nothing of fluxo shows where no run is under way. Must not know engines.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
import typing
import uuid
from contextvars import ContextVar
from datetime import datetime, timedelta

import pytest

import fluxo
from fluxo import UsageError, step, workflow
from fluxo.clock import SystemClock, to_us

customer: ContextVar[str] = ContextVar("customer")


@step
def add(a: int, b: int = 1) -> int:
    """The sum."""
    return a + b


@step
async def add_later(a: int, b: int = 1) -> int:
    """The sum, later."""
    return a + b


@step
def fail(text: str) -> None:
    raise ValueError(text)


@workflow
def double_sum(a: int, b: int) -> int:
    """Twice the sum."""
    return 2 * add(a, b)


@workflow
async def double_sum_later(a: int, b: int) -> int:
    return 2 * await add_later(a, b) + 0 * await add.aio(a, b)


class Basket:
    def __init__(self, pieces: int) -> None:
        self.pieces = pieces

    @step
    def times(self, price: int) -> int:
        """Pieces by price."""
        return self.pieces * price

    @step
    async def times_later(self, price: int) -> int:
        return self.pieces * price

    @staticmethod
    @step
    def shipping(weight: int) -> int:
        return weight // 2

    @workflow
    def total(self, price: int) -> int:
        return self.times(price)


def test_a_call_is_the_functions_own_call() -> None:
    assert add(1) == 2
    assert add(1, b=2) == 3
    assert double_sum(1, 2) == 6
    assert asyncio.run(add_later(1, b=2)) == 3
    assert asyncio.run(double_sum_later(1, 2)) == 6


def test_an_error_is_the_functions_own_error() -> None:
    with pytest.raises(ValueError, match=r"^no stock$"):
        fail("no stock")
    with pytest.raises(TypeError, match="missing 1 required positional argument"):
        add()  # type: ignore[call-arg]


@pytest.mark.parametrize("decorated", [add, add_later, double_sum, double_sum_later])
def test_it_looks_like_the_function(decorated: typing.Any) -> None:
    plain = decorated.__wrapped__
    assert decorated.__name__ == plain.__name__
    assert decorated.__qualname__ == plain.__qualname__
    assert decorated.__doc__ == plain.__doc__
    assert decorated.__module__ == plain.__module__ == __name__
    assert inspect.signature(decorated) == inspect.signature(plain)
    assert typing.get_type_hints(decorated) == typing.get_type_hints(plain)
    assert decorated.name in repr(decorated)


def test_methods_are_methods() -> None:
    basket = Basket(3)
    assert basket.times(5) == 15
    assert Basket.times(basket, 5) == 15
    assert basket.total(5) == 15
    assert basket.times.submit(5).result() == 15
    assert basket.times.map([1, 2]) == [3, 6]
    assert asyncio.run(basket.times_later(5)) == 15
    assert basket.times.__doc__ == "Pieces by price."


def test_the_signature_of_a_bound_method_has_no_self() -> None:
    assert list(inspect.signature(Basket(3).times).parameters) == ["price"]
    assert list(inspect.signature(Basket.times).parameters) == ["self", "price"]
    assert list(inspect.signature(Basket(3).total).parameters) == ["price"]


def test_static_methods_are_functions() -> None:
    assert Basket.shipping(4) == Basket(1).shipping(4) == 2
    assert Basket.shipping.map([2, 4]) == [1, 2]


def test_submit_calls_at_once() -> None:
    future = add.submit(1, 2)
    assert future.done()
    assert future.result() == 3
    assert future.exception() is None


def test_submit_keeps_the_error_for_result() -> None:
    future = fail.submit("no stock")
    assert future.done()
    assert isinstance(future.exception(), ValueError)
    with pytest.raises(ValueError, match="no stock"):
        future.result()


def test_a_finished_future_can_be_awaited() -> None:
    async def wait() -> int:
        return await add.submit(1, 2)

    assert asyncio.run(wait()) == 3


def test_map_is_a_list_in_order() -> None:
    assert add.map([1, 2, 3]) == [2, 3, 4]
    assert add.map([1, 2, 3], [10, 20]) == [11, 22]
    assert add.map([], concurrency=2) == []


def test_map_of_nothing_or_with_no_room_is_refused() -> None:
    with pytest.raises(UsageError, match=r"step 'add'\.map\(\) needs at least one iterable"):
        add.map()  # type: ignore[call-overload]
    with pytest.raises(UsageError, match="concurrency must be at least 1"):
        add.map([1], concurrency=0)


def test_aio_runs_a_sync_step_in_a_thread_with_the_callers_context() -> None:
    seen: list[tuple[int, str]] = []

    @step
    def look() -> None:
        seen.append((threading.get_ident(), customer.get()))

    async def ask() -> None:
        customer.set("Ada")
        await look.aio()

    asyncio.run(ask())
    ((thread, who),) = seen
    assert thread != threading.get_ident()
    assert who == "Ada"


def test_aio_awaits_an_async_step() -> None:
    assert asyncio.run(_awaited(add_later.aio(1, 2))) == 3
    assert asyncio.run(_awaited(add.aio.map([1, 2]))) == [2, 3]
    assert asyncio.run(_awaited(add_later.aio.map([1, 2], concurrency=1))) == [2, 3]


async def _awaited(awaitable: typing.Awaitable[typing.Any]) -> typing.Any:
    return await awaitable


def test_an_async_step_cannot_be_submitted_or_mapped_without_a_loop() -> None:
    with pytest.raises(UsageError, match=r"await add_later\(\.\.\.\) instead"):
        add_later.submit(1)
    with pytest.raises(UsageError, match=r"await add_later\.aio\.map\(\.\.\.\) instead"):
        add_later.map([1])


def test_gather_and_its_like_work_on_finished_futures() -> None:
    one, two = add.submit(1), add.submit(2)
    assert fluxo.gather(one, two) == [2, 3]
    assert fluxo.wait_any(one, two) is one
    assert [future.result() for future in fluxo.as_completed([one, two])] == [2, 3]
    broken = fail.submit("no stock")
    assert isinstance(fluxo.gather(one, broken, return_exceptions=True)[1], ValueError)
    with pytest.raises(ValueError, match="no stock"):
        fluxo.gather(one, broken)


def test_gather_keeps_results_that_are_false() -> None:
    assert fluxo.gather(add.submit(-1), add.submit(1), return_exceptions=True) == [0, 2]


def test_wait_any_of_nothing_is_refused() -> None:
    with pytest.raises(UsageError, match="at least one future"):
        fluxo.wait_any()


def test_time_and_chance_are_the_real_ones() -> None:
    clock = SystemClock()
    assert clock.now_us() <= to_us(fluxo.now()) <= clock.now_us()
    assert fluxo.now().utcoffset() == timedelta(0)
    assert fluxo.uuid4() != fluxo.uuid4()
    assert isinstance(fluxo.uuid4(), uuid.UUID)
    assert fluxo.random().random() != fluxo.random().random()


def test_sleeping_for_no_time_returns() -> None:
    before = fluxo.now()
    fluxo.sleep(0)
    fluxo.sleep(timedelta(0))
    fluxo.sleep_until(before)
    asyncio.run(_awaited(fluxo.aio.sleep(0)))
    asyncio.run(_awaited(fluxo.aio.sleep_until(before)))
    assert fluxo.now() - before < timedelta(seconds=5)


def test_a_negative_sleep_is_none_at_all() -> None:
    before = fluxo.now()
    fluxo.sleep(-3600)
    asyncio.run(_awaited(fluxo.aio.sleep(timedelta(hours=-1))))
    assert fluxo.now() - before < timedelta(seconds=5)


@pytest.mark.parametrize(
    "name, call",
    [
        ("wait_signal", lambda: fluxo.wait_signal("go")),
        ("wait_any_signal", lambda: fluxo.wait_any_signal("go")),
        ("signal", lambda: fluxo.signal("run", "go")),
        ("signal", lambda: fluxo.aio.signal("run", "go")),
        ("shield", fluxo.shield),
        ("info", fluxo.info),
        ("resource", lambda: fluxo.resource("db")),
        ("wait_signal", lambda: asyncio.run(fluxo.aio.wait_signal("go"))),
        ("wait_any_signal", lambda: asyncio.run(fluxo.aio.wait_any_signal("go"))),
    ],
)
def test_what_needs_a_run_says_so(name: str, call: typing.Callable[[], object]) -> None:
    with pytest.raises(UsageError, match=f"^{name} only works inside a run: start the workflow with engine.run"):
        call()


def test_sleep_until_needs_to_know_the_time_zone() -> None:
    with pytest.raises(UsageError, match="aware datetime"):
        fluxo.sleep_until(datetime(2026, 1, 1))  # noqa: DTZ001 - what is refused


def test_the_logger_is_an_ordinary_logger(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "fluxo.run"):
        fluxo.logger.info("packed %d lines", 3)
    assert [record.getMessage() for record in caplog.records] == ["packed 3 lines"]
