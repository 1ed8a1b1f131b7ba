"""
Checks by which a value shows itself ordinary, so that msgspec may write it directly.

Owns: the checks of values with parts. Must not know shapes. They decide the speed of encoding: each is compiled once
from the checks of the parts, and where those are exact types, one comparison of lists does for all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from fluxo.codec.shape import Check, type_of

__all__ = [
    "all_fit",
    "check_dict",
    "check_instance",
    "check_items",
    "check_keys",
    "check_union",
    "check_values",
    "fits",
]


def fits(check: Check, value: Any) -> bool:
    """Whether one value is ordinary."""
    return type_of(value) is check if isinstance(check, type) else check is not None and check(value)


def all_fit(checks: list[Check]) -> Callable[[Iterable[Any]], bool]:
    """For as many values as there are checks."""
    if all(isinstance(check, type) for check in checks):
        return lambda values: [*map(type_of, values)] == checks
    pairs = [(check, None) if isinstance(check, type) else (None, check) for check in checks]

    def each(values: Iterable[Any]) -> bool:
        for value, (exact, test) in zip(values, pairs, strict=False):
            if type_of(value) is not exact and (test is None or not test(value)):
                return False
        return True

    return each


def check_items(kind: Any, item: Check) -> Check:
    """Any number of items."""
    if isinstance(item, type):
        only = {item}

        def alike(value: Any) -> bool:
            return type_of(value) is kind and {*map(type_of, value)} <= only

        return alike

    def each(value: Any) -> bool:
        return type_of(value) is kind and item is not None and all(map(item, value))

    return each


_KEYS: Final = type_of({}.keys())
_VALUES: Final = type_of({}.values())


def check_dict(item: Check) -> Check:
    """A dict with text keys."""
    keys, items = check_items(_KEYS, str), check_items(_VALUES, item)

    def test(value: Any) -> bool:
        return type_of(value) is dict and fits(keys, value.keys()) and fits(items, value.values())

    return test


def check_values(cls: Any, read: Callable[[Any], Iterable[Any]], checks: list[Check]) -> Check:
    """A record whose fields `read` gives in order, or fails to give."""
    if all(isinstance(check, type) for check in checks):

        def alike(value: Any) -> bool:
            return type_of(value) is cls and [*map(type_of, read(value))] == checks

        return alike
    all_ordinary = all_fit(checks)

    def each(value: Any) -> bool:
        return type_of(value) is cls and all_ordinary(read(value))

    return each


def check_instance(cls: Any, names: list[str], checks: list[Check]) -> Check:
    """A record whose whole state is its `__dict__`: exactly these names, in this order."""
    if all(isinstance(check, type) for check in checks):

        def alike(value: Any) -> bool:
            if type_of(value) is not cls:
                return False
            state = value.__dict__
            return [*state] == names and [*map(type_of, state.values())] == checks

        return alike
    all_ordinary = all_fit(checks)

    def each(value: Any) -> bool:
        if type_of(value) is not cls:
            return False
        state = value.__dict__
        return [*state] == names and all_ordinary(state.values())

    return each


def check_keys(checks: dict[str, Check], required: frozenset[str]) -> Check:
    """A dict with known keys."""
    known = checks.keys()

    def test(value: Any) -> bool:
        if type_of(value) is not dict or not required <= value.keys() <= known:
            return False
        return all(type_of(key) is str and fits(checks[key], item) for key, item in value.items())

    return test


def check_union(checks: dict[type, Check]) -> Check:
    """A member of a union, told by its exact class."""
    if all(root is check for root, check in checks.items()):
        exact = frozenset(checks)

        def one_of(value: Any) -> bool:
            return type_of(value) in exact

        return one_of

    def test(value: Any) -> bool:
        check = checks.get(type_of(value))
        return check is not None and (isinstance(check, type) or check(value))

    return test
