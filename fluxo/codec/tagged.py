"""
Values that no annotation describes: each data type tells itself.

Owns: the tags ``~tuple``, ``~set``, ``~frozenset``, ``~dict`` and the walk over unannotated values. Must not know
annotations or user classes: what is not exactly one of the builtin data types is refused.

Theory: None, bool, int, float, str, list and dicts with plain string keys are their own wire. Everything else
is ``{"~tag": inner}``; a dict with a key that begins with ``~`` is written as pairs, so that no plain object
can be taken for a tagged one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec

from fluxo.codec.scalars import PLAIN, TEXTS
from fluxo.codec.shape import (
    Shape,
    deeper,
    lift_items,
    lower_items,
    name_of,
    step_of,
    type_of,
    unreadable,
    within,
    write,
)
from fluxo.errors import DecodeError, EncodeError

__all__ = [
    "ANY_SHAPE",
    "AnyShape",
    "lift_distinct",
    "lift_object",
    "lift_pairs",
    "lower_object",
    "lower_pairs",
    "sort_wires",
]

_Lower = Callable[[Any, int], Any]
_Lift = Callable[[Any], Any]

_STR: Final = PLAIN[str]


class AnyShape(Shape):
    """The shape of `Any`, of missing annotations, and of those that cannot be resolved."""

    def lower(self, value: Any, depth: int) -> Any:
        lower = _LOWER.get(type_of(value))
        if lower is None:
            raise _no_data(value)
        return lower(value, depth)

    def lift(self, wire: Any) -> Any:
        if type_of(wire) is dict:
            if len(wire) == 1:
                ((tag, inner),) = wire.items()
                if tag[:1] == "~":
                    return _untag(tag, inner)
            return lift_object(wire, self.lift)
        if type_of(wire) is list:
            return lift_items(wire, self.lift)
        return wire


ANY_SHAPE: Final = AnyShape()


def _no_data(value: Any) -> EncodeError:
    kind = type_of(value)
    if kind.__module__ in ("builtins", "collections", "types", "functools"):
        cure = "hand over builtin data instead: numbers, text, bytes, dates, lists, tuples, sets, dicts"
        return EncodeError("", "", f"is {name_of(kind)}, which fluxo does not store", cure)
    cure = f"annotate the parameter, result or field with {name_of(kind)}, or hand over builtin data"
    return EncodeError("", "", f"is {name_of(kind)}, a class that no annotation reaches", cure)


def sort_wires(wires: Iterable[Any]) -> list[Any]:
    """The wires of a set in an order that does not depend on hashes: by their bytes."""
    return [msgspec.Raw(body) for body in sorted(map(write, wires))]


def lower_object(items: dict[str, Any], value: _Lower, depth: int) -> dict[str, Any]:
    """A dict with text keys, in its order; an error's path names the key, or its number."""
    wires: dict[str, Any] = {}
    current: Any = None
    try:
        for current, item in items.items():
            wires[_STR.lower(current, depth)] = value(item, depth)
    except EncodeError as error:
        within(error, step_of(current, len(wires)))
        raise
    return wires


def lift_object(wire: Any, value: _Lift) -> dict[str, Any]:
    """The dict of a lowered one with text keys."""
    values: dict[str, Any] = {}
    current = ""
    try:
        for current, item in wire.items():
            values[current] = value(item)
    except DecodeError as error:
        within(error, step_of(current, len(values)))
        raise
    return values


def lower_pairs(items: Iterable[tuple[Any, Any]], key: _Lower, value: _Lower, depth: int) -> list[list[Any]]:
    """The items of a dict in their order; an error's path names the key, or its number."""
    pairs: list[list[Any]] = []
    current: Any = None
    try:
        for current, item in items:
            pairs.append([key(current, depth), value(item, depth)])
    except EncodeError as error:
        within(error, step_of(current, len(pairs)))
        raise
    return pairs


def lift_pairs(wire: Any, key: _Lift, value: _Lift) -> dict[Any, Any]:
    """The dict of lowered items."""
    values: dict[Any, Any] = {}
    try:
        for first, second in wire:
            values[key(first)] = value(second)
    except DecodeError as error:
        within(error, f"[key {len(values)}]")
        raise
    if len(values) != len(wire):
        raise DecodeError("", " holds one key twice")
    return values


def lift_distinct(kind: Any, wire: Any, lift: _Lift) -> Any:
    """The set of lowered items."""
    values = kind(lift_items(wire, lift))
    if len(values) != len(wire):
        raise DecodeError("", f" holds one item of a {kind.__name__} twice")
    return values


def _lower_list(value: list[Any], depth: int) -> Any:
    return lower_items(value, ANY_SHAPE.lower, deeper(depth))


def _lower_tuple(value: tuple[Any, ...], depth: int) -> Any:
    return {"~tuple": lower_items(value, ANY_SHAPE.lower, deeper(depth))}


def _lower_set(value: set[Any] | frozenset[Any], depth: int) -> Any:
    wires = lower_items(value, ANY_SHAPE.lower, deeper(depth))
    return {f"~{type_of(value).__name__}": sort_wires(wires)}


def _lower_dict(value: dict[Any, Any], depth: int) -> Any:
    depth = deeper(depth)
    if all(type_of(key) is str and key[:1] != "~" for key in value):
        return lower_object(value, ANY_SHAPE.lower, depth)
    return {"~dict": lower_pairs(value.items(), ANY_SHAPE.lower, ANY_SHAPE.lower, depth)}


def _untag(tag: str, inner: Any) -> Any:
    lift = _UNTAG.get(tag)
    if lift is None:
        raise DecodeError("", f" carries a tag that this fluxo does not know ({len(tag)} characters)")
    if tag in _LISTED and type_of(inner) is not list:
        raise unreadable(inner, ANY_SHAPE)
    return lift(inner)


_LOWER: Final[dict[type, _Lower]] = {
    **{kind: shape.lower for kind, shape in PLAIN.items()},
    **{kind: shape.tagged for kind, shape in TEXTS.items()},
    list: _lower_list,
    tuple: _lower_tuple,
    set: _lower_set,
    frozenset: _lower_set,
    dict: _lower_dict,
}

_UNTAG: Final[dict[str, _Lift]] = {
    **{shape.tag: shape.untag for shape in (PLAIN[int], PLAIN[float], PLAIN[complex], *TEXTS.values())},
    "~tuple": lambda inner: tuple(lift_items(inner, ANY_SHAPE.lift)),
    "~set": lambda inner: lift_distinct(set, inner, ANY_SHAPE.lift),
    "~frozenset": lambda inner: lift_distinct(frozenset, inner, ANY_SHAPE.lift),
    "~dict": lambda inner: lift_pairs(inner, ANY_SHAPE.lift, ANY_SHAPE.lift),
}

_LISTED: Final = frozenset({"~tuple", "~set", "~frozenset", "~dict"})
