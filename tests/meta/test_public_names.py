"""
The public names of `fluxo`: listed in order, and all there.

Owns: that `fluxo.__all__` is true. Must not know what the names mean.
"""

from __future__ import annotations

import fluxo
from fluxo import errors


def test_the_public_names_are_listed_in_order() -> None:
    assert list(fluxo.__all__) == sorted(set(fluxo.__all__))


def test_every_public_name_can_be_imported() -> None:
    assert [name for name in fluxo.__all__ if not hasattr(fluxo, name)] == []


def test_dir_shows_every_public_name() -> None:
    assert set(fluxo.__all__) <= set(dir(fluxo))


def test_every_error_users_may_catch_is_a_public_name() -> None:
    catchable = {
        name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, errors.FluxoError)
    }
    assert catchable - set(fluxo.__all__) == set()


def test_a_name_that_does_not_exist_is_an_attribute_error() -> None:
    assert not hasattr(fluxo, "no_such_name")
