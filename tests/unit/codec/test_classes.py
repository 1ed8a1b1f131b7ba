"""
Classes as payloads: dataclasses, attrs, Struct, NamedTuple, TypedDict.

Owns: the rulings about their state, about wrappers and type arguments of fields, and about code that changes after
a value was stored. Must not know how fields are read.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    ClassVar,
    Generic,
    LiteralString,
    NamedTuple,
    NotRequired,
    Required,
    TypedDict,
    TypeVar,
)

import attrs
import msgspec
import pytest
from typing_extensions import TypeAliasType

from fluxo.codec import codec_for
from fluxo.errors import DecodeError, EncodeError
from tests.unit.codec.same import same

if TYPE_CHECKING:
    from nowhere import Unknown

WHERE = "step 'pack'"
T = TypeVar("T")
K = TypeVar("K")


@dataclass
class Line:
    sku: str
    price: float = 1.0
    tags: set[str] = field(default_factory=set)
    kind: ClassVar[str] = "line"


@dataclass
class Order:
    id: str
    lines: list[Line]
    total: int = field(init=False)
    note: dataclasses.InitVar[str] = ""

    def __post_init__(self, note: str) -> None:
        self.total = len(self.lines)


@dataclass(frozen=True, slots=True, order=True, kw_only=True)
class Point:
    x: int
    y: int | None = None


@dataclass
class Tree:
    value: int
    children: list[Tree] = field(default_factory=list)
    parent: Tree | None = None


@dataclass
class Box(Generic[T]):
    item: T


@dataclass
class Pair(Box[int], Generic[K]):
    other: K


@dataclass
class Shelf(Generic[T]):
    boxes: list[Box[T]]
    other: dict[str, T] | None = None


@dataclass
class Clash(Box[int], Generic[T]):
    second: T


@dataclass
class Failed(Exception):
    code: int


Json = TypeAliasType("Json", "dict[str, Json] | list[Json] | int | str | None")
Listed = TypeAliasType("Listed", list[T], type_params=(T,))


@dataclass
class Document:
    body: Json
    names: Listed[str]
    title: LiteralString = ""


@dataclass
class Loose:
    known: int
    unknown: Unknown


@dataclass(eq=False)
class Counted:
    text: str
    made: ClassVar[int] = 0

    def __post_init__(self) -> None:
        type(self).made += 1

    @functools.cached_property
    def upper(self) -> str:
        return self.text.upper()


@attrs.define
class Parcel:
    weight: int = attrs.field(validator=attrs.validators.gt(0))
    _label: str = "none"
    at: Point | None = None


@attrs.frozen(eq=False)
class Sealed:
    parts: list[Parcel] = attrs.field(factory=list)


class Money(msgspec.Struct, frozen=True):
    amount: int
    currency: str = "EUR"


class Compact(msgspec.Struct, array_like=True, omit_defaults=True, rename="camel", tag="c"):
    long_name: int = 0
    money: Money | None = None


class Clamped(msgspec.Struct):
    value: int

    def __post_init__(self) -> None:
        self.value = min(self.value, 10)


class Growing(msgspec.Struct):
    value: int

    def __post_init__(self) -> None:
        self.value += 1


class Fragile(msgspec.Struct):
    value: int

    def __post_init__(self) -> None:
        if self.value < 0:
            raise ValueError("only the first time")


class Listing(msgspec.Struct):
    items: list[int] = msgspec.field(default_factory=list)


class Strict(msgspec.Struct, forbid_unknown_fields=True):
    value: int


class Place(NamedTuple):
    street: str
    city: str = "Berlin"


class Labelled(Place):
    def shout(self) -> str:
        return self.city.upper()


Plain = collections.namedtuple("Plain", ["a", "b"])


class Film(TypedDict):
    title: Required[str]
    year: NotRequired[int]


class Series(Film, total=False):
    seasons: Annotated[int, "at least one"]


def counted(text: str) -> Counted:
    value = Counted(text)
    assert value.upper == text.upper()
    return value


@pytest.mark.parametrize(
    "annotation,value",
    [
        (Line, Line("a", 2.0, {"x", "y"})),
        (Order, Order("o", [Line("a")])),
        (Point, Point(x=1)),
        (Tree, Tree(1, [Tree(2), Tree(3, [Tree(4)])])),
        (Box[int], Box(1)),
        (Box[Point], Box(Point(x=1))),
        (Box, Box([1, (2,)])),
        (Pair[str], Pair(1, "a")),
        (Shelf[Point], Shelf([Box(Point(x=1))], {"a": Point(x=2)})),
        (Clash[str], Clash(1, "a")),
        (Document, Document({"a": [1, {"b": None}]}, ["x"], "t")),
        (Json, [1, {"b": "c"}]),
        (Loose, Loose(1, ("data",))),
        (Parcel, Parcel(1, "l", Point(x=1))),
        (Sealed, Sealed([Parcel(1)])),
        (Money, Money(5)),
        (Compact, Compact(0, Money(1))),
        (Compact, Compact()),
        (Clamped, Clamped(50)),
        (Place, Place("s")),
        (Labelled, Labelled("s", "Bonn")),
        (Plain, Plain(1, (2, 3))),
        (Film, {"year": 1927, "title": "Metropolis"}),
        (Film, {"title": "Metropolis"}),
        (Series, {"title": "Dark", "seasons": 3}),
    ],
)
def test_an_instance_comes_back_in_value_and_type(annotation: Any, value: Any) -> None:
    body, copy = codec_for(annotation).roundtrip(value, WHERE)
    assert same(copy, value)
    assert same(codec_for(annotation).decode(body, WHERE), value)


def test_the_decoded_value_is_a_fresh_copy() -> None:
    value = Order("o", [Line("a")])
    _, copy = codec_for(Order).roundtrip(value, WHERE)
    assert copy is not value
    assert copy.lines is not value.lines
    assert copy.lines[0].tags is not value.lines[0].tags


def test_an_ordinary_instance_is_plain_json() -> None:
    assert codec_for(Line).encode(Line("a", 2.0, {"y", "x"}), WHERE) == b'{"sku":"a","price":2.0,"tags":["x","y"]}'
    assert codec_for(Place).encode(Place("s"), WHERE) == b'["s","Berlin"]'


def test_a_constructor_is_not_run_again() -> None:
    value = counted("a")
    made = Counted.made
    _, copy = codec_for(Counted).roundtrip(value, WHERE)
    assert (copy.text, copy.upper) == ("a", "A")
    assert Counted.made == made


def test_a_validator_is_not_run_again() -> None:
    value = Parcel(1)
    object.__setattr__(value, "weight", -1)
    assert codec_for(Parcel).roundtrip(value, WHERE)[1].weight == -1


def test_a_struct_that_changes_each_time_it_is_made_is_refused() -> None:
    with pytest.raises(EncodeError, match="__post_init__"):
        codec_for(list[Growing]).encode([Growing(1)], WHERE)


def test_a_struct_that_its_constructor_would_refuse_is_refused() -> None:
    value = Fragile(1)
    value.value = -1
    with pytest.raises(EncodeError, match="__post_init__"):
        codec_for(Fragile).encode(value, WHERE)


def test_a_class_whose_fields_cannot_be_read_is_refused() -> None:
    @dataclass
    class Lazy:
        value: int

        def __getattribute__(self, name: str) -> Any:
            raise ConnectionError("not now")

    with pytest.raises(EncodeError, match=r"Lazy and could not be read \(ConnectionError\)"):
        codec_for(Lazy).encode(Lazy(1), WHERE)


def test_a_field_that_is_a_property_is_refused_when_it_does_not_restore_itself() -> None:
    @dataclass
    class Doubling:
        value: int

    Doubling.value = property(lambda self: self._value * 2, lambda self, value: setattr(self, "_value", value))  # type: ignore[assignment]
    with pytest.raises(EncodeError, match="_value"):
        codec_for(Doubling).encode(Doubling(1), WHERE)


def test_an_exception_is_not_data_even_as_a_dataclass() -> None:
    with pytest.raises(EncodeError, match="Failed, which is not data"):
        codec_for(Failed).encode(Failed(1), WHERE)


@pytest.mark.parametrize(
    "annotation,value,problem",
    [
        (Place, ("s", "c"), r"\$ is tuple, promised is Place"),
        (Place, Place(1), r"\$\.street is int, promised is str"),  # type: ignore[arg-type]
        (Plain, Plain(object(), 1), r"\$\.a is object"),
        (Film, [("title", "x")], r"\$ is list, promised is Film"),
        (Film, {"title": "x", 5: 5}, r"\$\[key 1\] is a key that Film does not declare"),
        (Parcel, Parcel(1, 5), r"\$\._label is int, promised is str"),  # type: ignore[arg-type]
    ],
)
def test_what_breaks_the_promise_of_a_class_is_refused_with_its_path(annotation: Any, value: Any, problem: str) -> None:
    with pytest.raises(EncodeError, match=problem):
        codec_for(annotation).encode(value, WHERE)


def test_an_attribute_set_on_a_named_tuple_is_refused() -> None:
    value = Labelled("s")
    value.extra = 1  # type: ignore[attr-defined]
    with pytest.raises(EncodeError, match=r"\$\.extra is an attribute but no field of Labelled"):
        codec_for(Labelled).encode(value, WHERE)


@pytest.mark.parametrize(
    "annotation,body,problem",
    [
        (Place, b'{"street":"s"}', r"\$ is stored as object"),
        (Place, b"[1]", r"\$\.street is stored as int"),
        (Film, b"[]", r"\$ is stored as array"),
        (Film, b'{"title":1}', r"\$\.title is stored as int"),
        (Order, b'{"id":"o","lines":[{}],"total":1}', r"\$\.lines\[0\]\.sku is missing"),
        (Parcel, b"[]", r"\$ is stored as array"),
    ],
)
def test_a_payload_of_another_shape_is_a_decode_error_with_its_path(annotation: Any, body: bytes, problem: str) -> None:
    with pytest.raises(DecodeError, match=problem):
        codec_for(annotation).decode(body, WHERE)


def test_a_field_of_another_type_than_promised_is_refused_with_its_path() -> None:
    order = Order("o", [Line("a"), Line("b")])
    order.lines[1].price = "2.0"  # type: ignore[assignment]
    with pytest.raises(EncodeError, match=r"\$\.lines\[1\]\.price is str, promised is float"):
        codec_for(Order).encode(order, WHERE)


def test_a_subclass_instance_under_its_base_is_refused() -> None:
    @dataclass
    class Special(Line):
        extra: int = 0

    with pytest.raises(EncodeError, match="a subclass of the promised Line"):
        codec_for(Line).encode(Special("a"), WHERE)


def test_an_attribute_that_is_no_field_is_refused() -> None:
    value = Line("a")
    value.extra = 1  # type: ignore[attr-defined]
    with pytest.raises(EncodeError, match=r"\$\.extra is an attribute but no field of Line"):
        codec_for(Line).encode(value, WHERE)


def test_one_attribute_in_the_place_of_another_is_refused() -> None:
    value = Line("a")
    del value.sku
    value.other = "a"  # type: ignore[attr-defined]
    with pytest.raises(EncodeError, match=r"\$\.(sku|other) is"):
        codec_for(Line).encode(value, WHERE)


def test_a_field_that_was_never_set_is_refused() -> None:
    value = Order("o", [])
    del value.total
    with pytest.raises(EncodeError, match=r"\$\.total is a field of Order that was never set"):
        codec_for(Order).encode(value, WHERE)


def test_a_key_that_a_typed_dict_does_not_declare_is_refused() -> None:
    with pytest.raises(EncodeError, match=r"\$\.director is a key that Film does not declare"):
        codec_for(Film).encode({"title": "Metropolis", "director": "Lang"}, WHERE)


def test_a_key_that_a_typed_dict_requires_is_required() -> None:
    with pytest.raises(EncodeError, match=r"\$\.title is a key that Film requires"):
        codec_for(Film).encode({"year": 1927}, WHERE)
    with pytest.raises(DecodeError, match=r"\$\.title is missing"):
        codec_for(Film).decode(b'{"year":1927}', WHERE)


def test_the_keys_of_a_typed_dict_keep_their_order() -> None:
    value = {"year": 1927, "title": "Metropolis"}
    assert list(codec_for(Film).roundtrip(value, WHERE)[1]) == ["year", "title"]


def test_a_value_that_contains_itself_is_refused() -> None:
    tree = Tree(1)
    tree.children.append(tree)
    with pytest.raises(EncodeError, match="nested more than 100 levels deep or contains itself"):
        codec_for(Tree).encode(tree, WHERE)


def test_a_class_that_is_not_data_is_refused_with_the_cure() -> None:
    class Client:
        pass

    with pytest.raises(EncodeError, match=r"is promised as .*Client, which is not data; annotate data"):
        codec_for(Client).encode(Client(), WHERE)


@pytest.mark.parametrize("annotation", [Callable[[], int], type[int], collections.deque, object(), 5, Tree.__init__])
def test_an_annotation_that_names_no_data_refuses_every_value_when_asked_and_not_before(annotation: Any) -> None:
    codec = codec_for(annotation)
    with pytest.raises(EncodeError):
        codec.encode(len, WHERE)
    with pytest.raises(DecodeError):
        codec.decode(b"null", WHERE)


def test_a_stored_field_that_the_class_has_no_more_is_ignored() -> None:
    assert codec_for(Line).decode(b'{"sku":"a","price":2.0,"tags":[],"gone":1}', WHERE) == Line("a", 2.0)
    assert codec_for(Order).decode(b'{"id":"o","lines":[],"total":0,"gone":1}', WHERE).total == 0


def test_a_field_that_is_new_takes_its_default() -> None:
    assert codec_for(Line).decode(b'{"sku":"a"}', WHERE) == Line("a")
    assert codec_for(Parcel).decode(b'{"weight":1}', WHERE) == Parcel(1)
    assert codec_for(Compact).decode(b"{}", WHERE) == Compact()
    assert codec_for(Place).decode(b'["s"]', WHERE) == Place("s")
    assert codec_for(Labelled).decode(b'["s"]', WHERE) == Labelled("s")
    assert codec_for(Listing).decode(b"{}", WHERE) == Listing()
    assert codec_for(list[Listing | None]).decode(b"[{}]", WHERE) == [Listing()]
    assert codec_for(Sealed).decode(b"{}", WHERE).parts == []


@pytest.mark.parametrize(
    "annotation,body",
    [(Order, b'{"id":"o","lines":[]}'), (Parcel, b"{}"), (Plain, b"[1]"), (Clamped, b"{}"), (Line, b"{}")],
)
def test_a_new_field_without_a_default_is_a_decode_error(annotation: Any, body: bytes) -> None:
    with pytest.raises(DecodeError, match="is missing"):
        codec_for(annotation).decode(body, WHERE)


def test_a_struct_that_forbids_unknown_fields_has_its_way() -> None:
    with pytest.raises(DecodeError, match="forbids"):
        codec_for(Strict).decode(b'{"value":1,"gone":2}', WHERE)


def test_a_local_class_may_name_itself() -> None:
    @dataclass
    class Node:
        next: Node | None = None

    assert codec_for(Node).roundtrip(Node(Node()), WHERE)[1] == Node(Node())
