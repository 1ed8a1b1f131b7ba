"""
Sameness as payload tests mean it: equal in value and in type, all the way down.

Owns: the comparison. Must not know the codec: it shares no code with it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from datetime import datetime, time
from decimal import Decimal
from functools import partial
from typing import Any

import attrs
import msgspec

__all__ = ["same"]


def same(first: Any, second: Any, *, widened: bool = False) -> bool:
    """
    Whether two values cannot be told apart, but for identity; NaN is the same as NaN, -0.0 is not 0.0.

    With `widened`, the first may have a float where the second has an equal int.
    """
    if widened and type(first) is float and type(second) is int:
        return first == second
    if type(first) is not type(second):
        return False
    alike = partial(same, widened=widened)
    match first:
        case float():
            return _same_float(first, second)
        case complex():
            return _same_float(first.real, second.real) and _same_float(first.imag, second.imag)
        case Decimal():
            return str(first) == str(second)
        case datetime() | time():
            naive = first.replace(tzinfo=None) == second.replace(tzinfo=None)
            return naive and first.fold == second.fold and _same_zone(first.tzinfo, second.tzinfo)
        case list() | tuple():
            return len(first) == len(second) and all(map(alike, first, second))
        case set() | frozenset():
            rest = list(second)
            return len(first) == len(rest) and all(_take(item, rest, alike) for item in first)
        case dict():
            return alike(list(first.items()), list(second.items()))
    fields = _fields(first)
    if fields is not None:
        return all(alike(getattr(first, name), getattr(second, name)) for name in fields)
    return bool(first == second)


def _same_float(first: float, second: float) -> bool:
    if math.isnan(first) or math.isnan(second):
        return math.isnan(first) and math.isnan(second)
    return first == second and math.copysign(1, first) == math.copysign(1, second)


def _same_zone(first: Any, second: Any) -> bool:
    if type(first) is not type(second):
        return False
    if hasattr(first, "key"):
        return bool(first.key == second.key)
    return first is None or first.__getinitargs__() == second.__getinitargs__()


def _take(item: Any, rest: list[Any], alike: Callable[[Any, Any], bool]) -> bool:
    for index, other in enumerate(rest):
        if alike(item, other):
            del rest[index]
            return True
    return False


def _fields(value: Any) -> list[str] | None:
    if isinstance(value, msgspec.Struct):
        return list(value.__struct_fields__)
    if dataclasses.is_dataclass(value):
        return [field.name for field in dataclasses.fields(value)]
    if attrs.has(type(value)):
        return [field.name for field in attrs.fields(type(value))]
    return None
