"""
Intended uses of the public names, with the types a user's checker must see.

Owns: that `mypy --strict` and pyright accept the contract as it is written, without an ignore in user code. Must not be
run: it is checked only (`make types`).
"""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, assert_type

import fluxo
from fluxo import (
    AsyncStep,
    AsyncWorkflow,
    Engine,
    EngineStats,
    Future,
    Handle,
    MemoryStore,
    Page,
    Retry,
    RunContext,
    RunInfo,
    RunStatus,
    Signal,
    Step,
    Workflow,
    step,
    workflow,
)


class CardDeclinedError(Exception):
    pass


@dataclass
class Line:
    item: str
    pieces: int


@dataclass
class Order:
    id: str
    total: Decimal
    lines: list[Line]


@dataclass
class Receipt:
    id: str


@step(
    retry=Retry(
        max_attempts=5,
        initial=0.2,
        multiplier=2.0,
        maximum=timedelta(seconds=30),
        jitter=0.1,
        retry_on=(ConnectionError,),
        give_up_on=(CardDeclinedError,),
    ),
    timeout=30,
)
def charge(order_id: str, amount: Decimal) -> Receipt:
    return Receipt(order_id + str(amount))


@step
def pack(line: Line) -> int:
    return line.pieces


@step
def add(a: int, b: int = 1) -> int:
    return a + b


@step
async def notify(email: str, text: str) -> None:
    del email, text


@step(name="score", timeout=timedelta(seconds=5))
async def score(user: str) -> float:
    return float(len(user))


@workflow
def checkout(order: Order, express: bool = False) -> Receipt:
    receipt = charge(order.id, order.total)
    assert_type(receipt, Receipt)
    parcels = [pack.submit(line) for line in order.lines]
    assert_type(parcels, list[Future[int]])
    assert_type([parcel.result() for parcel in parcels], list[int])
    assert_type(pack.map(order.lines), list[int])
    assert_type(pack.map(order.lines, concurrency=2), list[int])
    assert_type(add.map([1, 2], [3, 4]), list[int])
    assert_type(charge.options(timeout=5, retry=Retry())(order.id, amount=order.total), Receipt)
    assert_type(fluxo.wait_any(*parcels), Future[int])
    for future in fluxo.as_completed(parcels):
        assert_type(future, Future[int])
        assert_type(future.exception(), BaseException | None)
        assert_type(future.done(), bool)
    assert_type(fluxo.gather(*parcels), list[int])
    assert_type(fluxo.gather(parcels[0], charge.submit(order.id, order.total)), list[Any])
    fluxo.gather(*parcels, return_exceptions=True)
    fluxo.sleep(timedelta(hours=1))
    fluxo.sleep(1.5)
    fluxo.sleep_until(datetime(2030, 1, 1, tzinfo=UTC))
    assert_type(fluxo.wait_signal("approved", bool, timeout=timedelta(days=2)), bool)
    assert_type(fluxo.wait_signal("receipt", Receipt), Receipt)
    assert_type(fluxo.wait_signal("anything"), Any)
    assert_type(fluxo.wait_any_signal("yes", "no", timeout=60), Signal[Any])
    fluxo.signal("other", "approved", True)
    assert_type(fluxo.now(), datetime)
    assert_type(fluxo.random(), random.Random)
    assert_type(fluxo.uuid4(), uuid.UUID)
    info = fluxo.info()
    assert_type(info, RunContext)
    assert_type((info.run_id, info.step, info.attempt, info.replaying), tuple[str, str | None, int, bool])
    with fluxo.shield():
        add(1)
    fluxo.logger.info("checked out %s", order.id)
    return receipt


@workflow(name="onboard", version="2", timeout=60, queue="slow")
async def onboard(user: str) -> str:
    first, second = await asyncio.gather(score(user), score(user))
    assert_type((first, second), tuple[float, float])
    receipt = await charge.aio(user, Decimal("1.00"))
    assert_type(receipt, Receipt)
    async with asyncio.TaskGroup() as tasks:
        scoring = tasks.create_task(score(user))
        adding = tasks.create_task(add.aio(1, b=2))
    assert_type((scoring.result(), adding.result()), tuple[float, int])
    assert_type(await add.aio.map([1, 2]), list[int])
    assert_type(await score.aio.map([user], concurrency=1), list[float])
    assert_type(await add.aio.map([1], [2]), list[int])
    future = score.submit(user)
    assert_type(future, Future[float])
    assert_type(await future, float)
    await asyncio.sleep(3600)
    await fluxo.aio.sleep(timedelta(hours=1))
    await fluxo.aio.sleep_until(fluxo.now())
    async with asyncio.timeout(60):
        assert_type(await fluxo.aio.wait_signal("approved", bool), bool)
    assert_type(await fluxo.aio.wait_signal("anything"), Any)
    assert_type(await fluxo.aio.wait_any_signal("yes", "no"), Signal[Any])
    await fluxo.aio.signal("other", "approved", True)
    assert_type(await fluxo.aio.wait([future], 1), list[Future[float]])
    async for done in fluxo.aio.as_completed([future]):
        assert_type(done, Future[float])
    return "ok"


class Till:
    def __init__(self, name: str) -> None:
        self.name = name

    @step
    def book(self, amount: Decimal) -> Receipt:
        return Receipt(self.name + str(amount))

    @step
    async def book_later(self, amount: Decimal) -> Receipt:
        return Receipt(self.name + str(amount))

    @staticmethod
    @step
    def rate(currency: str) -> Decimal:
        return Decimal(len(currency))

    @workflow
    def close_day(self, day: int) -> int:
        return day


def handed_over(
    plain: Step[[Line], int],
    later: AsyncStep[[str], float],
    flow: Workflow[..., Receipt],
    later_flow: AsyncWorkflow[[str], str],
) -> None:
    assert_type(plain(Line("chair", 1)), int)
    assert_type((later.name, flow.name, later_flow.version), tuple[str, str, str])


handed_over(pack, score, checkout, onboard)


async def outside_a_run(order: Order, till: Till) -> None:
    assert_type(charge("a", Decimal(1)), Receipt)
    assert_type(charge.submit("a", Decimal(1)).result(), Receipt)
    scoring: Coroutine[Any, Any, float] = score("Ada")
    assert_type(await scoring, float)
    assert_type(await charge.aio("a", Decimal(1)), Receipt)
    assert_type(await onboard("Ada"), str)
    assert_type(checkout(order, express=True), Receipt)
    assert_type(till.book(Decimal(1)), Receipt)
    assert_type(till.book.submit(amount=Decimal(1)), Future[Receipt])
    assert_type(till.book.map([Decimal(1)]), list[Receipt])
    assert_type(await till.book_later(Decimal(1)), Receipt)
    assert_type(Till.book(till, Decimal(1)), Receipt)
    assert_type(Till.rate("EUR"), Decimal)
    assert_type(till.close_day(1), int)


def blocking(order: Order, till: Till) -> None:
    with Engine(
        "sqlite:///orders.db",
        namespace="shop",
        resources={"db": object()},
        queues=("default", "vip"),
        concurrency=8,
        lease=timedelta(seconds=10),
        worker=True,
        name="till",
    ) as engine:
        assert_type(engine, Engine)
        assert_type(engine.run(checkout, order), Receipt)
        assert_type(engine.run(checkout.options(id="order-42", queue="vip", timeout=60), order, express=True), Receipt)
        assert_type(engine.run(onboard, "Ada"), str)
        assert_type(engine.run(till.close_day, 1), int)
        handle = engine.start(checkout.options(id="order-42"), order)
        assert_type(handle, Handle[Receipt])
        assert_type(engine.start(onboard, "Ada"), Handle[str])
        assert_type(handle.id, str)
        assert_type(handle.result(timeout=10), Receipt)
        assert_type(handle.wait(timeout=10), bool)
        assert_type(handle.status(), RunStatus)
        assert_type(handle.info(), RunInfo)
        handle.signal("approved", True, key="once")
        assert_type(handle.cancel(force=True), bool)
        handle.resume()
        assert_type(engine.get("order-42"), Handle[Any])
        page = engine.list(status="failed", workflow="checkout", queue="vip", since=fluxo.now(), limit=10)
        assert_type(page, Page)
        assert_type(engine.list(status=RunStatus.FAILED, cursor=page.next_cursor).runs, tuple[RunInfo, ...])
        engine.signal("order-42", "approved", True, key="once")
        assert_type(engine.cancel("order-42", force=False), bool)
        engine.resume("order-42")
        for event in (*engine.history("order-42"), *handle.history()):
            assert_type(event.at_us, int)
        assert_type(engine.recover(), int)
        assert_type(engine.purge(older_than=timedelta(days=30)), int)
        assert_type(engine.stats(), EngineStats)
        engine.close(drain=False)
    Engine(MemoryStore()).serve(drain=5)


async def awaited(order: Order) -> None:
    async with Engine("memory://").aio as engine:
        assert_type(engine, fluxo.AsyncEngine)
        assert_type(await engine.run(onboard, "Ada"), str)
        assert_type(await engine.run(checkout, order), Receipt)
        handle = await engine.start(checkout, order, express=True)
        assert_type(handle, Handle[Receipt])
        assert_type(await handle.aio.result(timeout=1), Receipt)
        assert_type(await handle.aio.status(), RunStatus)
        assert_type(await engine.get("order-42"), Handle[Any])
        assert_type(await engine.list(limit=1), Page)
        assert_type(await engine.cancel("order-42"), bool)
        assert_type(await engine.stats(), EngineStats)
        await engine.signal("order-42", "approved")
        await engine.serve()


def errors(handle: Handle[int]) -> int:
    try:
        return handle.result()
    except fluxo.RunFailedError as failed:
        assert_type(failed.run_id, str)
        return 1
    except (fluxo.RunCancelledError, fluxo.ResultTimeoutError, TimeoutError):
        return 2
    except fluxo.RunBlockedError as blocked:
        assert_type((blocked.reason, blocked.report), tuple[str, str])
        return 3
    except fluxo.FluxoError:
        return 4


class Printing:
    """An observer of a user's own; the hooks it does not care for it inherits from nothing."""

    def on_run_started(self, run_id: str, workflow: str, at_us: int) -> None: ...
    def on_run_resumed(self, run_id: str, workflow: str, at_us: int) -> None: ...
    def on_run_waiting(self, run_id: str, workflow: str, at_us: int) -> None: ...
    def on_run_completed(self, run_id: str, workflow: str, at_us: int) -> None: ...
    def on_run_failed(self, run_id: str, workflow: str, at_us: int, failure: Any) -> None: ...
    def on_run_cancelled(self, run_id: str, workflow: str, at_us: int) -> None: ...
    def on_run_blocked(self, run_id: str, workflow: str, at_us: int, reason: str) -> None: ...
    def on_step_started(self, run_id: str, step: str, attempt: int) -> None: ...
    def on_step_completed(self, run_id: str, step: str, attempt: int, at_us: int) -> None: ...
    def on_step_failed(self, run_id: str, step: str, attempt: int, at_us: int, failure: Any) -> None: ...
    def on_step_retried(self, run_id: str, step: str, attempt: int, at_us: int, failure: Any) -> None: ...


observing: fluxo.Observer = Printing()
Engine("memory://", observers=[observing, Printing()])
