"""
The arithmetic of retries.

Owns: delays, jitter and which errors are tried again. Must not know steps or clocks.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxo import ConfigurationError, Retry


class CardDeclinedError(ConnectionError):
    pass


def delays_s(retry: Retry, draw: float = 0.5) -> list[float]:
    return [retry.delay_us(attempt, draw) / 1_000_000 for attempt in range(1, 6)]


def test_delays_grow_by_the_multiplier_up_to_the_maximum() -> None:
    assert delays_s(Retry(initial=1, multiplier=2, maximum=10)) == [1, 2, 4, 8, 10]
    assert delays_s(Retry(initial=0.2, multiplier=1)) == [0.2] * 5
    assert delays_s(Retry(initial=timedelta(minutes=1), maximum=timedelta(minutes=3))) == [60, 120, 180, 180, 180]


def test_jitter_spreads_a_delay_by_a_fraction_to_both_sides() -> None:
    retry = Retry(initial=10, jitter=0.1)
    assert retry.delay_us(1, 0.0) == 9_000_000
    assert retry.delay_us(1, 0.5) == 10_000_000
    assert retry.delay_us(1, 0.999999) == pytest.approx(11_000_000, rel=1e-5)


def test_no_jitter_is_no_spread() -> None:
    retry = Retry(initial=10, jitter=0)
    assert {retry.delay_us(1, draw) for draw in (0.0, 0.3, 0.99)} == {10_000_000}


@given(
    st.integers(1, 10_000),
    st.floats(0, 1, exclude_max=True),
    st.floats(0, 1e6),
    st.floats(1, 1e6),
    st.floats(0, 1e6),
    st.floats(0, 1),
)
def test_every_delay_keeps_within_its_bounds(
    attempt: int, draw: float, initial: float, multiplier: float, maximum: float, jitter: float
) -> None:
    retry = Retry(initial=initial, multiplier=multiplier, maximum=maximum, jitter=jitter)
    delay_us = retry.delay_us(attempt, draw)
    assert 0 <= delay_us <= maximum * (1 + jitter) * 1_000_000 + 1


def test_attempts_stop_at_the_maximum() -> None:
    retry = Retry(max_attempts=3)
    assert [retry.allows(attempt, ValueError()) for attempt in (1, 2, 3, 4)] == [True, True, False, False]


def test_only_errors_of_the_given_classes_are_tried_again() -> None:
    retry = Retry(retry_on=(ConnectionError, TimeoutError), give_up_on=(CardDeclinedError,))
    assert retry.allows(1, ConnectionResetError())
    assert retry.allows(1, TimeoutError())
    assert not retry.allows(1, ValueError())
    assert not retry.allows(1, CardDeclinedError())


def test_one_class_needs_no_tuple() -> None:
    retry = Retry(retry_on=ConnectionError, give_up_on=CardDeclinedError)  # type: ignore[arg-type]
    assert (retry.retry_on, retry.give_up_on) == ((ConnectionError,), (CardDeclinedError,))


@pytest.mark.parametrize(
    "setting, values",
    [
        ("max_attempts", [0, -1, 1.5, True, "3", None]),
        ("initial", [-1, float("inf"), float("nan"), "1", None, True]),
        ("maximum", [-1, float("inf"), timedelta(seconds=-1)]),
        ("multiplier", [0.5, 0, float("inf"), float("nan")]),
        ("jitter", [-0.1, 1.1, float("nan")]),
        ("retry_on", [(ValueError(),), (int,), ("ValueError",)]),
        ("give_up_on", [(7,)]),
    ],
)
def test_settings_that_cannot_be_meant_are_refused_by_name(setting: str, values: list[Any]) -> None:
    for value in values:
        with pytest.raises(ConfigurationError, match=f"Retry.{setting}"):
            Retry(**{setting: value})
