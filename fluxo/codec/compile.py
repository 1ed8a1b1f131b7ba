"""
From an annotation to a shape.

Owns: which construct becomes which shape, and recursion among them. Must not know payloads or limits.
"""

from __future__ import annotations

import collections.abc
import enum
import types
import typing
from collections.abc import Callable
from typing import Any, Final, get_args, get_origin

import msgspec

from fluxo.codec.annotations import bare, required_of, substituted
from fluxo.codec.choices import Choice, EnumShape, LiteralShape
from fluxo.codec.containers import Dict, Fixed, Items, Tagged
from fluxo.codec.fields import described, is_model, msgspec_agrees, resolved_hints
from fluxo.codec.models import Foreign, Model
from fluxo.codec.records import Field, Keys, Record, Row, StructRecord, make
from fluxo.codec.scalars import SCALARS
from fluxo.codec.shape import Later, Shape, Unsupported, reachable
from fluxo.codec.tagged import ANY_SHAPE

__all__ = ["compile_annotation"]

_Args = tuple[Any, ...]
_LISTS: Final = (list, tuple)
_SETS: Final = (set, frozenset)
_OPEN: Final[dict[Any, tuple[type, ...]]] = {
    collections.abc.Sequence: _LISTS,
    collections.abc.Reversible: _LISTS,
    collections.abc.Collection: (*_LISTS, *_SETS, dict),
    collections.abc.Iterable: (*_LISTS, *_SETS, dict),
    collections.abc.Container: (*_LISTS, *_SETS, dict),
    collections.abc.MutableSequence: (list,),
    collections.abc.Set: _SETS,
    collections.abc.MutableSet: (set,),
    collections.abc.Mapping: (dict,),
    collections.abc.MutableMapping: (dict,),
}
"""Abstract collections, and the concrete classes that are data; a value of the first needs no tag."""

_CONCRETE: Final = (list, tuple, set, frozenset, dict)


def compile_annotation(annotation: Any) -> Shape:
    """The shape of an annotation. Never raises: what names no data becomes a shape that refuses every value."""
    try:
        return _Compiler().shape(annotation)
    except Exception:
        # A class that defends itself against being looked at, or an alias that only stands for itself.
        return Unsupported(str(annotation))


class _Compiler:
    """Compiles one annotation; remembers what is under way, so that recursive types meet themselves."""

    def __init__(self) -> None:
        self._open: list[tuple[Any, Later]] = []

    def shape(self, annotation: Any) -> Shape:
        annotation = bare(annotation)
        if annotation is Any:
            return ANY_SHAPE
        origin, args = get_origin(annotation) or annotation, get_args(annotation)
        if origin in (typing.Union, types.UnionType):
            return self._union(args)
        if origin is typing.Literal:
            return LiteralShape(args)
        if type(origin).__name__ == "TypeAliasType":
            return self._recursive(annotation, str(origin), lambda: self._alias(origin, args))
        if not isinstance(origin, type):
            return Unsupported(str(annotation))
        if origin in SCALARS:
            return SCALARS[origin]
        if origin in _OPEN or origin in _CONCRETE:
            return self._collection(annotation, origin, args)
        return self._class(annotation, origin, args)

    def _recursive(self, key: Any, label: str, build: Callable[[], Shape]) -> Shape:
        for known, later in self._open:
            if known is key or known == key:
                return later
        later = Later(label)
        self._open.append((key, later))
        try:
            later.target = build()
        finally:
            self._open.pop()
        return later.target

    def _alias(self, alias: Any, args: _Args) -> Shape:
        meanings = dict(zip(getattr(alias, "__type_params__", ()), args, strict=False))
        return self.shape(substituted(alias.__value__, meanings))

    def _union(self, args: _Args) -> Shape:
        members = [bare(arg) for arg in args]
        if all(member in (Any, types.NoneType) for member in members):
            return ANY_SHAPE
        return Choice(tuple(self.shape(member) for member in members))

    def _collection(self, annotation: Any, origin: Any, args: _Args) -> Shape:
        if origin is tuple:
            return self._tuple(annotation, args)
        kinds = _OPEN.get(origin) or (origin,)
        item = args[0] if args else Any
        members: list[Shape] = []
        for kind in kinds:
            if kind is dict:
                key, value = args if len(args) == 2 else (item, Any)
                inner: Shape = Dict(self.shape(key), self.shape(value))
            else:
                inner = Items(kind, self.shape(item))
            members.append(inner if kind is kinds[0] else Tagged(f"~{kind.__name__}", inner))
        if tuple in kinds:
            members += [SCALARS[str]] if bare(item) in (Any, str) else []
            members += [Tagged("~bytes", SCALARS[bytes])] if bare(item) in (Any, int) else []
        return members[0] if len(members) == 1 else Choice(tuple(members))

    def _tuple(self, annotation: Any, args: _Args) -> Shape:
        if len(args) == 2 and args[1] is Ellipsis:
            return Items(tuple, self.shape(args[0]))
        unpacked = any(_is_unpacked(arg) for arg in args)
        if unpacked or annotation in (tuple, typing.Tuple):  # noqa: UP006 - the bare form, as users may write it
            return Items(tuple, ANY_SHAPE)
        return Fixed(tuple(self.shape(arg) for arg in args))

    def _class(self, annotation: Any, cls: Any, args: _Args) -> Shape:
        if issubclass(cls, enum.Enum):
            return EnumShape(cls)
        build = self._keys if dict in cls.__mro__ and hasattr(cls, "__total__") else self._record
        return self._recursive(annotation, cls.__qualname__, lambda: build(cls, args))

    def _keys(self, cls: Any, args: _Args) -> Shape:
        hints = resolved_hints(cls, args)
        return Keys(cls, {name: self.shape(hint) for name, hint in hints.items()}, required_of(cls, hints))

    def _record(self, cls: Any, args: _Args) -> Shape:
        fields = described(cls, args)
        if fields is None:
            return Unsupported(cls.__qualname__, cls)
        if is_model(cls):
            return Model(cls, tuple(Field(name, self._model_field(hint), make) for name, hint, make in fields))
        shaped = tuple(Field(name, self.shape(hint), default) for name, hint, default in fields)
        if issubclass(cls, tuple):
            return Row(cls, shaped)
        if issubclass(cls, msgspec.Struct):
            return StructRecord(cls, shaped, native=not args and msgspec_agrees(cls))
        try:
            make(cls)
        except TypeError:
            return Unsupported(cls.__qualname__, cls)
        return Record(cls, shaped, native=not args and msgspec_agrees(cls))

    def _model_field(self, annotation: Any) -> Shape:
        shape = self.shape(annotation)
        if any(isinstance(part, Unsupported) for part in reachable(shape)):
            return Foreign(annotation, shape.label)
        return shape


def _is_unpacked(argument: Any) -> bool:
    origin: Any = get_origin(argument)
    return origin is typing.Unpack or getattr(argument, "__unpacked__", False)
