"""
Stores that answer late, not at all, or that someone else was quicker.

Owns: what a run does about it. Must not know how a store fails. Theory: PROTOCOL rules 2 and 4.
"""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest

import fluxo
from fluxo import Engine, MemoryStore, StoreUnavailableError, step, workflow
from fluxo.model.events import StepCompleted
from fluxo.store import Append, Outcome, Unknown


class FaultyStore:
    """A memory store whose appends go through `fault` while one is set."""

    def __init__(self) -> None:
        self.real = MemoryStore()
        self.seen: list[Append] = []
        self.fault: Callable[[Append], Outcome] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    def append(self, batch: Sequence[Append]) -> list[Outcome]:
        self.seen += batch
        if self.fault is None:
            return self.real.append(batch)
        return [self.fault(one) for one in batch]


store = FaultyStore()
effects: list[int] = []


@pytest.fixture(autouse=True)
def new_store() -> None:
    store.__init__()  # type: ignore[misc]
    effects.clear()


@step
def effect(number: int) -> int:
    effects.append(number)
    return number


@step
async def effect_later(number: int) -> int:
    effects.append(number)
    return number


@workflow
def three() -> list[int]:
    return [effect(0), effect(1), effect(2)]


@workflow
async def three_later() -> list[int]:
    return [await effect_later(0), await effect_later(1), await effect_later(2)]


COLOURS = pytest.mark.parametrize("flow", [three, three_later], ids=["sync", "async"])


def faults(answers: list[Callable[[Append], Outcome]], at: Callable[[Append], bool]) -> Callable[[Append], Outcome]:
    """Answer appends that `at` picks as told, one after the other; all others as the store does."""

    def answer(append: Append) -> Outcome:
        if answers and at(append):
            return answers.pop(0)(append)
        return store.real.append([append])[0]

    return answer


def is_second_step(append: Append) -> bool:
    return append.prev_seq == 2 and append.projection is None


def written_but_unknown(append: Append) -> Outcome:
    store.real.append([append])
    return Unknown("connection lost after the commit")


def not_written_and_unknown(_: Append) -> Outcome:
    return Unknown("connection lost before the commit")


def away(_: Append) -> Outcome:
    raise StoreUnavailableError("memory", "is away")


@COLOURS
@pytest.mark.parametrize(
    "answers",
    [
        [written_but_unknown],
        [not_written_and_unknown],
        [not_written_and_unknown, written_but_unknown, not_written_and_unknown],
        [away, away],
        [away, written_but_unknown],
    ],
)
def test_an_append_without_an_answer_is_sent_again_unchanged(
    flow: Any, answers: list[Callable[[Append], Outcome]], caplog: pytest.LogCaptureFixture
) -> None:
    tries = len(answers) + 1
    store.fault = faults(list(answers), is_second_step)
    with Engine(store) as engine:
        handle = engine.start(flow)
        assert handle.result(timeout=10) == [0, 1, 2]
        events = handle.history()
    sent = [append for append in store.seen if is_second_step(append)]
    assert len(sent) == tries
    assert sent == [sent[0]] * tries
    assert len([event for event in events if isinstance(event, StepCompleted)]) == 3
    assert effects == [0, 1, 2]
    assert ("waits for its store" in caplog.text) == (answers == [away, away])


@COLOURS
def test_who_was_overtaken_acts_no_more(flow: Any) -> None:
    overtaken = threading.Event()
    other = Engine(store.real)

    def cancel() -> None:
        with other:
            assert other.cancel("robbed", force=True)
        overtaken.set()

    def overtake(append: Append) -> Outcome:
        # In a context of its own: this is called where the run under test commits.
        contextvars.Context().run(cancel)
        return store.real.append([append])[0]

    store.fault = faults([overtake], is_second_step)
    with Engine(store) as engine:
        handle = engine.start(flow.options(id="robbed"))
        assert overtaken.wait(10)
        with pytest.raises(fluxo.RunCancelledError):
            handle.result(timeout=10)
        assert [type(event).__name__ for event in handle.history()] == ["RunStarted", "StepCompleted", "RunCancelled"]
    assert effects == [0, 1]


@COLOURS
def test_a_creation_without_an_answer_says_that_it_may_be_asked_again(flow: Any) -> None:
    store.fault = faults([written_but_unknown], lambda append: append.new is not None)
    with Engine(store) as engine:
        with pytest.raises(StoreUnavailableError, match=r"it is not known whether it was created .*start it again"):
            engine.start(flow.options(id="perhaps"))
        assert engine.start(flow.options(id="perhaps")).id == "perhaps"
        assert len(engine.list().runs) == 1


def test_a_store_that_is_away_at_the_start_refuses_it_and_nothing_is_written() -> None:
    store.fault = faults([away], lambda append: append.new is not None)
    with Engine(store) as engine:
        with pytest.raises(StoreUnavailableError, match="is away"):
            engine.start(three)
        assert engine.list().runs == ()
        assert engine.run(three) == [0, 1, 2]
