"""
Argument lists: the values of one call to bytes and back.

Owns: binding to the parameters, the canonical form. Must not know what is called.

Theory: the stored form is a JSON object by parameter name, in the order of the signature, without defaults that were
not given, so that ``f(1, b=2)`` and ``f(1, 2)`` are the same bytes. ``*args`` and ``**kwargs`` stand under their own
names, the latter in the order of the call.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Iterable
from types import GenericAlias
from typing import Any, Final

import msgspec

from fluxo.codec.payload import codec_for, too_large
from fluxo.codec.shape import write
from fluxo.errors import DecodeError, EncodeError, UsageError
from fluxo.limits import PAYLOAD_BYTES_MAX

__all__ = ["ArgumentsCodec"]

_split: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_Parameter = inspect.Parameter
_KEYWORDS: Final = (_Parameter.POSITIONAL_OR_KEYWORD, _Parameter.KEYWORD_ONLY)
_VARIADIC: Final = (_Parameter.VAR_POSITIONAL, _Parameter.VAR_KEYWORD)


class ArgumentsCodec:
    """
    The codec of one function's arguments.

    `hints` are the resolved annotations by parameter name; a missing one means Any. With `skip_self` the first
    parameter is the object a step method is bound to: it is never encoded, and `encode` gets the other arguments.
    """

    __slots__ = (
        "_by_name",
        "_codecs",
        "_encoders",
        "_exact",
        "_names",
        "_needed",
        "_parameters",
        "_positional",
        "_templates",
        "_variadic",
    )

    def __init__(self, signature: inspect.Signature, hints: dict[str, Any], *, skip_self: bool = False) -> None:
        parameters = list(signature.parameters.values())[1 if skip_self else 0 :]
        self._parameters = parameters
        self._names = tuple(p.name for p in parameters)
        self._codecs = {p.name: codec_for(_annotation(p, hints.get(p.name, Any))) for p in parameters}
        self._encoders = tuple(codec.encode for codec in self._codecs.values())
        self._positional = sum(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters)
        self._by_name = frozenset(p.name for p in parameters if p.kind in _KEYWORDS)
        self._needed = frozenset(p.name for p in parameters if p.default is p.empty and p.kind not in _VARIADIC)
        self._variadic = any(p.kind in _VARIADIC for p in parameters)
        required = sum(p.name in self._needed for p in parameters[: self._positional])
        # By the number of arguments, all positional, that make a call without binding: none if a keyword is required.
        simple = not self._variadic and len(self._needed) == required
        counts = range(required, self._positional + 1) if simple else ()
        self._templates = {count: self._template(self._names[:count]) for count in counts}
        # Where every parameter is ordinary by its exact class, one call of msgspec writes the same bytes.
        exact = [codec.exact for codec in self._codecs.values()]
        self._exact = {count: tuple(exact[:count]) for count in counts if None not in exact[:count]}

    def _template(self, names: Iterable[str]) -> bytes:
        return b"{" + b",".join(msgspec.json.encode(name) + b":%b" for name in names) + b"}"

    def encode(self, args: tuple[Any, ...], kwargs: dict[str, Any], where: str) -> bytes:
        """
        The stored form of a call.

        Raises:
            UsageError: the function cannot be called so, in Python's own words.
            EncodeError: a value is not what its parameter's annotation promises; the path begins with the parameter.
            LimitExceededError: more than PAYLOAD_BYTES_MAX.
        """
        if not kwargs and self._exact.get(len(args)) == (*map(type, args),):
            try:
                given = dict(zip(self._names, args))  # noqa: B905 - naming strict= costs as much as the pairs
                body = write(given)
            except Exception:
                pass  # a lone surrogate, an endless integer: the long way names the parameter
            else:
                if len(body) > PAYLOAD_BYTES_MAX:
                    raise too_large(where, len(body))
                return body
        template = self._templates.get(len(args)) if not kwargs else None
        if template is None:
            return self._encode_bound(self._bound(args, kwargs, where), where)
        bodies: list[bytes] = []
        try:
            for encode, value in zip(self._encoders, args, strict=False):
                bodies.append(encode(value, where))
        except EncodeError as error:
            raise _in_parameter(error, self._names[len(bodies)]) from None
        return _bounded(template % tuple(bodies), where)

    def _bound(self, args: tuple[Any, ...], kwargs: dict[str, Any], where: str) -> dict[str, Any]:
        """The value of each parameter that is given one."""
        if not self._variadic and len(args) <= self._positional and kwargs.keys() <= self._by_name:
            given = dict(zip(self._names, args, strict=False))
            count = len(given) + len(kwargs)
            given |= kwargs
            if len(given) == count and self._needed <= given.keys():
                return given
        signature = inspect.Signature(self._parameters)
        try:
            return signature.bind(*args, **kwargs).arguments
        except TypeError as error:
            raise UsageError(f"{where}: {error}; the parameters are {signature}") from None

    def _encode_bound(self, given: dict[str, Any], where: str) -> bytes:
        bodies: dict[str, bytes] = {}
        for name, encode in zip(self._names, self._encoders, strict=True):
            if name in given:
                try:
                    bodies[name] = encode(given[name], where)
                except EncodeError as error:
                    raise _in_parameter(error, name) from None
        return _bounded(self._template(bodies) % tuple(bodies.values()), where)

    def decode(self, body: bytes, where: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """
        Arguments to call the function with, of the annotated types; what was not given is left to its default.

        Raises:
            DecodeError: not a call of this function as it is now.
        """
        values = self._values(body, where)
        if not self._needed <= values.keys():
            missing = sorted(self._needed - values.keys())
            raise DecodeError(where, f"the stored call has no value for the parameter {missing[0]!r}")
        if len(values) <= self._positional and (*values,) == self._names[: len(values)]:
            return tuple(values.values()), {}
        args: list[Any] = []
        kwargs: dict[str, Any] = {}
        contiguous = True
        for parameter in self._parameters:
            name, kind = parameter.name, parameter.kind
            if name not in values:
                contiguous = False
            elif kind is parameter.VAR_KEYWORD:
                if values[name].keys() & self._by_name:
                    raise DecodeError(where, f"the stored call gives a parameter twice, once in **{name}")
                kwargs |= values[name]
            elif contiguous and kind is not parameter.KEYWORD_ONLY:
                args += values[name] if kind is parameter.VAR_POSITIONAL else (values[name],)
            elif kind in _KEYWORDS:
                kwargs[name] = values[name]
            else:
                raise DecodeError(where, f"the stored call gives the parameter {name!r} but not those before it")
        return tuple(args), kwargs

    def _values(self, body: bytes, where: str) -> dict[str, Any]:
        try:
            raws = _split(body)
        except Exception as error:
            problem = f"stored bytes do not read as arguments ({type(error).__name__})"
            raise DecodeError(where, problem) from None
        values: dict[str, Any] = {}
        for name, raw in raws.items():
            codec = self._codecs.get(name)
            if codec is None:
                problem = f"the stored call names a parameter that does not exist now ({len(raws)} stored)"
                raise DecodeError(where, problem)
            try:
                values[name] = codec.decode(bytes(raw), where)
            except DecodeError as error:
                raise DecodeError(where, f"parameter {name!r}: {error.problem}") from None
        return values


def _annotation(parameter: inspect.Parameter, hint: Any) -> Any:
    """What the codec of a parameter is compiled from: of ``*args`` all together, of ``**kwargs`` likewise."""
    if parameter.kind not in _VARIADIC:
        return hint
    if typing.get_origin(hint) is typing.Unpack:
        return typing.get_args(hint)[0]
    return (
        GenericAlias(tuple, (hint, ...))
        if parameter.kind is parameter.VAR_POSITIONAL
        else GenericAlias(dict, (str, hint))
    )


def _in_parameter(error: EncodeError, name: str) -> EncodeError:
    return EncodeError(error.where, name + error.path[1:], error.problem, error.cure)


def _bounded(body: bytes, where: str) -> bytes:
    if len(body) > PAYLOAD_BYTES_MAX:
        raise too_large(where, len(body))
    return body
