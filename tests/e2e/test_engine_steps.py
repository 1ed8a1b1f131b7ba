"""
Steps: what goes in, what comes out, what their bodies see.

Owns: values, errors and resources of steps. Must not know how often they are tried (`test_engine_attempts.py`).
"""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

import fluxo
from fluxo import EncodeError, RunFailedError, StepFailedError, UsageError, step, workflow
from fluxo.model.events import StepCompleted
from tests.e2e.places import Facts, Place


class CardDeclinedError(Exception):
    def __init__(self, code: int, reason: str) -> None:
        super().__init__(code, reason)
        self.code = code


class HandleError(Exception):
    """Its text is not made from its args, so it cannot be rebuilt from them."""

    def __init__(self) -> None:
        super().__init__("closed")
        self.lock = threading.Lock()

    def __str__(self) -> str:
        return f"handle {self.lock.locked()}"


def test_errors_keep_class_args_notes_and_cause_across_replay(place: Place) -> None:
    seen: list[tuple[Any, ...]] = []

    @step
    def decline() -> None:
        try:
            raise KeyError("card")
        except KeyError as error:
            declined = CardDeclinedError(51, "no funds")
            declined.add_note("seen at the till")
            raise declined from error

    @workflow
    def buy() -> str:
        try:
            decline()
        except CardDeclinedError as error:
            cause = error.__cause__
            seen.append((type(error), error.args, error.code, error.__notes__, type(cause), cause and cause.args))
        return fluxo.wait_signal("go", str)

    facts = Facts()
    with place.engine(observers=[facts]) as engine:
        engine.start(buy.options(id="buy"))
        facts.wait("run_waiting", "buy")
    with place.engine() as engine:
        engine.signal("buy", "go", "on")
        assert engine.get("buy").result(timeout=10) == "on"
    live, replayed = seen
    assert live == replayed
    assert live == (CardDeclinedError, (51, "no funds"), 51, ["seen at the till"], KeyError, ("card",))


def test_an_error_that_cannot_be_rebuilt_is_another_class_live_and_on_replay_alike(place: Place) -> None:
    seen: list[tuple[str, str]] = []

    @step
    def touch() -> None:
        raise HandleError

    @workflow
    def touches() -> str:
        try:
            touch()
        except StepFailedError as error:
            seen.append((error.error_type.rpartition(".")[2], str(error)))
        return fluxo.wait_signal("go", str)

    facts = Facts()
    with place.engine(observers=[facts]) as engine:
        engine.start(touches.options(id="touches"))
        facts.wait("run_waiting", "touches")
    with place.engine() as engine:
        engine.signal("touches", "go", "on")
        engine.get("touches").result(timeout=10)
    live, replayed = seen
    assert live == replayed
    assert live[0] == "HandleError"


def test_an_argument_that_is_not_data_is_refused_before_the_step_runs(place: Place) -> None:
    ran: list[Any] = []

    @step
    def take(value: Any) -> None:
        ran.append(value)

    @workflow
    def give() -> str:
        try:
            take(threading.Lock())
        except EncodeError as error:
            return error.where
        return "accepted"

    with place.engine() as engine:
        handle = engine.start(give)
        assert "take" in handle.result(timeout=10)
        assert len(handle.history()) == 2
    assert ran == []


def test_what_a_step_returns_is_what_was_written_never_the_object_itself(place: Place) -> None:
    basket: list[str] = ["chair"]

    @step
    def pick() -> list[str]:
        return basket

    @workflow
    def change() -> list[str]:
        picked = pick()
        picked.append("table")
        return picked

    with place.engine() as engine:
        assert engine.run(change) == ["chair", "table"]
    assert basket == ["chair"]


def test_a_step_inside_a_step_is_a_plain_call(place: Place) -> None:
    @step
    def inner(number: int) -> int:
        return number + 1

    @step
    def outer(number: int) -> int:
        return inner(number) + inner.submit(number).result() + sum(inner.map([number]))

    @step
    async def outer_later(number: int) -> int:
        return await inner.aio(number)

    @workflow
    async def nested() -> int:
        return await outer.aio(1) + await outer_later(1)

    with place.engine() as engine:
        handle = engine.start(nested)
        assert handle.result(timeout=10) == 8
        assert len([event for event in handle.history() if isinstance(event, StepCompleted)]) == 2


def test_methods_are_steps_and_their_self_is_never_stored(place: Place) -> None:
    class Till:
        def __init__(self) -> None:
            self.lock = threading.Lock()
            self.total = 0

        @step
        def add(self, amount: int) -> int:
            with self.lock:
                self.total += amount
            return self.total

    till = Till()

    @workflow
    def sell() -> list[int]:
        return [till.add(5), Till.add(till, 6), *till.add.map([1, 1], concurrency=1)]

    with place.engine() as engine:
        assert engine.run(sell) == [5, 11, 12, 13]


def test_arguments_can_be_kept_out_of_the_log(place: Place) -> None:
    secret = "4111-1111"

    @step(record_args=False)
    def charge(card: str) -> int:
        return len(card)

    @workflow
    def pay() -> int:
        return charge(secret)

    with place.engine() as engine:
        handle = engine.start(pay)
        assert handle.result(timeout=10) == 9
        assert secret not in str(handle.history())


def test_resources_are_for_steps(place: Place) -> None:
    @step
    def count() -> int:
        return len(fluxo.resource("stock"))

    @workflow
    def take_stock() -> int:
        return count()

    @workflow
    def steal_stock() -> int:
        return len(fluxo.resource("stock"))

    @step
    def ask_for_more() -> Any:
        return fluxo.resource("more")

    @workflow
    def wish() -> Any:
        return ask_for_more()

    with place.engine(resources={"stock": ["chair", "table"]}) as engine:
        assert engine.run(take_stock) == 2
        with pytest.raises(RunFailedError, match=r"fluxo\.resource\('stock'\) is for steps"):
            engine.run(steal_stock)
        with pytest.raises(RunFailedError, match=r"no resource 'more': .*there are: stock"):
            engine.run(wish)


def test_an_engine_may_be_called_in_a_step_but_not_in_a_workflow(place: Place) -> None:
    engine = place.engine()

    @workflow
    def small() -> str:
        return "small"

    @step
    def start_one() -> str:
        return engine.run(small)

    @workflow
    def allowed() -> str:
        return start_one()

    @workflow
    def refused() -> str:
        return engine.run(small)

    @workflow
    async def refused_too() -> str:
        return await engine.aio.run(small)

    with engine:
        assert engine.run(allowed) == "small"
        for flow in (refused, refused_too):
            with pytest.raises(RunFailedError, match="an engine must not be called inside a workflow") as failed:
                engine.run(flow)  # type: ignore[call-overload]
            assert type(failed.value.__cause__) is UsageError


def test_a_result_is_the_decoded_form_however_the_step_is_called(place: Place) -> None:
    """What the step keeps of its own object must not be what the workflow changes."""
    kept: list[list[int]] = []

    @step(name="steps.keeps")
    def keeps() -> list[int]:
        kept.append([1])
        return kept[-1]

    @step(name="steps.keeps_async")
    async def keeps_async() -> list[int]:
        kept.append([1])
        return kept[-1]

    @workflow(name="steps.changes")
    def changes() -> int:
        for result in (keeps(), keeps.submit().result()):
            result.append(2)
        return 0

    @workflow(name="steps.changes_async")
    async def changes_async() -> int:
        for result in (await keeps_async(), *await asyncio.gather(keeps_async(), keeps.aio())):
            result.append(2)
        return 0

    with place.engine() as engine:
        engine.run(changes)
        engine.run(changes_async)
    assert kept == [[1]] * 5
