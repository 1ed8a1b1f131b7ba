"""
Fields of users' classes: names, annotations, defaults, whatever made the class.

Owns: telling the kinds of classes apart and reading their fields. Must not know shapes. attrs and pydantic are
looked for in `sys.modules`: a value of theirs exists only when they are loaded, and nothing here loads them.
"""

from __future__ import annotations

import dataclasses
import inspect
import sys
import types
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from fluxo.codec.annotations import arguments_of, hints_of, substituted
from fluxo.codec.shape import type_of

__all__ = ["Described", "described", "is_model", "msgspec_agrees", "resolved_hints"]


class Described(NamedTuple):
    """One field as its class describes it; `default` makes the value of a missing one."""

    name: str
    annotation: Any
    default: Callable[[], Any] | None


def resolved_hints(cls: type, args: tuple[Any, ...]) -> dict[str, Any]:
    """Hints with the class's type arguments filled in."""
    meanings = arguments_of(cls, args)
    return {name: substituted(hint, meanings) for name, hint in hints_of(cls).items()}


def described(cls: Any, args: tuple[Any, ...]) -> list[Described] | None:
    """The fields of a Struct, dataclass, attrs class, pydantic model or NamedTuple; None for any other class."""
    if issubclass(cls, msgspec.Struct):
        return _of_struct(cls, resolved_hints(cls, args))
    if hasattr(cls, "__dataclass_fields__"):
        return _of_dataclass(cls, resolved_hints(cls, args))
    if hasattr(cls, "__attrs_attrs__"):
        return _of_attrs(cls, resolved_hints(cls, args))
    if is_model(cls):
        return _of_model(cls)
    if tuple in cls.__mro__ and hasattr(cls, "_field_defaults"):
        return _of_named_tuple(cls, resolved_hints(cls, args))
    return None


def is_model(cls: type) -> bool:
    """Whether this is a pydantic model."""
    base = getattr(sys.modules.get("pydantic.main"), "BaseModel", None)
    return base is not None and issubclass(cls, base)


def msgspec_agrees(cls: Any) -> bool:
    """Whether msgspec reads and writes this Struct or dataclass by the same fields and without running its code."""
    if arguments_of(cls, ()) or hasattr(cls, "__post_init__"):
        return False
    if issubclass(cls, msgspec.Struct):
        config = cls.__struct_config__
        renamed = cls.__struct_fields__ != cls.__struct_encode_fields__
        return not (renamed or config.array_like or config.omit_defaults or config.tag is not None)
    if not dataclasses.is_dataclass(cls) or cls.__new__ is not object.__new__:
        return False
    return all(_is_stored(inspect.getattr_static(cls, field.name, None)) for field in dataclasses.fields(cls))


def _is_stored(attribute: Any) -> bool:
    """Whether a class attribute leaves the instance's own one of the same name alone; a property does not."""
    return isinstance(attribute, types.MemberDescriptorType) or not hasattr(attribute, "__set__")


def _constant(value: Any) -> Callable[[], Any]:
    return lambda: value


def _of_struct(cls: type[msgspec.Struct], hints: dict[str, Any]) -> list[Described]:
    count = len(cls.__struct_fields__) - len(cls.__struct_defaults__)
    defaults = (*(msgspec.NODEFAULT for _ in range(count)), *cls.__struct_defaults__)
    return [
        Described(name, hints.get(name, Any), _struct_default(default))
        for name, default in zip(cls.__struct_fields__, defaults, strict=True)
    ]


def _struct_default(default: Any) -> Callable[[], Any] | None:
    if default is msgspec.NODEFAULT:
        return None
    # msgspec.structs.fields would tell, but it gives up where one annotation cannot be resolved.
    kind = type_of(default)
    if kind.__qualname__ == "Factory" and kind.__module__.startswith("msgspec"):
        factory: Callable[[], Any] = default.factory
        return factory
    return _constant(default)


def _of_dataclass(cls: Any, hints: dict[str, Any]) -> list[Described]:
    missing = dataclasses.MISSING
    fields: list[Described] = []
    for field in dataclasses.fields(cls):
        make = field.default_factory if field.default_factory is not missing else None
        if field.default is not missing:
            make = _constant(field.default)
        fields.append(Described(field.name, hints.get(field.name, Any), make))
    return fields


def _of_attrs(cls: Any, hints: dict[str, Any]) -> list[Described]:
    attr: Any = sys.modules["attr"]
    fields: list[Described] = []
    for item in cls.__attrs_attrs__:
        make: Callable[[], Any] | None = _constant(item.default)
        if item.default is attr.NOTHING:
            make = None
        elif isinstance(item.default, attr.Factory):
            make = None if item.default.takes_self else item.default.factory
        fields.append(Described(item.name, hints.get(item.name, item.type or Any), make))
    return fields


def _of_model(cls: Any) -> list[Described]:
    if not cls.__pydantic_complete__:
        cls.model_rebuild(raise_errors=False)
    return [
        Described(name, info.annotation, None if info.is_required() else _model_default(info))
        for name, info in cls.model_fields.items()
    ]


def _model_default(info: Any) -> Callable[[], Any]:
    return lambda: info.get_default(call_default_factory=True)


def _of_named_tuple(cls: Any, hints: dict[str, Any]) -> list[Described]:
    defaults: dict[str, Any] = cls._field_defaults
    return [
        Described(name, hints.get(name, Any), _constant(defaults[name]) if name in defaults else None)
        for name in cls._fields
    ]
