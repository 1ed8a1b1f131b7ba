"""
`assert_effects_idempotent`: what an effect leaves behind when its body runs twice under one key.

Owns: one effect of each kind. Must not know how the second execution comes about.
"""

from __future__ import annotations

import pytest

import fluxo
from fluxo import step
from fluxo.testing import EffectsError, assert_effects_idempotent

ledger: dict[str, int] = {}
balance: list[int] = [0]


@step
def keyed(amount: int) -> None:
    ledger[fluxo.info().idempotency_key] = amount


@step
async def keyed_async(amount: int) -> None:
    ledger[fluxo.info().idempotency_key] = amount


@step
def careless(amount: int, *, account: int = 0) -> None:
    balance[account] += amount


@step
def failing() -> None:
    raise LookupError("no such account")


def test_an_effect_under_the_idempotency_key_happens_once() -> None:
    assert_effects_idempotent(keyed, 5, effects=lambda: dict(ledger))
    assert_effects_idempotent(keyed_async, 5, effects=lambda: dict(ledger))


def test_an_effect_that_is_added_happens_twice_and_is_shown() -> None:
    balance[0] = 0
    with pytest.raises(EffectsError, match=r"'careless' is not idempotent: .* it left 5, executed again 10"):
        assert_effects_idempotent(careless, 5, account=0, effects=lambda: balance[0])


def test_a_step_that_fails_by_itself_raises_its_own_error() -> None:
    with pytest.raises(LookupError, match="no such account"):
        assert_effects_idempotent(failing, effects=lambda: None)
