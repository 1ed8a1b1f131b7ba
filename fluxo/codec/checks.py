"""
Checks by which a value shows itself ordinary, so that msgspec may write it directly.

Owns: the checks of values with parts. Must not know shapes. They decide the speed of encoding, and are compiled once
from the checks of the parts. A check may raise where a part is missing; that, too, means not ordinary.

Theory: most parts are ordinary by their exact class alone. Four such parts are fetched by one C call and compared
in one expression, which measured half of what a loop or a list of classes costs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from operator import attrgetter, itemgetter
from typing import Any, Final

from fluxo.codec.shape import Check, type_of

__all__ = [
    "check_dict",
    "check_instance",
    "check_items",
    "check_keys",
    "check_object",
    "check_tuple",
    "check_union",
]

_Test = Callable[[Any], bool]
_KEYS: Final = type_of({}.keys())
_VALUES: Final = type_of({}.values())
_Getter = Callable[..., Callable[[Any], Any]]


def _fits(check: Check, value: Any) -> bool:
    return type_of(value) is check if isinstance(check, type) else check is not None and check(value)


def _parts_fit(getter: _Getter, checks: dict[Any, Check]) -> _Test:
    """Whether what `getter` fetches by these keys is ordinary."""
    exact = [(key, check) for key, check in checks.items() if isinstance(check, type)]
    tests = [_four_fit(getter, exact[first : first + 4]) for first in range(0, len(exact), 4)]
    tests += [_part_fits(getter(key), check) for key, check in checks.items() if not isinstance(check, type)]
    if len(tests) == 1:
        return tests[0]

    def all_fit(source: Any) -> bool:
        for test in tests:  # noqa: SIM110 - all() with a generator costs twice as much
            if not test(source):
                return False
        return True

    return all_fit


def _four_fit(getter: _Getter, parts: list[tuple[Any, type]]) -> _Test:
    keys, kinds = zip(*(parts + parts[-1:] * (4 - len(parts))), strict=True)
    fetch, (kind_a, kind_b, kind_c, kind_d) = getter(*keys), kinds

    def test(source: Any) -> bool:
        a, b, c, d = fetch(source)
        return type_of(a) is kind_a and type_of(b) is kind_b and type_of(c) is kind_c and type_of(d) is kind_d

    return test


def _part_fits(fetch: Callable[[Any], Any], check: Check) -> _Test:
    def test(source: Any) -> bool:
        return check is not None and check(fetch(source))

    return test


def check_object(cls: Any, names: Iterable[Any], checks: list[Check]) -> Check:
    """A record that has its fields as attributes, or by index, and nothing else."""
    getter = attrgetter if all(isinstance(name, str) for name in names) else itemgetter
    parts_fit = _parts_fit(getter, dict(zip(names, checks, strict=True)))

    def test(value: Any) -> bool:
        return type_of(value) is cls and parts_fit(value)

    return test


def check_instance(cls: Any, names: list[str], checks: list[Check]) -> Check:
    """A record whose whole state is its `__dict__`: exactly these names."""
    count, parts_fit = len(names), _parts_fit(itemgetter, dict(zip(names, checks, strict=True)))

    def test(value: Any) -> bool:
        if type_of(value) is not cls:
            return False
        state = value.__dict__
        return len(state) == count and parts_fit(state)

    return test


def check_tuple(checks: list[Check]) -> Check:
    """A tuple of fixed length."""
    count, parts_fit = len(checks), _parts_fit(itemgetter, dict(enumerate(checks)))

    def test(value: Any) -> bool:
        return type_of(value) is tuple and len(value) == count and parts_fit(value)

    return test


def check_keys(checks: dict[str, Check], required: frozenset[str]) -> Check:
    """A dict with known keys."""
    known, keys_fit = checks.keys(), check_items(_KEYS, str)

    def test(value: Any) -> bool:
        if type_of(value) is not dict or not required <= value.keys() <= known:
            return False
        return _fits(keys_fit, value.keys()) and all(_fits(checks[key], item) for key, item in value.items())

    return test


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


def check_dict(item: Check) -> Check:
    """A dict with text keys."""
    keys, items = check_items(_KEYS, str), check_items(_VALUES, item)

    def test(value: Any) -> bool:
        return type_of(value) is dict and _fits(keys, value.keys()) and _fits(items, value.values())

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
