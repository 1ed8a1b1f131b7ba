"""
Containers, unions and unannotated data.

Owns: the rulings about parts: order, keys, concrete classes, members of unions, depth. Must not know how a union
tells its members apart.
"""

from __future__ import annotations

import collections
import math
from collections.abc import Collection, Iterable, Mapping, MutableMapping, MutableSequence, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from inspect import Parameter
from typing import Annotated, Any, Literal, NewType, Optional, Union

import msgspec
import pytest

from fluxo.codec import ANY, codec_for
from fluxo.errors import DecodeError, EncodeError, LimitExceededError
from fluxo.limits import PAYLOAD_BYTES_MAX
from tests.unit.codec.same import same

WHERE = "step 'pack'"
Cents = NewType("Cents", int)
SECRET = "correct horse battery staple"


@dataclass(frozen=True)
class Card:
    number: str


@dataclass(frozen=True)
class Cash:
    number: str


class Cheque(msgspec.Struct, frozen=True):
    number: str = ""


class Colour(Enum):
    RED = "red"


@pytest.mark.parametrize(
    "annotation,value",
    [
        (list, [1, "a", (2,)]),
        (tuple, (1, [2])),
        (tuple[()], ()),
        (tuple[int, *tuple[str, ...]], (1, "a", "b")),
        (set, {1, "a"}),
        (dict, {1: "a", (2, 3): {4}}),
        (dict[str, int], {"~dict": 1}),
        (dict[int, str], {1: "a", -1: "b"}),
        (dict[tuple[int, str], Card], {(1, "a"): Card("1")}),
        (dict[float, int], {math.inf: 1, -0.0: 2}),
        (set[Card], {Card("1"), Card("2")}),
        (frozenset[frozenset[int]], frozenset({frozenset({1}), frozenset()})),
        (Sequence[int], (1, 2)),
        (Sequence[int], [1, 2]),
        (Sequence[int], b"ab"),
        (Sequence[str], "ab"),
        (Iterable[int], {1, 2}),
        (Iterable[str], {"a": 1}),
        (Collection[Card], frozenset({Card("1")})),
        (MutableSequence[int], [1]),
        (AbstractSet[int], frozenset({1})),
        (Mapping[str, Card], {"a": Card("1")}),
        (MutableMapping[int, int], {1: 2}),
        (Card | Cash, Cash("1")),
        (Card | Cash | Cheque | None, Cheque("1")),
        (Card | Cash | Cheque | None, None),
        (datetime | str, "2026-01-01T00:00:00Z"),
        (datetime | str, datetime(2026, 1, 1, tzinfo=UTC)),
        (Decimal | str, Decimal(1)),
        (Decimal | str, "1"),
        (bytes | str | None, b"a"),
        (int | float, 1),
        (int | float, 1.0),
        (bool | int, True),
        (float | str, math.nan),
        (float | dict[str, str], math.nan),
        (float | dict[str, str], {"~float": "nan"}),
        (float | Cheque, math.nan),
        (float | Cheque, Cheque()),
        (list[int] | list[str], ["a"]),
        (list[int] | tuple[int, ...] | set[int], {1}),
        (list[float] | list[int], [1]),
        (tuple[float, float] | tuple[int, float], (1, 2.0)),
        (tuple[Any, float] | tuple[Any, int], ([[()]], 2)),
        (Optional[Union[Card, int]], 5),  # noqa: UP045, UP007 - as users still write it
        (set[int] | set[Cents] | list[int], {1}),
        (list[Cents] | list[Annotated[int, "x"]], [1]),
        (Iterable[int] | dict[int, Any], {1: "a"}),
        (dict[int, Any] | Iterable[int], {1: "a"}),
        (Sequence[int] | bytes, b"ab"),
        (Card | Any, Card("1")),
        (Card | Any, (1, 2)),
        (float | Any, 5),
        (Colour | str, "red"),
        (Colour | str, Colour.RED),
        (Colour | Card, Colour.RED),
    ],
)
def test_a_value_comes_back_in_value_and_type(annotation: Any, value: Any) -> None:
    body, copy = codec_for(annotation).roundtrip(value, WHERE)
    assert same(copy, value)
    assert same(codec_for(annotation).decode(body, WHERE), value)


def test_the_spelling_of_a_union_does_not_show_in_its_payloads() -> None:
    for value in (Card("1"), Cash("1"), "a"):
        assert codec_for(Card | Cash | str).encode(value, WHERE) == codec_for(str | Cash | Card).encode(value, WHERE)
    for numbers in ([1], [1.0]):
        one = codec_for(list[int] | list[float]).encode(numbers, WHERE)
        assert one == codec_for(list[float] | list[int]).encode(numbers, WHERE)


def test_union_members_of_one_name_are_told_apart() -> None:
    first, second = (type("Same", (), {"__annotations__": {"x": int}, "__module__": module}) for module in ("a", "b"))
    first, second = dataclass(first), dataclass(second)
    codec = codec_for(first | second)
    assert type(codec.roundtrip(first(1), WHERE)[1]) is first
    assert type(codec.roundtrip(second(1), WHERE)[1]) is second


def test_union_members_that_no_name_tells_apart_are_refused() -> None:
    first, second = (dataclass(type("Same", (), {"__annotations__": {"x": int}})) for _ in range(2))
    with pytest.raises(EncodeError, match="two members have one name"):
        codec_for(first | second).encode(first(1), WHERE)
    with pytest.raises(EncodeError, match="two members have one name"):
        codec_for(list[first] | list[second]).encode([second(1)], WHERE)
    with pytest.raises(DecodeError):
        codec_for(first | second).decode(b'["Same",{"x":1}]', WHERE)


def test_a_value_that_fits_no_member_of_a_union_is_refused() -> None:
    with pytest.raises(EncodeError, match=r"\$ is bytes, promised is Card \| Cash"):
        codec_for(Card | Cash).encode(b"", WHERE)
    with pytest.raises(EncodeError, match="fits no member"):
        codec_for(list[int] | list[str]).encode([1, "a"], WHERE)


def test_a_label_that_the_annotation_does_not_give_is_a_decode_error() -> None:
    body = codec_for(Card | Cash).encode(Cash("1"), WHERE)
    with pytest.raises(DecodeError):
        codec_for(Card | Cheque).decode(body, WHERE)
    with pytest.raises(DecodeError):
        codec_for(Card | Cash).decode(b'["os.system","x"]', WHERE)


def test_equal_sets_give_equal_bytes() -> None:
    one, other = {"b", "a", "c"}, {"c", "a", "b"}
    assert codec_for(set[str]).encode(one, WHERE) == codec_for(set[str]).encode(other, WHERE) == b'["a","b","c"]'
    assert ANY.encode(frozenset(one), WHERE) == ANY.encode(frozenset(other), WHERE)


def test_dict_order_is_kept() -> None:
    for annotation, value in (
        (dict[str, int], {"b": 1, "a": 2}),
        (dict[int, int], {2: 1, 1: 2}),
        (Any, {"b": 1, "a": 2}),
    ):
        assert list(codec_for(annotation).roundtrip(value, WHERE)[1]) == list(value)


@pytest.mark.parametrize("missing", [Any, Parameter.empty, object, "Unresolved", Any | None])
def test_without_an_annotation_every_data_type_tells_itself(missing: Any) -> None:
    value = {"a": (1, 2.0), 3: [{4}, frozenset({b"5"})], None: bytearray(b"6")}
    assert same(codec_for(missing).roundtrip(value, WHERE)[1], value)


@pytest.mark.parametrize(
    "value",
    [Card("1"), Colour.RED, collections.OrderedDict(a=1), collections.Counter("a"), range(3), object(), len, Card, ...],
)
def test_a_class_that_no_annotation_reaches_is_refused_with_its_path(value: Any) -> None:
    with pytest.raises(EncodeError) as caught:
        ANY.encode({"lines": [0, (value,)]}, WHERE)
    assert caught.value.path == "$.lines[1][0]"
    assert type(value).__qualname__ in caught.value.problem


def test_a_user_class_without_an_annotation_is_told_to_be_annotated() -> None:
    with pytest.raises(EncodeError, match="annotate the parameter, result or field with Card"):
        ANY.encode(Card("1"), WHERE)


@pytest.mark.parametrize(
    "annotation,value,path",
    [
        (Any, {SECRET: object()}, "$[key 0]"),
        (Any, {1: 2, 3: object()}, "$[key 1]"),
        (Any, {"token": object()}, "$.token"),
        (dict[str, int], {"a": 1, SECRET: SECRET}, "$[key 1]"),
        (dict[int, int], {5: SECRET}, "$[key 0]"),
        (list[int], [1, SECRET], "$[1]"),
        (int, SECRET, "$"),
        (Card, Card(SECRET.encode()), "$.number"),  # type: ignore[arg-type]
        (Card | Cash, SECRET, "$"),
        (tuple[int, int], (1, SECRET), "$[1]"),
        (tuple[int, int], (SECRET,), "$"),
    ],
)
def test_an_error_names_the_path_and_the_types_and_never_the_value(annotation: Any, value: Any, path: str) -> None:
    with pytest.raises(EncodeError) as caught:
        codec_for(annotation).encode(value, WHERE)
    assert caught.value.path == path
    assert SECRET not in str(caught.value)


def test_a_decode_error_never_shows_the_value() -> None:
    for annotation in (int, Colour, datetime, Decimal, Card, Card | Cash, list[int], dict[str, int], bytes):
        with pytest.raises(DecodeError) as caught:
            codec_for(annotation).decode(msgspec.json.encode(SECRET), WHERE)
        assert SECRET not in str(caught.value)
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    "annotation,body,problem",
    [
        (Any, b'{"~dict":[[1,1],[1,2]]}', r"\$ holds one key twice"),
        (Any, b'{"~dict":[[1,{"~bytes":"?"}]]}', r"\$\[key 0\] is text that does not read as bytes"),
        (Any, b'{"~set":[1,1]}', r"\$ holds one item of a set twice"),
        (Any, b'{"~os.system":"true"}', r"\$ carries a tag that this fluxo does not know"),
        (Any, b'{"~tuple":"ab"}', r"\$ is stored as string"),
        (Any, b'[{"~int":5}]', r"\$\[0\] is stored as int"),
        (Any, b'{"a":{"~float":5}}', r"\$\.a is stored as int"),
        (Any, b'{"~time":["00:00+01:00",null,0]}', r"\$ is stored as ~time"),
        (complex, b"1", r"\$ is stored as int"),
        (tuple[int, str], b"[1]", r"\$ holds 1 items, which is no tuple\[int, str\]"),
        (tuple[int, str], b"{}", r"\$ is stored as object"),
        (dict[int, int], b"[]", r"\$ is stored as array"),
        (Literal["a", b"b"], b'"c"', r"\$ is none of Literal"),
        (Literal["a", b"b"], b'{"~bytes":["b"]}', r"\$ is none of Literal"),
        (Colour, b'"blue"', r"\$ is no member of Colour"),
    ],
)
def test_a_payload_that_nobody_wrote_is_a_decode_error_with_its_path(
    annotation: Any, body: bytes, problem: str
) -> None:
    with pytest.raises(DecodeError, match=problem):
        codec_for(annotation).decode(body, WHERE)


def test_a_float_may_be_stored_as_a_whole_number() -> None:
    assert same(codec_for(float | str).decode(b"1", WHERE), 1.0)
    assert same(codec_for(float | Cheque).decode(b"1", WHERE), 1.0)


def test_a_decode_error_names_the_path() -> None:
    with pytest.raises(DecodeError, match=r"\$\.a\[1\] is stored as string, which is no int"):
        codec_for(dict[str, list[int]]).decode(b'{"a":[1,"x"]}', WHERE)


def nested(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels - 1):
        value = [value]
    return value


def test_unannotated_data_may_be_nested_a_hundred_levels() -> None:
    assert ANY.roundtrip(nested(100), WHERE)[1] == nested(100)
    with pytest.raises(EncodeError, match="nested more than 100 levels"):
        ANY.encode(nested(101), WHERE)


def test_endless_nesting_is_refused_quickly() -> None:
    endless: list[Any] = []
    endless += [endless, endless]
    with pytest.raises(EncodeError, match="contains itself"):
        ANY.encode(endless, WHERE)
    with pytest.raises(EncodeError, match="nested more than"):
        ANY.encode(nested(100_000), WHERE)


@pytest.mark.parametrize("body", [b"[" * 100_000, b'{"a":' * 100_000, b"[" * 900 + b"]" * 900])
def test_deeply_nested_bytes_are_a_decode_error(body: bytes) -> None:
    for annotation in (int, list[int], Card):
        with pytest.raises(DecodeError):
            codec_for(annotation).decode(body, WHERE)


def test_a_payload_over_the_limit_is_refused() -> None:
    text = "a" * PAYLOAD_BYTES_MAX
    with pytest.raises(LimitExceededError, match="2,097,154, the limit is 2,097,152"):
        codec_for(str).encode(text, WHERE)
    assert codec_for(str).encode(text[:-2], WHERE)


def test_a_codec_is_compiled_once_and_shows_its_annotation() -> None:
    assert repr(codec_for(list[Card])) == "<TypeCodec list[Card]>"
    assert codec_for(list[Card]) is codec_for(list[Card])
    assert codec_for(Any) is ANY
