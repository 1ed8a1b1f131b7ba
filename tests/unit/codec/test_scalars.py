"""
Scalars: what an annotation promises of a number, a text or a moment, and what comes back.

Owns: the rulings about values without parts. Must not know how they are written, but where bytes must be canonical.
"""

from __future__ import annotations

import enum
import io
import math
import struct
import sys
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from typing import Annotated, Any, Final, Literal, NewType, TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest

from fluxo.codec import ANY, codec_for
from fluxo.errors import DecodeError, EncodeError
from tests.unit.codec.same import same

WHERE = "step 'pack'"
BERLIN = ZoneInfo("Europe/Berlin")
NAIVE = datetime.fromisoformat("2026-01-01T02:30:00")
T = TypeVar("T")
Cents = NewType("Cents", int)


class Text(str):
    __slots__ = ()


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    LOW = 1


class Liar(enum.Enum):
    A = 1
    B = 2

    @property
    def value(self) -> int:
        return 3 - self._value_


class Right(enum.IntFlag):
    READ = 1
    WRITE = 2


@pytest.mark.parametrize(
    "annotation,value",
    [
        (int, 0),
        (int, -(10**500)),
        (float, math.nan),
        (float, -math.inf),
        (float, -0.0),
        (float, 5e-324),
        (complex, complex(math.nan, -0.0)),
        (str, "größe \x00 \U0010ffff"),
        (bytes, b"\x00\xff"),
        (bytearray, bytearray(b"\x00\xff")),
        (Decimal, Decimal("1.00")),
        (Decimal, Decimal("-0E+5")),
        (Decimal, Decimal("-sNaN17")),
        (Decimal, Decimal("1E-999999")),
        (UUID, UUID(int=7)),
        (date, date(1, 1, 1)),
        (time, time(1, 2, 3, 4, fold=1)),
        (time, time(23, 59, tzinfo=UTC)),
        (timedelta, timedelta.min),
        (timedelta, timedelta.max),
        (datetime, datetime.max.replace(tzinfo=UTC)),
        (datetime, datetime(2026, 1, 1, tzinfo=UTC)),
        (datetime, datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN, fold=1)),
        (datetime, datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=1), "CET"))),
        (datetime, datetime(2026, 1, 1, tzinfo=timezone(timedelta(seconds=-7, microseconds=1)))),
        (datetime, datetime(2026, 1, 1, tzinfo=ZoneInfo("UTC"))),
        (datetime, NAIVE.replace(fold=1)),
        (Colour, Colour.RED),
        (Level, Level.LOW),
        (Liar, Liar.B),
        (Right, Right.READ | Right.WRITE),
        (Right, Right(8)),
        (Literal["a", b"b", 1, Colour.RED], b"b"),
        (Literal["a", 1, True], True),
        (Cents, 5),
        (Annotated[int, ["unhashable metadata"]], 5),
        (Final[int], 5),
        (T, ("any", "data")),
        (None, None),
    ],
)
def test_a_value_comes_back_in_value_and_type(annotation: Any, value: Any) -> None:
    body, copy = codec_for(annotation).roundtrip(value, WHERE)
    assert same(copy, value)
    assert same(codec_for(annotation).decode(body, WHERE), value)


def test_an_integer_longer_than_python_prints_comes_back() -> None:
    value = -(1 << 100_000)
    assert sys.get_int_max_str_digits() < 30_000
    for codec in (codec_for(int), codec_for(list[int]), ANY):
        wrapped = [value] if codec is codec_for(list[int]) else value
        assert codec.roundtrip(wrapped, WHERE)[1] == wrapped


@pytest.mark.parametrize(
    "annotation,value",
    [
        (int, True),
        (int, 1.0),
        (int, Level.LOW),
        (float, True),
        (float, Decimal(1)),
        (complex, 1.0),
        (str, Text("a")),
        (str, b"a"),
        (str, Colour.RED),
        (bytes, bytearray(b"a")),
        (date, datetime(2026, 1, 1, tzinfo=UTC)),
        (datetime, date(2026, 1, 1)),
        (Colour, "red"),
        (Level, 1),
        (Literal[1], True),
        (Literal[True], 1),
        (Literal["a"], "b"),
        (None, False),
        (type(None), 0),
    ],
)
def test_a_value_of_another_type_than_promised_is_refused(annotation: Any, value: Any) -> None:
    with pytest.raises(EncodeError) as caught:
        codec_for(annotation).encode(value, WHERE)
    assert (caught.value.where, caught.value.path) == (WHERE, "$")
    assert caught.value.cure


def test_an_int_where_float_is_promised_comes_back_as_float() -> None:
    body, copy = codec_for(float).roundtrip(5, WHERE)
    assert same(copy, 5.0)
    assert body == codec_for(float).encode(5.0, WHERE)


@pytest.mark.parametrize("value", [2**53 + 1, 10**400])
def test_an_int_that_no_float_equals_is_refused_where_float_is_promised(value: int) -> None:
    with pytest.raises(EncodeError, match="no float equals"):
        codec_for(float).encode(value, WHERE)


def test_a_subclass_under_its_base_is_refused_with_the_cure() -> None:
    with pytest.raises(EncodeError, match="is Text, a subclass of the promised str") as caught:
        codec_for(str).encode(Text("a"), WHERE)
    assert "annotate Text itself" in caught.value.cure


@pytest.mark.parametrize("codec", [codec_for(str), codec_for(list[str]), codec_for(dict[str, int]), ANY])
def test_a_lone_surrogate_is_refused(codec: Any) -> None:
    text = "a\ud800"
    value = {codec_for(list[str]): [text], codec_for(dict[str, int]): {text: 1}}.get(codec, text)
    with pytest.raises(EncodeError, match="lone surrogates"):
        codec.encode(value, WHERE)


class Nowhere(tzinfo):
    def utcoffset(self, when: datetime | None) -> timedelta:
        return timedelta(0)


NAMELESS = ZoneInfo.from_file(io.BytesIO(b"TZif" + bytes(16) + struct.pack(">6lll4s", 0, 0, 0, 0, 1, 4, 0, 0, b"UTC")))


@pytest.mark.parametrize("zone", [Nowhere(), NAMELESS])
def test_a_zone_that_has_no_name_to_store_is_refused(zone: tzinfo) -> None:
    with pytest.raises(EncodeError, match="no name to store") as caught:
        codec_for(datetime).encode(datetime(2026, 1, 1, tzinfo=zone), WHERE)
    assert caught.value.path == "$.tzinfo"


def test_a_zone_unknown_to_this_machine_is_a_decode_error() -> None:
    body = codec_for(datetime).encode(datetime(2026, 1, 1, tzinfo=BERLIN), WHERE)
    with pytest.raises(DecodeError, match=r"\$\.tzinfo is a time zone that this machine does not know"):
        codec_for(datetime).decode(body.replace(b"Europe/Berlin", b"Europe/Atlantis"), WHERE)


def test_an_immutable_scalar_is_its_own_copy() -> None:
    value = Decimal("1.50")
    assert codec_for(Decimal).roundtrip(value, WHERE)[1] is value
    assert ANY.roundtrip(value, WHERE)[1] is value


def test_an_ordinary_scalar_is_plain_json() -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert codec_for(datetime).encode(moment, WHERE) == b'"2026-01-02T03:04:05Z"'
    assert codec_for(Decimal).encode(Decimal("1.50"), WHERE) == b'"1.50"'
    assert codec_for(Level).encode(Level.LOW, WHERE) == b"1"
