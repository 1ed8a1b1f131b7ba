"""
What every compiled annotation can do, and the vocabulary the shapes share.

Owns: `Shape`, JSON kinds, the depth bound, and how errors find their path inside a value. Must not know
annotations, classes of users, or bytes beyond msgspec's own.

Theory: a *wire* is a tree that msgspec writes as JSON without losing anything. A shape lowers a value to a
wire and lifts a wire to a value, and refuses every value it could not lift again exactly. What JSON cannot
say is an object with the single key ``~name``; no lowered record or plain dict is such an object, so that the
two are never confused. Where msgspec alone is provably lossless, a shape also has a `native` annotation, for
msgspec's decoder, and an `ordinary` check, which tells the values msgspec may write directly.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from types import NoneType
from typing import Any, Final, TypeAlias, TypeVar, cast

import msgspec

from fluxo.errors import DecodeError, EncodeError

__all__ = [
    "ANY_KIND",
    "ANY_OBJECT",
    "DEPTH_MAX",
    "Check",
    "Later",
    "Shape",
    "Unsupported",
    "deeper",
    "exactly",
    "kind_of",
    "lift_items",
    "lower_items",
    "misfit",
    "name_of",
    "reachable",
    "step_of",
    "type_of",
    "unreadable",
    "within",
    "write",
]

DEPTH_MAX: Final = 100
"""Levels of a value whose annotation does not bound its depth (Any, recursive types)."""

ANY_KIND: Final = "*"
"""In `Shape.kinds`: wires of every kind."""

ANY_OBJECT: Final = "~"
"""In `Shape.kinds`: objects with keys of the user's choice, which may look like tagged ones."""

Check: TypeAlias = type | Callable[[Any], bool] | None
"""When a value is ordinary: its type is exactly this, this says so, or never."""

_Error = TypeVar("_Error", EncodeError, DecodeError)
_KINDS: Final[dict[type, str]] = {
    NoneType: "null", bool: "bool", int: "int", float: "float", str: "string", list: "array",
}  # fmt: skip

type_of: Final = cast(Callable[[Any], type[Any]], type)
"""The exact class of a value. Under this name type checkers do not narrow `Any` to containers of unknown items."""

write: Final = msgspec.json.Encoder().encode
"""The bytes of a wire."""


class Shape(ABC):
    """
    One compiled annotation.

    Attributes:
        label: How it is named in messages and, in unions, in payloads.
        roots: The exact classes of its values; None when any data may come.
        kinds: JSON kinds of its wires, as `kind_of` tells them.
        parts: Shapes directly inside it.
        native: The annotation with which msgspec decodes its ordinary wires, and no others; None if there is none.
    """

    label: str = "Any"
    roots: frozenset[type] | None = None
    kinds: frozenset[str] = frozenset({ANY_KIND})
    parts: tuple[Shape, ...] = ()

    @property
    def native(self) -> Any:
        return None

    def ordinary(self) -> Check:
        """The check of a shape that has a `native` annotation."""
        return None

    @abstractmethod
    def lower(self, value: Any, depth: int) -> Any:
        """
        The wire of `value`, which lies `depth` unbounded levels deep; `exactly(depth)` forbids widening.

        Raises:
            EncodeError: not exactly what is promised; `where` is left empty and the path is relative.
        """

    @abstractmethod
    def lift(self, wire: Any) -> Any:
        """
        The value of a wire.

        Raises:
            DecodeError: not a wire of this shape; `where` is left empty and the path is relative.
            Exception: anything, on a wire nobody lowered; the caller makes a DecodeError of it.
        """


class Later(Shape):
    """A shape that is still being compiled: where a recursive type meets itself."""

    def __init__(self, label: str) -> None:
        self.label = label
        self.target: Shape = self

    @property
    def roots(self) -> frozenset[type] | None:  # type: ignore[override]
        return self.target.roots

    @property
    def kinds(self) -> frozenset[str]:  # type: ignore[override]
        return self.target.kinds

    @property
    def parts(self) -> tuple[Shape, ...]:  # type: ignore[override]
        return (self.target,)

    def lower(self, value: Any, depth: int) -> Any:
        return self.target.lower(value, deeper(depth))

    def lift(self, wire: Any) -> Any:
        return self.target.lift(wire)


class Unsupported(Shape):
    """An annotation that names no data."""

    kinds = frozenset()

    def __init__(self, label: str, root: type | None = None) -> None:
        self.label = label
        self.roots = frozenset({root} if root else ())

    def lower(self, value: Any, depth: int) -> Any:
        if self.roots and type_of(value) not in self.roots:
            raise misfit(value, self)
        cure = "annotate data: a dataclass, NamedTuple, TypedDict, attrs class, msgspec.Struct or builtin"
        raise EncodeError("", "", f"is promised as {self.label}, which is not data", cure)

    def lift(self, wire: Any) -> Any:
        raise DecodeError("", f" is promised as {self.label}, which is not data")


def name_of(kind: type) -> str:
    """A class as messages name it."""
    qualname: str = kind.__qualname__
    return qualname


def misfit(value: Any, shape: Shape) -> EncodeError:
    """The error for a value of another type than promised; names types, never the value."""
    kind = type_of(value)
    if shape.roots and not shape.roots.isdisjoint(kind.__mro__):
        return EncodeError(
            "",
            "",
            f"is {name_of(kind)}, a subclass of the promised {shape.label}, and would come back as its base",
            f"annotate {name_of(kind)} itself, or a union of the classes that may come",
        )
    return EncodeError(
        "",
        "",
        f"is {name_of(kind)}, promised is {shape.label}",
        "hand over what the annotation promises, or change the annotation",
    )


def unreadable(wire: Any, shape: Shape) -> DecodeError:
    """The error for a wire of another kind than the shape's."""
    return DecodeError("", f" is stored as {kind_of(wire)}, which is no {shape.label}")


def within(error: _Error, step: str) -> _Error:
    """Put one more step in front of the path inside an error."""
    if isinstance(error, EncodeError):
        error.path = step + error.path
        error.args = (error.where, error.path, error.problem, error.cure)
    else:
        error.problem = step + error.problem
        error.args = (error.where, error.problem)
    return error


def step_of(key: Any, number: int) -> str:
    """How a path shows a dict key: by name if it reads like a field, else by number, for keys may be secrets."""
    if type_of(key) is str and key.isidentifier() and len(key) <= 32:
        return f".{key}"
    return f"[key {number}]"


def deeper(depth: int) -> int:
    """
    One level further down.

    Raises:
        EncodeError: the value is nested too deeply, or contains itself.
    """
    if depth < 0:
        return ~deeper(~depth)
    if depth >= DEPTH_MAX:
        cure = "flatten it: a list of nodes that name each other by key"
        raise EncodeError("", "", f"is nested more than {DEPTH_MAX} levels deep or contains itself", cure)
    return depth + 1


def exactly(depth: int) -> int:
    """The same depth, marked by its sign: an int where float is promised is refused there."""
    return min(depth, ~depth)


def kind_of(wire: Any) -> str:
    """The JSON kind of a wire; that of a tagged object is its tag."""
    if type_of(wire) is dict:
        if len(wire) == 1:
            key: str = next(iter(wire))
            if key[:1] == "~":
                return key
        return "object"
    return _KINDS[type_of(wire)]


def lower_items(items: Iterable[Any], lower: Callable[[Any, int], Any], depth: int) -> list[Any]:
    """Lower each item in order; an error's path names the index."""
    wires: list[Any] = []
    try:
        for item in items:
            wires.append(lower(item, depth))  # noqa: PERF401 - the length is the index if it fails
    except EncodeError as error:
        within(error, f"[{len(wires)}]")
        raise
    return wires


def lift_items(wires: Any, lift: Callable[[Any], Any]) -> list[Any]:
    """Lift each item in order; an error's path names the index."""
    values: list[Any] = []
    try:
        for wire in wires:
            values.append(lift(wire))  # noqa: PERF401 - the length is the index if it fails
    except DecodeError as error:
        within(error, f"[{len(values)}]")
        raise
    return values


def reachable(shape: Shape) -> Iterator[Shape]:
    """`shape` and everything inside it, each once."""
    seen: set[int] = set()
    stack = [shape]
    while stack:
        current = stack.pop()
        if id(current) not in seen:
            seen.add(id(current))
            yield current
            stack.extend(current.parts)
