"""
Payloads: one user value to bytes and back, as its annotation promises.

Owns: `TypeCodec`, the choice between msgspec alone and the shapes, the size limit, the verification. Must not
know functions, runs or events. Theory: API §7 "Payloads"; wires in `fluxo.codec.shape`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

import msgspec

from fluxo.codec.compile import compile_annotation
from fluxo.codec.records import StructRecord
from fluxo.codec.scalars import ATOMS
from fluxo.codec.shape import Check, Shape, reachable, write
from fluxo.errors import DecodeError, EncodeError, LimitExceededError
from fluxo.limits import PAYLOAD_BYTES_MAX

__all__ = ["ANY", "TypeCodec", "codec_for", "too_large"]

_parse: Final = msgspec.json.Decoder().decode


class TypeCodec:
    """
    The codec of one annotation.

    Where msgspec alone is provably lossless it does the work: always for reading ordinary payloads, and for writing
    once a check of the value's exact types has passed. Everything else goes through the annotation's shape.
    """

    __slots__ = ("_atoms", "_check", "_exact", "_faithful", "_read", "_runs_code", "_shape")

    def __init__(self, shape: Shape) -> None:
        self._shape = shape
        self._read = _native_reader(shape)
        check: Check = shape.ordinary() if self._read is not None else None
        self._exact: type | None = check if isinstance(check, type) else None
        self._check: Callable[[Any], bool] | None = None if isinstance(check, type) else check
        self._atoms = ATOMS if shape.roots is None else ATOMS & shape.roots
        self._runs_code = any(isinstance(part, StructRecord) and part.runs_code for part in reachable(shape))
        # The reader again, where what it reads of an ordinary value needs no verification.
        self._faithful = None if self._runs_code else self._read

    @property
    def exact(self) -> type | None:
        """The class whose every instance msgspec writes losslessly under this annotation; None if none is so plain."""
        return self._exact

    def __repr__(self) -> str:
        return f"<TypeCodec {self._shape.label}>"

    def encode(self, value: Any, where: str) -> bytes:
        """
        The stored form of `value`, the same in every process; `where` names the step or workflow in errors.

        Raises:
            EncodeError: not exactly what the annotation promises, with the path inside the value.
            LimitExceededError: more than PAYLOAD_BYTES_MAX.
        """
        try:
            if type(value) is self._exact or (self._check is not None and self._check(value)):
                body = write(value)
            else:
                body = self._lowered(value, where)
        except EncodeError:
            raise
        except Exception:
            # A lone surrogate or an endless integer that msgspec met on the fast path: the shape knows where.
            body = self._lowered(value, where)
        if len(body) > PAYLOAD_BYTES_MAX:
            raise too_large(where, len(body))
        return body

    def decode(self, body: bytes, where: str) -> Any:
        """
        The value of a stored form, of the annotated type.

        Raises:
            DecodeError: not the stored form of such a value; on any bytes whatever, no other error.
        """
        if self._read is not None:
            try:
                return self._read(body)
            except Exception:
                # An odd value, or garbage: the shape tells which.
                pass
        try:
            return self._shape.lift(_parse(body))
        except DecodeError as error:
            raise DecodeError(where, f"${error.problem}") from None
        except Exception as error:
            # The error's own text could hold the value.
            problem = f"stored bytes do not read as {self._shape.label} ({type(error).__name__})"
            raise DecodeError(where, problem) from None

    def roundtrip(self, value: Any, where: str) -> tuple[bytes, Any]:
        """
        The stored form of `value`, and the value it will be read back as: a fresh copy unless it is immutable.

        Costs an encode and a decode; where msgspec alone is not provably lossless, another encode verifies the copy.

        Raises:
            EncodeError, LimitExceededError: as `encode`; also when the value would come back different.
        """
        read = self._faithful
        if read is not None:
            try:
                if type(value) is self._exact or (self._check is not None and self._check(value)):
                    # Of ordinary values only: there msgspec is lossless, and a second writing would verify nothing.
                    body = write(value)
                    if len(body) <= PAYLOAD_BYTES_MAX:
                        return body, value if type(value) in self._atoms else read(body)
            except Exception:
                # A lone surrogate or an endless integer: the long way tells.
                pass
        body = self.encode(value, where)
        if type(value) in self._atoms:
            return body, value
        if self._read is not None:
            try:
                copy = self._read(body)
                if write(copy) == body:
                    return body, copy
            except Exception:
                # An odd value: the long way tells.
                pass
        try:
            copy = self.decode(body, where)
        except DecodeError as error:
            raise _changed(where, value, error.problem) from None
        if not self._is_form(body, copy):
            raise _changed(where, value, "its stored form reads as another value")
        return body, copy

    def _lowered(self, value: Any, where: str) -> bytes:
        try:
            body = write(self._shape.lower(value, 0))
        except EncodeError as error:
            raise EncodeError(where, f"${error.path}", error.problem, error.cure) from None
        except Exception as error:
            problem = f"is {type(value).__qualname__} and could not be read ({type(error).__name__})"
            raise EncodeError(where, "$", problem, "make sure that its attributes can be read at any time") from error
        if self._runs_code:
            self._verify(body, value, where)
        return body

    def _verify(self, body: bytes, value: Any, where: str) -> None:
        """Refuse a value that a constructor changes each time it runs."""
        try:
            same = write(self._shape.lower(self._shape.lift(_parse(body)), 0)) == body
        except Exception:
            same = False
        if not same:
            raise _changed(where, value, "a __post_init__ in it changes or refuses stored values")

    def _is_form(self, body: bytes, copy: Any) -> bool:
        """Whether `body` is the stored form of `copy`: then it tells value and type of everything inside."""
        try:
            return write(self._shape.lower(copy, 0)) == body
        except Exception:
            return False


def _native_reader(shape: Shape) -> Callable[[bytes], Any] | None:
    """msgspec's decoder for the shape, if there is one and msgspec agrees."""
    native = shape.native
    if native is None:
        return None
    try:
        return msgspec.json.Decoder(native).decode
    except Exception:
        return None


def _changed(where: str, value: Any, problem: str) -> EncodeError:
    cure = "hand over plain data, or change the class so that its stored fields restore it"
    return EncodeError(where, "$", f"is {type(value).__qualname__} and would come back different: {problem}", cure)


def too_large(where: str, size: int) -> LimitExceededError:
    """The error for a payload over the limit."""
    cure = "keep large data elsewhere and hand over a reference to it"
    return LimitExceededError(f"{where}: encoded size in bytes", size, PAYLOAD_BYTES_MAX, cure)


def codec_for(annotation: Any) -> TypeCodec:
    """
    The codec of an annotation, compiled once per process.

    None means NoneType; a missing annotation, and one that cannot be resolved, means Any. Never raises: an
    annotation that names no data gives a codec that refuses every value. Compiling costs 0.1 to 1 ms.
    """
    try:
        return _cached(annotation)
    except TypeError:
        # Not hashable, as metadata in Annotated may be.
        return TypeCodec(compile_annotation(annotation))


@lru_cache(maxsize=4096)
def _cached(annotation: Any) -> TypeCodec:
    return TypeCodec(compile_annotation(annotation))


ANY: Final = codec_for(Any)
"""The codec of values that no annotation describes."""
