"""
Values without parts: numbers, text, bytes, dates, identifiers.

Owns: the wire of each, ordinary and odd. Must not know annotations or containers.

Theory: a scalar's ordinary wire is what msgspec writes for it. What msgspec would lose has an odd wire, tagged:
integers too long for decimal digits, NaN and infinities, time zones other than UTC, folds, complex numbers.
"""

from __future__ import annotations

import math
import sys
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from types import NoneType
from typing import Any, Final, cast
from uuid import UUID

import msgspec

from fluxo.codec.shape import Check, Shape, kind_of, misfit, type_of, unreadable, within
from fluxo.errors import DecodeError, EncodeError

__all__ = ["ATOMS", "PLAIN", "SCALARS", "TEXTS", "Scalar", "Text"]

_INT_BITS_MAX: Final = 2_000
"""Longer integers are written as hexadecimal: 640 decimal digits are the least that Python may be told to refuse."""


class Scalar(Shape):
    """A value of exactly one class that JSON, too, knows: None, bool, and the base of the others."""

    def __init__(self, kind: Any, json_kind: str) -> None:
        self.kind = kind
        self.label = "None" if kind is NoneType else kind.__name__
        self.tag = f"~{self.label}"
        self.roots = frozenset({kind})
        self.kinds = frozenset({json_kind})

    @property
    def native(self) -> Any:
        return self.kind

    def ordinary(self) -> Check:
        kind: type = self.kind
        return kind

    def lower(self, value: Any, depth: int) -> Any:
        if type_of(value) is not self.kind:
            raise misfit(value, self)
        return value

    def lift(self, wire: Any) -> Any:
        if type_of(wire) is not self.kind:
            raise unreadable(wire, self)
        return wire

    def untag(self, inner: Any) -> Any:
        """The value of what stands under its tag."""
        return self.lift(inner)


class _Str(Scalar):
    """Text; lone surrogates are not text in any encoding."""

    def lower(self, value: Any, depth: int) -> Any:
        if type_of(value) is not str:
            raise misfit(value, self)
        if not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError:
                cure = "hand it over as bytes, value.encode('utf-8', 'surrogatepass')"
                raise EncodeError("", "", "is a str with lone surrogates, which UTF-8 cannot hold", cure) from None
        return value


class _Int(Scalar):
    """Integers of any size."""

    def __init__(self) -> None:
        super().__init__(int, "int")
        self.kinds = frozenset({"int", self.tag})

    def lower(self, value: Any, depth: int) -> Any:
        if type_of(value) is not int:
            raise misfit(value, self)
        return value if value.bit_length() <= _INT_BITS_MAX else {self.tag: hex(value)}

    def lift(self, wire: Any) -> Any:
        if type_of(wire) is int:
            return wire
        if kind_of(wire) != self.tag:
            raise unreadable(wire, self)
        return self.untag(wire[self.tag])

    def untag(self, inner: Any) -> int:
        if type_of(inner) is not str:
            raise unreadable(inner, self)
        return int(inner, 16)


class _Float(Scalar):
    """Binary floating point; an int is widened where that loses nothing."""

    def __init__(self) -> None:
        super().__init__(float, "float")
        self.kinds = frozenset({"float", self.tag})

    def ordinary(self) -> Check:
        return _is_finite

    def lower(self, value: Any, depth: int) -> Any:
        if type_of(value) is int and depth >= 0:
            value = self._widened(value)
        elif type_of(value) is not float:
            raise misfit(value, self)
        return value if math.isfinite(value) else {self.tag: repr(value)}

    def _widened(self, value: int) -> float:
        try:
            widened = float(value)
        except OverflowError:
            widened = math.inf
        if widened != value:
            cure = "annotate int, or hand over float(value) if the loss is wanted"
            raise EncodeError("", "", "is an int that no float equals, promised is float", cure)
        return widened

    def lift(self, wire: Any) -> Any:
        if type_of(wire) is float:
            return wire
        if type_of(wire) is int:
            return float(wire)
        if kind_of(wire) != self.tag:
            raise unreadable(wire, self)
        return self.untag(wire[self.tag])

    def untag(self, inner: Any) -> float:
        if inner not in ("nan", "inf", "-inf"):
            raise unreadable(inner, self)
        return float(inner)


def _is_finite(value: Any) -> bool:
    return type_of(value) is float and value - value == 0.0


class Text(Scalar):
    """A scalar that msgspec writes as a JSON string."""

    def __init__(self, kind: type) -> None:
        super().__init__(kind, "string")

    def lift(self, wire: Any) -> Any:
        if type_of(wire) is not str:
            raise unreadable(wire, self)
        try:
            return msgspec.convert(wire, self.kind)
        except (msgspec.ValidationError, ValueError, ArithmeticError):
            raise DecodeError("", f" is text that does not read as {self.label}") from None

    def tagged(self, value: Any, depth: int) -> Any:
        """Its wire where no annotation tells its type."""
        wire = self.lower(value, depth)
        return wire if type_of(wire) is dict else {self.tag: wire}

    def untag(self, inner: Any) -> Any:
        """The value of what stands under its tag."""
        return self.lift(inner if type_of(inner) is str else {self.tag: inner})


class _Moment(Text):
    """A datetime or time of day: ordinary in UTC or naive with fold 0, else tagged with zone and fold."""

    def __init__(self, kind: type[datetime] | type[time], *, aware: bool) -> None:
        super().__init__(kind)
        self._parse = kind.fromisoformat
        self._aware = UTC if aware else None
        self.kinds = frozenset({"string", self.tag})

    def ordinary(self) -> Check:
        kind, aware = self.kind, self._aware

        def check(value: Any) -> bool:
            if type_of(value) is not kind or value.fold:
                return False
            zone = value.tzinfo
            return zone is None or zone is aware

        return check

    def lower(self, value: Any, depth: int) -> Any:
        if type_of(value) is not self.kind:
            raise misfit(value, self)
        zone = value.tzinfo
        if not value.fold and (zone is None or zone is self._aware):
            return value
        local = value.replace(tzinfo=None, fold=0).isoformat()
        return {self.tag: [local, _lower_zone(zone), value.fold]}

    def lift(self, wire: Any) -> Any:
        if kind_of(wire) != self.tag:
            return super().lift(wire)
        local, zone, fold = wire[self.tag]
        moment = self._parse(local)
        if moment.tzinfo is not None or type_of(fold) is not int:
            raise unreadable(wire, self)
        try:
            return moment.replace(tzinfo=_lift_zone(zone), fold=fold)
        except DecodeError as error:
            within(error, ".tzinfo")
            raise


def _lower_zone(zone: tzinfo | None) -> Any:
    """None, a zone's key, or a fixed offset: [microseconds] or [microseconds, name]."""
    if zone is None:
        return None
    if type_of(zone) is timezone:
        # How a timezone is pickled, and the only way to learn whether it was given a name.
        offset, *name = cast(Any, zone).__getinitargs__()
        return [offset // timedelta(microseconds=1), *name]
    # A value with a ZoneInfo exists only when the module is loaded.
    zoneinfo: Any = sys.modules.get("zoneinfo")
    key = getattr(zone, "key", None)
    if zoneinfo is not None and type_of(zone) is zoneinfo.ZoneInfo and key is not None:
        return key
    cure = "give it datetime.UTC, a timezone or a ZoneInfo made from a key"
    raise EncodeError("", ".tzinfo", f"is {type_of(zone).__qualname__}, a zone that has no name to store", cure)


def _lift_zone(wire: Any) -> tzinfo | None:
    if wire is None:
        return None
    if type_of(wire) is list:
        offset, *name = wire
        return timezone(timedelta(microseconds=offset), *name)
    from zoneinfo import ZoneInfo

    try:
        return ZoneInfo(wire)
    except Exception:
        raise DecodeError("", " is a time zone that this machine does not know") from None


class _Complex(Scalar):
    """Two floats, always tagged."""

    def __init__(self) -> None:
        super().__init__(complex, "~complex")

    @property
    def native(self) -> Any:
        return None

    def lower(self, value: Any, depth: int) -> Any:
        if type_of(value) is not complex:
            raise misfit(value, self)
        return {self.tag: [_FLOAT.lower(value.real, 0), _FLOAT.lower(value.imag, 0)]}

    def lift(self, wire: Any) -> Any:
        if kind_of(wire) != self.tag:
            raise unreadable(wire, self)
        return self.untag(wire[self.tag])

    def untag(self, inner: Any) -> complex:
        real, imag = inner
        return complex(_FLOAT.lift(real), _FLOAT.lift(imag))


_FLOAT: Final = _Float()

PLAIN: Final[dict[Any, Scalar]] = {
    NoneType: Scalar(NoneType, "null"),
    bool: Scalar(bool, "bool"),
    int: _Int(),
    float: _FLOAT,
    str: _Str(str, "string"),
    complex: _Complex(),
}
"""Scalars whose wire tells their type."""

TEXTS: Final[dict[Any, Text]] = {
    bytes: Text(bytes),
    bytearray: Text(bytearray),
    Decimal: Text(Decimal),
    UUID: Text(UUID),
    date: Text(date),
    timedelta: Text(timedelta),
    datetime: _Moment(datetime, aware=True),
    time: _Moment(time, aware=False),
}
"""Scalars that need a tag where no annotation tells their type."""

SCALARS: Final[dict[Any, Scalar]] = {**PLAIN, **TEXTS}

ATOMS: Final = frozenset({NoneType, bool, int, float, complex, str, bytes, Decimal, UUID, date, timedelta})
"""Immutable through and through: once encoded, such a value is its own decoded form."""
