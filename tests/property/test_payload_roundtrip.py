"""
Payloads come back as they went: for every supported annotation and every value of it.

Owns: strategies for annotations together with their values, and the laws of the payload codec. Must not know how a
payload is written.
"""

from __future__ import annotations

import dataclasses
import enum
import itertools
import keyword
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Annotated, Any, Literal, NamedTuple, NewType, TypedDict, Union
from uuid import UUID
from zoneinfo import ZoneInfo

import attrs
import msgspec
from hypothesis import example, given
from hypothesis import strategies as st

from fluxo.codec import ANY, TypeCodec, codec_for
from fluxo.errors import DecodeError, EncodeError
from tests.unit.codec.same import same

WHERE = "step 'pack'"


class Colour(enum.Enum):
    RED = "red"
    BLUE = "~blue"


class Size(enum.IntEnum):
    SMALL = 1
    LARGE = 2


class Shade(enum.StrEnum):
    DARK = "dark"
    LIGHT = "light"


class Place(enum.Enum):
    HERE = (0, 0)
    THERE = 1.5


class Right(enum.Flag):
    READ = 1
    WRITE = 2
    OWN = 4


Cents = NewType("Cents", int)

TEXT = st.text(max_size=8) | st.sampled_from(["~", "~tuple", "~dict", "$", "nan"])
FIXED_ZONES = st.builds(timezone, st.timedeltas(timedelta(hours=-23), timedelta(hours=23)), st.just("X")) | st.builds(
    timezone, st.timedeltas(timedelta(hours=-23), timedelta(hours=23))
)
ZONES = st.none() | st.just(UTC) | FIXED_ZONES | st.sampled_from(["Europe/Berlin", "UTC"]).map(ZoneInfo)
FOLDS = st.sampled_from([0, 0, 1])
MOMENTS = st.builds(lambda moment, zone, fold: moment.replace(tzinfo=zone, fold=fold), st.datetimes(), ZONES, FOLDS)
TIMES = st.builds(lambda moment, zone, fold: moment.replace(tzinfo=zone, fold=fold), st.times(), ZONES, FOLDS)
INTS = st.integers() | st.sampled_from([2**63, 2**64, -(2**63) - 1, 2**2_000 - 1, -(2**2_000)])

SCALARS: dict[Any, st.SearchStrategy[Any]] = {
    None: st.none(),
    bool: st.booleans(),
    int: INTS,
    float: st.floats(),
    str: TEXT,
    bytes: st.binary(max_size=8),
    Decimal: st.decimals().filter(lambda number: not number.is_snan()),  # not hashable
    UUID: st.uuids(),
    date: st.dates(),
    time: TIMES,
    datetime: MOMENTS,
    timedelta: st.timedeltas(),
    complex: st.complex_numbers(),
}
NAMED: dict[Any, st.SearchStrategy[Any]] = {
    Colour: st.sampled_from(Colour),
    Size: st.sampled_from(Size),
    Shade: st.sampled_from(Shade),
    Place: st.sampled_from(Place),
    Right: st.integers(0, 7).map(Right),
    Cents: st.integers(),
    Annotated[int, "metadata"]: st.integers(),
    Literal["a", 1, True, b"b", None, Colour.RED]: st.sampled_from(["a", 1, True, b"b", None, Colour.RED]),
}

HASHABLE = st.deferred(
    lambda: st.one_of(
        *SCALARS.values(),
        st.tuples(HASHABLE, HASHABLE),
        st.frozensets(HASHABLE, max_size=3),
    )
)
DATA = st.recursive(
    st.one_of(*SCALARS.values(), st.binary(max_size=4).map(bytearray), HASHABLE),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.tuples(inner, inner),
        st.sets(HASHABLE, max_size=3),
        st.dictionaries(HASHABLE, inner, max_size=3),
        st.dictionaries(TEXT, inner, max_size=3),
    ),
    max_leaves=10,
)

Typed = tuple[Any, st.SearchStrategy[Any]]
"""An annotation with the values it promises."""

NAMES = st.lists(
    st.sampled_from(["a", "b", "_c", "price", "größe"]).filter(lambda name: not keyword.iskeyword(name)),
    min_size=1,
    max_size=4,
    unique=True,
)


def scalars() -> st.SearchStrategy[Typed]:
    return st.sampled_from([*SCALARS.items(), *NAMED.items()])


def containers(inner: st.SearchStrategy[Typed]) -> st.SearchStrategy[Typed]:
    """Containers, unions and classes around annotations drawn from `inner`."""
    return st.one_of(
        inner.map(lambda t: (list[t[0]], st.lists(t[1], max_size=3))),
        inner.map(lambda t: (tuple[t[0], ...], st.lists(t[1], max_size=3).map(tuple))),
        st.tuples(inner, inner).map(lambda ts: (tuple[ts[0][0], ts[1][0]], st.tuples(ts[0][1], ts[1][1]))),
        inner.map(lambda t: (dict[str, t[0]], st.dictionaries(TEXT, t[1], max_size=3))),
        st.tuples(scalars(), inner).map(
            lambda ts: (dict[ts[0][0], ts[1][0]], st.dictionaries(ts[0][1], ts[1][1], max_size=3))
        ),
        scalars().map(lambda t: (set[t[0]], st.sets(t[1], max_size=3))),
        scalars().map(lambda t: (frozenset[t[0]], st.frozensets(t[1], max_size=3))),
        inner.map(lambda t: (Sequence[t[0]], st.lists(t[1], max_size=3) | st.lists(t[1], max_size=3).map(tuple))),
        scalars().map(lambda t: (Iterable[t[0]], st.lists(t[1], max_size=3) | st.sets(t[1], max_size=3))),
        inner.map(lambda t: (Mapping[str, t[0]], st.dictionaries(TEXT, t[1], max_size=3))),
        st.lists(inner, min_size=2, max_size=4).map(
            lambda ts: (Union[tuple(t[0] for t in ts)], st.one_of(*(t[1] for t in ts)))  # noqa: UP007
        ),
        st.tuples(NAMES, st.lists(inner, min_size=5, max_size=5), st.sampled_from(MAKERS)).map(record),
    )


def record(drawn: tuple[list[str], list[Typed], Any]) -> Typed:
    """A class with drawn fields, and instances of it."""
    names, fields, make = drawn
    cls, build = make({name: annotation for name, (annotation, _) in zip(names, fields, strict=False)})
    values = st.fixed_dictionaries({name: values for name, (_, values) in zip(names, fields, strict=False)})
    return cls, values.map(build)


SERIAL = itertools.count()
"""Members of a union are told apart by the names of their classes."""


def make_dataclass(fields: dict[str, Any]) -> Any:
    cls = dataclasses.make_dataclass(f"Made{next(SERIAL)}", list(fields.items()))
    return cls, lambda values: cls(**values)


def make_frozen_dataclass(fields: dict[str, Any]) -> Any:
    cls = dataclasses.make_dataclass(f"Made{next(SERIAL)}", list(fields.items()), frozen=True, slots=True, eq=False)
    return cls, lambda values: cls(**values)


def make_struct(fields: dict[str, Any]) -> Any:
    cls = msgspec.defstruct(f"Made{next(SERIAL)}", list(fields.items()))
    return cls, lambda values: cls(**values)


def make_tagged_struct(fields: dict[str, Any]) -> Any:
    cls = msgspec.defstruct(
        f"Made{next(SERIAL)}", list(fields.items()), tag=True, rename="upper", array_like=True, frozen=True
    )
    return cls, lambda values: cls(**values)


def make_attrs(fields: dict[str, Any]) -> Any:
    cls = attrs.make_class(
        f"Made{next(SERIAL)}", {name: attrs.field(type=hint, alias=name) for name, hint in fields.items()}
    )
    return cls, lambda values: cls(**values)


def make_named_tuple(fields: dict[str, Any]) -> Any:
    fields = {name.strip("_"): hint for name, hint in fields.items()}
    cls = NamedTuple(f"Made{next(SERIAL)}", list(fields.items()))  # type: ignore[misc]
    return cls, lambda values: cls(**{name.strip("_"): value for name, value in values.items()})


def make_typed_dict(fields: dict[str, Any]) -> Any:
    cls = TypedDict(f"Made{next(SERIAL)}", fields)  # type: ignore[misc]
    return cls, lambda values: dict(reversed(values.items()))


MAKERS = [
    make_dataclass,
    make_frozen_dataclass,
    make_struct,
    make_tagged_struct,
    make_attrs,
    make_named_tuple,
    make_typed_dict,
]

TYPED: st.SearchStrategy[Typed] = st.recursive(
    scalars() | st.just((Any, DATA)) | st.just((bytearray, st.binary(max_size=4).map(bytearray))),
    containers,
    max_leaves=6,
)


@st.composite
def typed_values(draw: st.DrawFn) -> tuple[Any, Any]:
    """An annotation and one value of it."""
    annotation, values = draw(TYPED)
    return annotation, draw(values)


@given(typed_values())
@example((Decimal, Decimal("sNaN12")))
def test_a_value_comes_back_as_its_annotation_promises(typed: tuple[Any, Any]) -> None:
    annotation, value = typed
    codec = codec_for(annotation)
    body, copy = codec.roundtrip(value, WHERE)
    assert same(copy, value)
    assert same(codec.decode(body, WHERE), value)


@given(typed_values())
def test_encoding_is_deterministic_and_a_fixed_point(typed: tuple[Any, Any]) -> None:
    annotation, value = typed
    codec = codec_for(annotation)
    body = codec.encode(value, WHERE)
    assert codec.encode(value, WHERE) == body
    assert codec.encode(codec.decode(body, WHERE), WHERE) == body
    assert codec.roundtrip(value, WHERE)[0] == body


@given(DATA)
@example(Decimal("sNaN12"))
@example({"~tuple": [1]})
@example({"~": 1, "a": {}})
def test_data_without_an_annotation_comes_back_in_value_and_type(value: Any) -> None:
    body, copy = ANY.roundtrip(value, WHERE)
    assert same(copy, value)
    assert same(ANY.decode(body, WHERE), value)


@given(TYPED, typed_values())
def test_a_value_of_another_annotation_is_refused_or_comes_back_the_same(typed: Typed, other: tuple[Any, Any]) -> None:
    codec = codec_for(typed[0])
    try:
        _, copy = codec.roundtrip(other[1], WHERE)
    except EncodeError as error:
        assert error.where == WHERE  # noqa: PT017 - either outcome is right, each in its own way
        assert error.path.startswith("$")  # noqa: PT017
    else:
        assert same(copy, other[1], widened=True)


@given(TYPED, typed_values())
def test_a_payload_of_another_annotation_reads_as_promised_or_not_at_all(typed: Typed, other: tuple[Any, Any]) -> None:
    codec = codec_for(typed[0])
    read_or_refuse(codec, codec_for(other[0]).encode(other[1], WHERE))


@given(TYPED, st.binary(max_size=30))
def test_bytes_that_nobody_wrote_are_a_decode_error_and_nothing_else(typed: Typed, body: bytes) -> None:
    read_or_refuse(codec_for(typed[0]), body)


@given(typed_values(), st.integers(0, 200), st.binary(max_size=3), st.integers(0, 3))
def test_damaged_payloads_are_a_decode_error_and_nothing_else(
    typed: tuple[Any, Any], at: int, inserted: bytes, dropped: int
) -> None:
    codec = codec_for(typed[0])
    body = codec.encode(typed[1], WHERE)
    at %= len(body) + 1
    read_or_refuse(codec, body[:at] + inserted + body[at + dropped :])


TAGS = st.sampled_from(
    [
        "~int",
        "~float",
        "~complex",
        "~bytes",
        "~Decimal",
        "~datetime",
        "~time",
        "~tuple",
        "~set",
        "~frozenset",
        "~dict",
        "~member",
        "~unset",
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TAGS | TEXT, inner, max_size=2),
)


@given(TYPED, JSON)
@example((Any, st.none()), {"~dict": [[[], 1]]})
@example((Any, st.none()), {"~set": [[]]})
@example((Any, st.none()), {"~datetime": ["2020-01-01", "../../etc/passwd", 0]})
@example((Any, st.none()), {"~datetime": ["2020-01-01", [10**30], 0]})
@example((Any, st.none()), {"~Decimal": 5})
def test_well_formed_garbage_is_a_decode_error_and_nothing_else(typed: Typed, tree: Any) -> None:
    read_or_refuse(codec_for(typed[0]), msgspec.json.encode(tree))


def read_or_refuse(codec: TypeCodec, body: bytes) -> None:
    """What can be read at all is a value that the annotation allows."""
    try:
        value = codec.decode(body, WHERE)
    except DecodeError as error:
        assert error.where == WHERE  # noqa: PT017
    else:
        assert codec.encode(value, WHERE)
