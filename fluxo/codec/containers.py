"""
Annotated containers: list, tuple, set, frozenset, dict.

Owns: their wires, and when msgspec alone may handle them. Must not know which annotation they came from.

Theory: lists, tuples and sets are JSON arrays, sets sorted by the bytes of their items. A dict with text keys is
a JSON object with any keys; another dict is a tagged list of pairs. Dict order is kept.
"""

from __future__ import annotations

from types import GenericAlias
from typing import Any

from fluxo.codec.checks import check_dict, check_items, check_tuple
from fluxo.codec.scalars import PLAIN
from fluxo.codec.shape import (
    ANY_OBJECT,
    Check,
    Shape,
    kind_of,
    lift_items,
    lower_items,
    misfit,
    type_of,
    unreadable,
    within,
)
from fluxo.codec.tagged import lift_distinct, lift_object, lift_pairs, lower_object, lower_pairs, sort_wires
from fluxo.errors import DecodeError, EncodeError

__all__ = ["Dict", "Fixed", "Items", "Tagged"]


class Items(Shape):
    """Any number of items of one shape: list, tuple, set or frozenset."""

    def __init__(self, kind: Any, item: Shape) -> None:
        self.kind = kind
        self.item = item
        dots = ", ..." if kind is tuple else ""
        self.label = f"{kind.__name__}[{item.label}{dots}]"
        self.roots = frozenset({kind})
        self.kinds = frozenset({"array"})
        self.parts = (item,)
        self._is_set = kind in (set, frozenset)

    @property
    def native(self) -> Any:
        item = self.item.native
        if item is None:
            return None
        return GenericAlias(self.kind, (item, ...) if self.kind is tuple else (item,))

    def ordinary(self) -> Check:
        if self._is_set:
            return None
        check = self.item.ordinary()
        return None if check is None else check_items(self.kind, check)

    def lower(self, value: Any, depth: int) -> Any:
        if type_of(value) is not self.kind:
            raise misfit(value, self)
        wires = lower_items(value, self.item.lower, depth)
        return sort_wires(wires) if self._is_set else wires

    def lift(self, wire: Any) -> Any:
        if type_of(wire) is not list:
            raise unreadable(wire, self)
        if self._is_set:
            return lift_distinct(self.kind, wire, self.item.lift)
        return self.kind(lift_items(wire, self.item.lift))


class Fixed(Shape):
    """A tuple of fixed length."""

    def __init__(self, items: tuple[Shape, ...]) -> None:
        self.label = f"tuple[{', '.join(item.label for item in items) or '()'}]"
        self.roots = frozenset({tuple})
        self.kinds = frozenset({"array"})
        self.parts = items

    @property
    def native(self) -> Any:
        items = tuple(item.native for item in self.parts)
        return None if None in items else GenericAlias(tuple, items or ((),))

    def ordinary(self) -> Check:
        checks = [part.ordinary() for part in self.parts]
        return None if None in checks else check_tuple(checks)

    def lower(self, value: Any, depth: int) -> Any:
        if type_of(value) is not tuple:
            raise misfit(value, self)
        if len(value) != len(self.parts):
            problem = f"is a tuple of {len(value)}, promised is {self.label}"
            raise EncodeError("", "", problem, "hand over as many items as the annotation promises")
        wires: list[Any] = []
        try:
            for part, item in zip(self.parts, value, strict=True):
                wires.append(part.lower(item, depth))
        except EncodeError as error:
            within(error, f"[{len(wires)}]")
            raise
        return wires

    def lift(self, wire: Any) -> Any:
        if type_of(wire) is not list:
            raise unreadable(wire, self)
        if len(wire) != len(self.parts):
            raise DecodeError("", f" holds {len(wire)} items, which is no {self.label}")
        values: list[Any] = []
        try:
            for part, item in zip(self.parts, wire, strict=True):
                values.append(part.lift(item))
        except DecodeError as error:
            within(error, f"[{len(values)}]")
            raise
        return tuple(values)


class Dict(Shape):
    """A dict with keys of one shape and values of one shape."""

    def __init__(self, key: Shape, value: Shape) -> None:
        self.label = f"dict[{key.label}, {value.label}]"
        self.roots = frozenset({dict})
        self.parts = (key, value)
        self._is_object = key is PLAIN[str]
        self.kinds = frozenset({"object", ANY_OBJECT} if self._is_object else {"~dict"})

    @property
    def native(self) -> Any:
        value = self.parts[1].native
        return GenericAlias(dict, (str, value)) if self._is_object and value is not None else None

    def ordinary(self) -> Check:
        check = self.parts[1].ordinary()
        return None if check is None else check_dict(check)

    def lower(self, value: Any, depth: int) -> Any:
        if type_of(value) is not dict:
            raise misfit(value, self)
        key, item = self.parts
        if self._is_object:
            return lower_object(value, item.lower, depth)
        return {"~dict": lower_pairs(value.items(), key.lower, item.lower, depth)}

    def lift(self, wire: Any) -> Any:
        key, item = self.parts
        if self._is_object and type_of(wire) is dict:
            return lift_object(wire, item.lift)
        if kind_of(wire) != "~dict" or self._is_object:
            raise unreadable(wire, self)
        return lift_pairs(wire["~dict"], key.lift, item.lift)


class Tagged(Shape):
    """Another shape under the tag that tells its class, where an annotation leaves the class open."""

    def __init__(self, tag: str, inner: Shape) -> None:
        self.tag = tag
        self.inner = inner
        self.label = inner.label
        self.roots = inner.roots
        self.kinds = frozenset({tag})
        self.parts = (inner,)

    def lower(self, value: Any, depth: int) -> Any:
        return {self.tag: self.inner.lower(value, depth)}

    def lift(self, wire: Any) -> Any:
        if kind_of(wire) != self.tag:
            raise unreadable(wire, self)
        return self.inner.lift(wire[self.tag])
