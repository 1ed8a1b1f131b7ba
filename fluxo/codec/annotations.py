"""
What an annotation says once its wrappers are taken off and its names are found.

Owns: reading of typing constructs, hints of classes, arguments of generic classes. Must not know shapes.
What cannot be resolved (a name that exists for type checkers only) counts as Any, each name for itself.
"""

from __future__ import annotations

import inspect
import sys
import typing
from types import NoneType
from typing import Any, Final, ForwardRef, NotRequired, Required, TypeVar, get_args, get_origin

__all__ = ["arguments_of", "bare", "hints_of", "required_of", "substituted"]

_WRAPPERS: Final = frozenset({"Annotated", "ClassVar", "Final", "NotRequired", "ReadOnly", "Required"})
_UNKNOWN: Final = (str, ForwardRef, TypeVar, typing.ParamSpecArgs, typing.ParamSpecKwargs)


def bare(annotation: Any) -> Any:
    """The annotation without wrappers, aliases and new types; `Any` if it says nothing that can be resolved."""
    while True:
        if get_args(annotation) and _name_in_typing(get_origin(annotation)) in _WRAPPERS:
            annotation = get_args(annotation)[0]
        elif isinstance(annotation, typing.NewType):
            annotation = annotation.__supertype__
        elif isinstance(annotation, _UNKNOWN) or annotation in (inspect.Parameter.empty, object):
            return Any
        elif annotation is None:
            return NoneType
        elif annotation is typing.LiteralString:
            return str
        elif _name_in_typing(annotation) in _WRAPPERS:
            return Any
        else:
            return annotation


def _name_in_typing(construct: Any) -> str | None:
    if getattr(construct, "__module__", None) not in ("typing", "typing_extensions"):
        return None
    name: str | None = getattr(construct, "_name", None) or getattr(construct, "__name__", None)
    return name


def hints_of(cls: type) -> dict[str, Any]:
    """Annotations of the fields of a class and its bases, wrappers kept; unresolvable ones are strings."""
    try:
        return typing.get_type_hints(cls, include_extras=True)
    except Exception:
        hints: dict[str, Any] = {}
        for base in reversed(cls.__mro__):
            hints |= _own_hints(base, cls)
        return hints


def _own_hints(base: type, cls: type) -> dict[str, Any]:
    try:
        raw = inspect.get_annotations(base)
    except Exception:
        return {}
    module = vars(sys.modules[base.__module__]) if base.__module__ in sys.modules else {}
    # A class inside a function cannot be found by name; it can at least be found by itself.
    names = {**vars(base), cls.__name__: cls, base.__name__: base}
    return {name: _resolved(annotation, module, names) for name, annotation in raw.items()}


def _resolved(annotation: Any, module: dict[str, Any], names: dict[str, Any]) -> Any:
    if annotation is None:
        return NoneType

    def holder() -> None: ...

    holder.__annotations__ = {"value": annotation}
    try:
        return typing.get_type_hints(holder, module, names, include_extras=True)["value"]
    except Exception:
        return annotation


def required_of(cls: type, hints: dict[str, Any]) -> frozenset[str]:
    """Keys that a TypedDict requires; the class itself misreads wrappers inside string annotations."""
    required = set(getattr(cls, "__required_keys__", hints))
    for name, hint in hints.items():
        wrapper = get_origin(hint)
        if wrapper is NotRequired:
            required.discard(name)
        elif wrapper is Required:
            required.add(name)
    return frozenset(required)


def arguments_of(cls: type, args: tuple[Any, ...]) -> dict[Any, Any]:
    """What each type variable of a class and its bases stands for; a variable used twice for two things, for Any."""
    found: dict[Any, Any] = dict(zip(getattr(cls, "__parameters__", ()), args, strict=False))
    for base in cls.__dict__.get("__orig_bases__", cls.__bases__):
        origin = get_origin(base) or base
        if not isinstance(origin, type) or origin in (typing.Generic, object):
            continue
        inner = tuple(substituted(arg, found) for arg in get_args(base)) if origin is not base else ()
        for variable, meaning in arguments_of(origin, inner).items():
            same = found.setdefault(variable, meaning) == meaning
            if not same:
                found[variable] = Any
    return found


def substituted(annotation: Any, meanings: dict[Any, Any]) -> Any:
    """The annotation with its type variables replaced."""
    if isinstance(annotation, TypeVar):
        return meanings.get(annotation, annotation)
    variables = getattr(annotation, "__parameters__", ())
    if isinstance(annotation, type) or not variables or not meanings:
        return annotation
    try:
        return annotation[tuple(meanings.get(variable, variable) for variable in variables)]
    except TypeError:
        return annotation
