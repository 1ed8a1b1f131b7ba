"""
Annotations that leave a choice: enums, literals, unions.

Owns: how the chosen one is told in a payload. Must not know annotations.

Theory: union members whose wires differ in JSON kind are written as they are; the others as ``[label, wire]``.
A label is a name that the annotation gave, so it selects among the members the code promises and never
leads anywhere else.
"""

from __future__ import annotations

from collections import Counter
from enum import Enum, Flag
from functools import cached_property, reduce
from types import NoneType
from typing import Any, Final, Literal

import msgspec

from fluxo.codec.checks import check_union
from fluxo.codec.containers import Tagged
from fluxo.codec.scalars import PLAIN
from fluxo.codec.shape import (
    ANY_KIND,
    ANY_OBJECT,
    Check,
    Shape,
    exactly,
    kind_of,
    misfit,
    name_of,
    reachable,
    type_of,
    unreadable,
    write,
)
from fluxo.codec.tagged import ANY_SHAPE
from fluxo.errors import DecodeError, EncodeError

__all__ = ["Choice", "EnumShape", "LiteralShape"]

_INT64: Final = range(-(2**63), 2**63)
_parse: Final = msgspec.json.Decoder().decode


class EnumShape(Shape):
    """Members by value where all values are str or all are int, else by name; flags by their bits."""

    def __init__(self, cls: type[Enum]) -> None:
        self.cls = cls
        self.label = name_of(cls)
        self.roots = frozenset({cls})
        members = list(cls.__members__.values())
        kinds = {type_of(member._value_) for member in members}
        self._is_flag = issubclass(cls, Flag)
        self._by_value = kinds == {str} or (kinds == {int} and all(member._value_ in _INT64 for member in members))
        wire_kind = "int" if self._is_flag or (self._by_value and kinds == {int}) else "string"
        self.kinds = frozenset({wire_kind} | ({"~int"} if self._is_flag else set()))
        self._members: dict[Any, Enum] = (
            {member._value_: member for member in members} if self._by_value else dict(cls.__members__)
        )
        self._wire_type = int if wire_kind == "int" else str

    @property
    def native(self) -> Any:
        # A class may show another value than it stores; msgspec would write the shown one.
        honest = all(member.value is member._value_ for member in self._members.values())
        return self.cls if self._by_value and honest and not self._is_flag else None

    def ordinary(self) -> Check:
        return self.cls

    def lower(self, value: Any, depth: int) -> Any:
        if type_of(value) is not self.cls:
            raise misfit(value, self)
        if self._is_flag:
            return PLAIN[int].lower(value._value_, depth)
        return PLAIN[self._wire_type].lower(value._value_ if self._by_value else value._name_, depth)

    def lift(self, wire: Any) -> Any:
        if self._is_flag:
            return self.cls(PLAIN[int].lift(wire))
        member = self._members.get(wire) if type_of(wire) is self._wire_type else None
        if member is None:
            raise DecodeError("", f" is no member of {self.label}")
        return member


class LiteralShape(Shape):
    """One of a few values of str, bytes, int, bool, None, or members of enums."""

    def __init__(self, values: tuple[Any, ...]) -> None:
        self.label = f"Literal[{', '.join(map(repr, values))}]"
        self.roots = frozenset(map(type_of, values))
        self._native = all(type_of(value) in (str, NoneType) or _is_short(value) for value in values)
        self._values = values
        self._wires: dict[Any, Any] = {(type_of(value), value): _literal_wire(value) for value in values}
        self._by_wire = {_key(_parse(write(wire))): value for (_, value), wire in self._wires.items()}
        self.kinds = frozenset(map(kind_of, self._wires.values()))

    @property
    def native(self) -> Any:
        return Literal[self._values] if self._native else None

    def ordinary(self) -> Check:
        roots, known = self.roots or frozenset(), self._wires

        def test(value: Any) -> bool:
            return type_of(value) in roots and (type_of(value), value) in known

        return test

    def lower(self, value: Any, depth: int) -> Any:
        if type_of(value) not in (self.roots or ()):
            raise misfit(value, self)
        if (type_of(value), value) not in self._wires:
            raise EncodeError(
                "", "", f"is none of {self.label}", "hand over a promised value, or add it to the annotation"
            )
        return self._wires[type_of(value), value]

    def lift(self, wire: Any) -> Any:
        try:
            return self._by_wire[_key(wire)]
        except (KeyError, TypeError):
            raise DecodeError("", f" is none of {self.label}") from None


def _is_short(value: Any) -> bool:
    return type_of(value) is int and value in _INT64


def _literal_wire(value: Any) -> Any:
    if isinstance(value, Enum):
        return {"~member": [name_of(type_of(value)), value.name]}
    return ANY_SHAPE.lower(value, 0)


def _key(wire: Any) -> Any:
    """A wire as a dict key that tells 1 from True."""
    if type_of(wire) is not dict:
        return type_of(wire), wire
    ((tag, inner),) = wire.items()
    return tag, tuple(inner) if type_of(inner) is list else inner


class Choice(Shape):
    """A union. Its members are looked at on first use, when recursive ones are complete."""

    def __init__(self, members: tuple[Shape, ...]) -> None:
        self.parts = members

    @property
    def label(self) -> str:  # type: ignore[override]
        return " | ".join(member.label for member in self.parts)

    @cached_property
    def members(self) -> dict[str, Shape]:
        """By label, in an order that does not depend on how the annotation was spelled."""
        parts: list[Shape] = []
        for part in sorted(_flat(self.parts), key=lambda part: (part.label, isinstance(part, Tagged))):
            # An alias, a new type or an abstract collection may bring in one member twice; the untagged one stays.
            if not any(part.label == other.label and _classes(part) == _classes(other) for other in parts):
                parts.append(part)
        times = Counter(part.label for part in parts)
        members: dict[str, Shape] = {}
        for part in parts:
            label = part.label
            if times[label] > 1 and part.roots:
                label = f"{min(root.__module__ for root in part.roots)}.{label}"
            while label in members:
                label += "'"
            members[label] = part
        return members

    @cached_property
    def _nameless(self) -> frozenset[str]:
        """Labels that another process might give to another member: those of classes of one and the same name."""
        twins = {label.rstrip("'") for label in self.members if label.endswith("'")}
        return frozenset(label for label in self.labelled if label.rstrip("'") in twins)

    @cached_property
    def labelled(self) -> frozenset[str]:
        """Labels of the members that must be told apart by label."""
        members = self.members
        unclear = {
            label
            for label, member in members.items()
            if any(_conflict(member.kinds, other.kinds) for other in members.values() if other is not member)
        }
        if unclear:
            unclear |= {label for label, member in members.items() if "array" in member.kinds}
        return frozenset(unclear)

    @cached_property
    def _by_kind(self) -> dict[str, Shape]:
        return {
            kind: member
            for label, member in self.members.items()
            if label not in self.labelled
            for kind in member.kinds
        }

    @cached_property
    def _by_root(self) -> dict[type | None, list[tuple[str, Shape]]]:
        """Candidates for a value of a class; those that take any class stand under None and come last."""
        table: dict[type | None, list[tuple[str, Shape]]] = {None: []}
        for label, member in self.members.items():
            for root in member.roots if member.roots is not None else (None,):
                table.setdefault(root, []).append((label, member))
        if float in table and int not in table and not table[None]:
            table[int] = table[float]
        for root in table.keys() - {None}:
            table[root] = table[root] + table[None]
        return table

    @cached_property
    def roots(self) -> frozenset[type] | None:  # type: ignore[override]
        found: set[type] = set()
        for part in self.parts:
            if part.roots is None:
                return None
            found |= part.roots
        return frozenset(found)

    @cached_property
    def kinds(self) -> frozenset[str]:  # type: ignore[override]
        plain = frozenset(self._by_kind)
        return plain | {"array"} if self.labelled else plain

    @property
    def native(self) -> Any:
        if self.labelled:
            return None
        natives = [part.native for part in self.members.values()]
        # An odd scalar is an object, which a member that takes objects would swallow.
        odd = any(kind[:1] == "~" and kind != ANY_OBJECT for kind in self.kinds)
        if None in natives or (odd and "object" in self.kinds):
            return None
        return reduce(_either, natives)

    def ordinary(self) -> Check:
        checks = {root: part.ordinary() for part in self.members.values() for root in part.roots or ()}
        return check_union(checks)

    def lower(self, value: Any, depth: int) -> Any:
        candidates = self._by_root.get(type_of(value)) or self._by_root[None]
        if not candidates:
            raise misfit(value, self)
        if len(candidates) == 1:
            ((label, member),) = candidates
            return self._told(label, member.lower(value, depth))
        # A member that takes the value as it is goes before one that would widen an int inside it.
        for each in (exactly(depth), depth):
            for label, member in candidates:
                try:
                    wire = member.lower(value, each)
                except EncodeError:
                    continue
                return self._told(label, wire)
        problem = f"is {name_of(type_of(value))}, but fits no member of {self.label}"
        raise EncodeError("", "", problem, "check its parts against the annotation")

    def _told(self, label: str, wire: Any) -> Any:
        """The wire of a member, with its label if it needs one."""
        if label in self._nameless:
            problem = f"is a member of {self.label}, where two members have one name"
            raise EncodeError("", "", problem, "rename one of the classes, so that stored values can tell them apart")
        return [label, wire] if label in self.labelled else wire

    def lift(self, wire: Any) -> Any:
        by_kind = self._by_kind
        kind = kind_of(wire)
        member = by_kind.get(kind)
        if member is None and type_of(wire) is dict:
            member = by_kind.get(ANY_OBJECT)
        if member is None and kind == "int":
            member = by_kind.get("float")
        if member is not None:
            return member.lift(wire)
        if kind == "array" and self.labelled and len(wire) == 2 and type_of(wire[0]) is str:
            member = self.members.get(wire[0]) if wire[0] in self.labelled - self._nameless else None
            if member is not None:
                return member.lift(wire[1])
        raise unreadable(wire, self)


def _either(first: Any, second: Any) -> Any:
    return first | second


def _flat(parts: tuple[Shape, ...]) -> list[Shape]:
    flat: list[Shape] = []
    for part in parts:
        flat += _flat(part.parts) if isinstance(part, Choice) else [part]
    return flat


def _classes(shape: Shape) -> list[frozenset[type] | None]:
    """All classes inside, in order: with the label, they say what a shape is."""
    return [part.roots for part in reachable(shape.inner if isinstance(shape, Tagged) else shape)]


def _conflict(first: frozenset[str], second: frozenset[str]) -> bool:
    if first & second or ANY_KIND in first | second:
        return True
    return any(
        ANY_OBJECT in one and any(kind[:1] == "~" or kind == "object" for kind in other)
        for one, other in ((first, second), (second, first))
    )
