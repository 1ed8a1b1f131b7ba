"""
Argument lists: binding, the canonical form, and calls stored by other code.

Owns: the rulings about arguments. Must not know steps or workflows.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypedDict, Unpack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxo.codec import ArgumentsCodec
from fluxo.errors import DecodeError, EncodeError, LimitExceededError, UsageError
from fluxo.limits import PAYLOAD_BYTES_MAX
from tests.unit.codec.same import same

WHERE = "step 'pack'"


@dataclass
class Line:
    sku: str
    price: float


class Extras(TypedDict, total=False):
    gift: bool


def codec(function: Callable[..., Any], *, skip_self: bool = False) -> ArgumentsCodec:
    hints = typing.get_type_hints(function, include_extras=True)
    return ArgumentsCodec(inspect.signature(function), hints, skip_self=skip_self)


def pack(line: Line, count: int = 1, *, fast: bool = False) -> None: ...


def ship(a: int, /, b: str, *rest: float, c: bytes = b"", **options: int) -> None: ...


def nothing() -> None: ...


def loose(a, b=None):  # type: ignore[no-untyped-def]
    ...


def gifts(*lines: Line, **extras: Unpack[Extras]) -> None: ...


class Shop:
    def sell(self, line: Line, count: int = 1) -> None: ...


@pytest.mark.parametrize(
    "function,args,kwargs",
    [
        (nothing, (), {}),
        (pack, (Line("a", 1.0),), {}),
        (pack, (Line("a", 1.0), 2), {"fast": True}),
        (pack, (Line("a", 1.0),), {"fast": True}),
        (ship, (1, "b"), {}),
        (ship, (1, "b", 1.5, 2.5), {"c": b"c", "z": 1, "y": 2}),
        (ship, (1,), {"b": "b", "c": b"c"}),
        (ship, (1, "b"), {"a": 5}),
        (loose, ((1, {2}),), {"b": {3: 4}}),
        (gifts, (Line("a", 1.0), Line("b", 2.0)), {"gift": True}),
    ],
)
def test_a_call_comes_back_ready_to_be_made(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    arguments = codec(function)
    got_args, got_kwargs = arguments.decode(arguments.encode(args, kwargs, WHERE), WHERE)
    signature = inspect.signature(function)
    assert same(signature.bind(*got_args, **got_kwargs).arguments, signature.bind(*args, **kwargs).arguments)
    assert list(got_kwargs.get("options", got_kwargs)) == list(got_kwargs)


@pytest.mark.parametrize(
    "one,other",
    [
        (((Line("a", 1.0), 2), {}), ((Line("a", 1.0),), {"count": 2})),
        (((Line("a", 1.0), 2), {"fast": True}), ((), {"fast": True, "count": 2, "line": Line("a", 1)})),  # type: ignore[arg-type]
    ],
)
def test_two_spellings_of_one_call_are_the_same_bytes(one: Any, other: Any) -> None:
    assert codec(pack).encode(*one, WHERE) == codec(pack).encode(*other, WHERE)


def test_the_form_is_an_object_by_parameter_without_defaults() -> None:
    assert codec(pack).encode((Line("a", 1.0),), {}, WHERE) == b'{"line":{"sku":"a","price":1.0}}'
    assert codec(nothing).encode((), {}, WHERE) == b"{}"


def test_the_self_of_a_step_method_is_never_encoded() -> None:
    arguments = codec(Shop.sell, skip_self=True)
    body = arguments.encode((Line("a", 1.0),), {}, WHERE)
    assert body == b'{"line":{"sku":"a","price":1.0}}'
    assert arguments.decode(body, WHERE) == ((Line("a", 1.0),), {})


@pytest.mark.parametrize(
    "args,kwargs,words",
    [
        ((), {}, "missing a required argument: 'line'"),
        ((1, 2, 3), {}, "too many positional arguments"),
        ((1,), {"slow": 1}, "got an unexpected keyword argument 'slow'"),
        ((1,), {"line": 1}, "multiple values for argument 'line'"),
    ],
)
def test_a_call_that_python_would_refuse_is_refused_in_its_words(args: Any, kwargs: Any, words: str) -> None:
    with pytest.raises(UsageError, match=f"{WHERE}: {words}"):
        codec(pack).encode(args, kwargs, WHERE)


@pytest.mark.parametrize("args,kwargs", [((Line("a", "1"),), {}), ((), {"count": 1, "line": Line("a", "1")})])  # type: ignore[arg-type]
def test_the_path_of_an_error_begins_with_the_parameter(args: Any, kwargs: Any) -> None:
    with pytest.raises(EncodeError) as caught:
        codec(pack).encode(args, kwargs, WHERE)
    assert (caught.value.where, caught.value.path) == (WHERE, "line.price")


def test_variadic_arguments_are_checked_one_by_one() -> None:
    with pytest.raises(EncodeError, match=r"rest\[1\] is str, promised is float"):
        codec(ship).encode((1, "b", 1.0, "x"), {}, WHERE)
    with pytest.raises(EncodeError, match=r"options\.z is str, promised is int"):
        codec(ship).encode((1, "b"), {"z": "x"}, WHERE)
    with pytest.raises(EncodeError, match=r"extras\.ribbon is a key that Extras does not declare"):
        codec(gifts).encode((), {"ribbon": True}, WHERE)


def test_arguments_over_the_limit_together_are_refused() -> None:
    half = "a" * (PAYLOAD_BYTES_MAX // 2)
    with pytest.raises(LimitExceededError):
        codec(loose).encode((half, half), {}, WHERE)


@pytest.mark.parametrize(
    "body,problem",
    [
        (b'{"count":1}', "no value for the parameter 'line'"),
        (b'{"line":{"sku":"a","price":1},"gone":1}', "names a parameter that does not exist now"),
        (b'{"line":{"sku":"a","price":"x"}}', r"parameter 'line': \$\.price is stored as string"),
        (b"[]", "do not read as arguments"),
        (b"{", "do not read as arguments"),
        (b"", "do not read as arguments"),
    ],
)
def test_a_stored_call_that_does_not_fit_the_function_is_a_decode_error(body: bytes, problem: str) -> None:
    with pytest.raises(DecodeError, match=problem):
        codec(pack).decode(body, WHERE)


@pytest.mark.parametrize("body", [b'{"b":"b","a":1,"options":{"b":1}}', b'{"a":1,"b":"b","options":{"c":1}}'])
def test_a_stored_call_that_gives_a_parameter_twice_is_a_decode_error(body: bytes) -> None:
    with pytest.raises(DecodeError, match="twice"):
        codec(ship).decode(body, WHERE)


def test_a_stored_call_with_a_gap_before_positional_arguments_is_a_decode_error() -> None:
    def gap(a: int = 0, /, b: int = 0, *rest: int) -> None: ...

    with pytest.raises(DecodeError, match="but not those before it"):
        codec(gap).decode(b'{"rest":[1]}', WHERE)
    assert codec(gap).decode(b'{"b":1}', WHERE) == ((), {"b": 1})


@given(st.binary(max_size=40) | st.text(max_size=20).map(str.encode))
def test_bytes_that_nobody_wrote_are_a_decode_error_and_nothing_else(body: bytes) -> None:
    with pytest.raises(DecodeError):
        codec(pack).decode(body, WHERE)
