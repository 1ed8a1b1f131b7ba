"""
Classes with named fields: dataclasses, attrs classes, msgspec.Struct, NamedTuple, TypedDict.

Owns: how their state is read and put back. Must not know annotations; fields arrive with their shapes.

Theory: a record is a JSON object by field name (a NamedTuple an array, as in msgspec). State is read from the
fields and put back into a fresh instance without running `__init__`, `__new__` or `__post_init__`; only a Struct
must be made by its constructor. State that is in no field makes the value refused, never dropped. As code and
stored values drift apart, unknown stored fields are ignored and missing ones take their default.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from functools import cached_property
from typing import Any, NamedTuple, cast

from fluxo.codec.checks import check_instance, check_keys, check_object
from fluxo.codec.shape import ANY_OBJECT, Check, Shape, misfit, name_of, step_of, type_of, unreadable, within
from fluxo.errors import DecodeError, EncodeError

__all__ = ["Field", "Keys", "Record", "Row", "StructRecord", "extra_state", "make", "restore", "slots_of"]


# A subclass may have replaced them.
_new_tuple = cast(Any, tuple).__new__
_iterate = cast(Any, tuple).__iter__


class Field(NamedTuple):
    """One field; `default` makes the value of a missing one, None if it must be there."""

    name: str
    shape: Shape
    default: Callable[[], Any] | None


def slots_of(cls: type) -> list[str]:
    """Attribute names of the `__slots__` of a class and its bases, as instances know them."""
    names: list[str] = []
    for base in cls.__mro__:
        slots = base.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name in ("__dict__", "__weakref__"):
                continue
            private = name.startswith("__") and not name.endswith("__")
            names.append(f"_{base.__name__.lstrip('_')}{name}" if private else name)
    return names


def extra_state(value: Any, known: frozenset[str], spare_slots: tuple[str, ...]) -> str | None:
    """The name of an attribute that is no field, None if there is none. Caches of properties are not state."""
    cls = type_of(value)
    for name in getattr(value, "__dict__", ()):
        if name in known or name == "__orig_class__":
            continue
        if not isinstance(inspect.getattr_static(cls, name, None), cached_property):
            return str(name)
    return next((name for name in spare_slots if hasattr(value, name)), None)


def make(cls: Any) -> Any:
    """An instance without state, made by nothing but `object`."""
    return object.__new__(cls)


def restore(instance: Any, state: Iterable[tuple[str, Any]]) -> None:
    """Set attributes past any `__setattr__` of the class."""
    for name, value in state:
        object.__setattr__(instance, name, value)


class Record(Shape):
    """A dataclass or attrs class."""

    kinds = frozenset({"object"})

    def __init__(self, cls: Any, fields: tuple[Field, ...], *, native: bool) -> None:
        self.cls = cls
        self.label = name_of(cls)
        self.roots = frozenset({cls})
        self.fields = fields
        self.parts = tuple(field.shape for field in fields)
        self._native = native
        self._names = frozenset(field.name for field in fields)
        self._has_dict = cls.__dictoffset__ != 0
        self._spare_slots = tuple(name for name in slots_of(cls) if name not in self._names)

    @property
    def native(self) -> Any:
        # A name that is no field could be set on the instance; where there are none, nothing can hide.
        fit = self._native and not self._spare_slots and self.fields
        return self.cls if fit and all(part.native is not None for part in self.parts) else None

    def ordinary(self) -> Check:
        checks = [part.ordinary() for part in self.parts]
        names = [field.name for field in self.fields]
        if None in checks:
            return None
        if not self._has_dict:
            return check_object(self.cls, names, checks)
        return None if self._names & set(slots_of(self.cls)) else check_instance(self.cls, names, checks)

    def lower(self, value: Any, depth: int) -> Any:
        if type_of(value) is not self.cls:
            raise misfit(value, self)
        extra = extra_state(value, self._names, self._spare_slots)
        if extra is not None:
            cure = f"make it a field of {self.label}, or delete it before the value is handed over"
            raise EncodeError("", step_of(extra, 0), f"is an attribute but no field of {self.label}", cure)
        wires: dict[str, Any] = {}
        for name, shape, _ in self.fields:
            try:
                item = getattr(value, name)
            except AttributeError:
                problem = f"is a field of {self.label} that was never set"
                raise EncodeError("", f".{name}", problem, "set it, or give it a default") from None
            try:
                wires[name] = shape.lower(item, depth)
            except EncodeError as error:
                within(error, f".{name}")
                raise
        return wires

    def lift(self, wire: Any) -> Any:
        if type_of(wire) is not dict:
            raise unreadable(wire, self)
        values: list[tuple[str, Any]] = []
        for name, shape, default in self.fields:
            if name in wire:
                try:
                    values.append((name, shape.lift(wire[name])))
                except DecodeError as error:
                    within(error, f".{name}")
                    raise
            elif default is not None:
                values.append((name, default()))
            else:
                raise DecodeError("", f".{name} is missing, and {self.label} has no default for it")
        return self.build(values)

    def build(self, values: list[tuple[str, Any]]) -> Any:
        """An instance with these fields."""
        instance = make(self.cls)
        restore(instance, values)
        return instance


class StructRecord(Record):
    """A msgspec.Struct. Its constructor runs `__post_init__`, so that the codec verifies values that have one."""

    def __init__(self, cls: Any, fields: tuple[Field, ...], *, native: bool) -> None:
        self.runs_code = hasattr(cls, "__post_init__")
        super().__init__(cls, fields, native=native and not self.runs_code and cls.__dictoffset__ == 0)
        self._spare_slots = ()
        self._forbids = cls.__struct_config__.forbid_unknown_fields

    def lift(self, wire: Any) -> Any:
        if self._forbids and type_of(wire) is dict and not wire.keys() <= self._names:
            raise DecodeError("", f" has fields that {self.label} forbids")
        return super().lift(wire)

    def build(self, values: list[tuple[str, Any]]) -> Any:
        return self.cls(**dict(values))


class Row(Shape):
    """A NamedTuple, or a namedtuple with Any in every field."""

    kinds = frozenset({"array"})

    def __init__(self, cls: Any, fields: tuple[Field, ...]) -> None:
        self.cls = cls
        self.label = name_of(cls)
        self.roots = frozenset({cls})
        self.fields = fields
        self.parts = tuple(field.shape for field in fields)

    @property
    def native(self) -> Any:
        plain = self.cls.__bases__ == (tuple,) and self.fields
        return self.cls if plain and all(part.native is not None for part in self.parts) else None

    def ordinary(self) -> Check:
        checks = [part.ordinary() for part in self.parts]
        return None if None in checks else check_object(self.cls, range(len(checks)), checks)

    def lower(self, value: Any, depth: int) -> Any:
        if type_of(value) is not self.cls:
            raise misfit(value, self)
        extra = extra_state(value, frozenset(), ())
        if extra is not None:
            problem = f"is an attribute but no field of {self.label}"
            raise EncodeError("", step_of(extra, 0), problem, "make it a field, or a dataclass")
        wires: list[Any] = []
        for field, item in zip(self.fields, _iterate(value), strict=True):
            try:
                wires.append(field.shape.lower(item, depth))
            except EncodeError as error:
                within(error, f".{field.name}")
                raise
        return wires

    def lift(self, wire: Any) -> Any:
        if type_of(wire) is not list:
            raise unreadable(wire, self)
        values: list[Any] = []
        for index, (name, shape, default) in enumerate(self.fields):
            if index < len(wire):
                try:
                    values.append(shape.lift(wire[index]))
                except DecodeError as error:
                    within(error, f".{name}")
                    raise
            elif default is not None:
                values.append(default())
            else:
                raise DecodeError("", f".{name} is missing, and {self.label} has no default for it")
        return _new_tuple(self.cls, values)


class Keys(Shape):
    """A TypedDict: a dict with known keys, in the order in which the value has them."""

    kinds = frozenset({"object", ANY_OBJECT})
    roots = frozenset({dict})

    def __init__(self, cls: type, items: dict[str, Shape], required: frozenset[str]) -> None:
        self.cls = cls
        self.label = name_of(cls)
        self.items = items
        self.required = required
        self.parts = tuple(items.values())

    @property
    def native(self) -> Any:
        return self.cls if self.items and all(part.native is not None for part in self.parts) else None

    def ordinary(self) -> Check:
        checks = {name: shape.ordinary() for name, shape in self.items.items()}
        if None in checks.values():
            return None
        return check_keys(checks, self.required)

    def lower(self, value: Any, depth: int) -> Any:
        if type_of(value) is not dict:
            raise misfit(value, self)
        missing = sorted(self.required - value.keys())
        if missing:
            problem = f"is a key that {self.label} requires and that is missing"
            raise EncodeError("", f".{missing[0]}", problem, "set it, or declare it NotRequired")
        wires: dict[str, Any] = {}
        for key, item in value.items():
            try:
                if type_of(key) is not str or key not in self.items:
                    problem = f"is a key that {self.label} does not declare"
                    raise EncodeError("", "", problem, "declare it, or leave it out")
                wires[key] = self.items[key].lower(item, depth)
            except EncodeError as error:
                within(error, step_of(key, len(wires)))
                raise
        return wires

    def lift(self, wire: Any) -> Any:
        if type_of(wire) is not dict:
            raise unreadable(wire, self)
        values: dict[str, Any] = {}
        for key, item in wire.items():
            if key in self.items:
                try:
                    values[key] = self.items[key].lift(item)
                except DecodeError as error:
                    within(error, step_of(key, len(values)))
                    raise
        missing = sorted(self.required - values.keys())
        if missing:
            raise DecodeError("", f".{missing[0]} is missing, and {self.label} requires it")
        return values
