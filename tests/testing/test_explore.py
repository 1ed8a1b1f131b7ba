"""
`explore`: arguments from annotations, outcomes in place of steps, and small examples of what is wrong.

Owns: what is drawn. Must not know how a check is made.
"""

from __future__ import annotations

import pytest
from hypothesis import strategies as st

from fluxo import UsageError, step, workflow
from fluxo.testing import DurabilityError, explore
from tests.testing import flows

asked: list[int] = []


@step
def ask(line: int) -> int:
    asked.append(line)
    return line


@workflow
def asks(order: flows.Order, twice: bool = False) -> int:
    try:
        answer = ask(len(order.lines))
        return answer + ask(answer) if twice else answer
    except ConnectionError:
        return -1


@workflow
def unannotated(line) -> int:  # type: ignore[no-untyped-def]
    return ask(line)


def test_arguments_are_drawn_from_annotations() -> None:
    asked.clear()
    explore(asks, examples=5, elsewhere=False)
    assert len(set(asked)) > 1


def test_generated_steps_do_not_run_and_raise_what_they_may() -> None:
    asked.clear()
    explore(asks, generate=["ask"], errors=[ConnectionError], examples=8, elsewhere=False)
    assert asked == []


def test_a_failing_example_is_shrunk() -> None:
    with pytest.raises(DurabilityError, match="coin") as caught:
        explore(flows.coin, examples=20, elsewhere=False)
    assert "coin, 0)" in str(caught.value) or "start=0" in str(caught.value)


def test_a_strategy_takes_the_place_of_an_annotation() -> None:
    asked.clear()
    explore(unannotated, {"line": st.just(5)}, examples=2, elsewhere=False)
    assert set(asked) == {5}


def test_what_cannot_be_drawn_is_named() -> None:
    with pytest.raises(UsageError, match="'line' of workflow 'unannotated' has no annotation"):
        explore(unannotated)
    with pytest.raises(UsageError, match="no parameter lines"):
        explore(unannotated, {"lines": st.none()})
    with pytest.raises(UsageError, match="no step 'nowhere'"):
        explore(asks, generate=["nowhere"])
