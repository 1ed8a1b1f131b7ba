"""
Signal payloads: written by a sender that does not know the receiver's type, read as the receiver's type.

Owns: that meeting. Must not know runs. The sender writes any data in the tagged form, and a dataclass, Struct or the
like by its own class; the receiver gets its annotated type, or a `DecodeError` that blocks its run.
"""

from __future__ import annotations

from typing import Any

import msgspec

from fluxo.codec.payload import ANY, codec_for
from fluxo.errors import DecodeError, EncodeError

__all__ = ["decode_signal", "encode_signal"]


def encode_signal(payload: Any, where: str) -> bytes:
    """
    The stored form of a payload.

    Raises:
        EncodeError: not data.
        LimitExceededError: too large.
    """
    try:
        return ANY.encode(payload, where)
    except EncodeError:
        kind = payload.__class__
        if kind.__module__ == "builtins":
            raise
        return codec_for(kind).encode(payload, where)


def decode_signal(body: bytes, annotation: Any, where: str) -> Any:
    """
    A payload as the type the waiter asked for.

    Raises:
        DecodeError: it is not of that type and cannot be read as one.
    """
    if annotation is Any:
        return ANY.decode(body, where)
    codec = codec_for(annotation)
    value = ANY.decode(body, where)
    try:
        return codec.roundtrip(value, where)[1]
    except EncodeError:
        pass
    try:
        return codec.decode(body, where)
    except DecodeError:
        pass
    try:
        return msgspec.convert(value, annotation)
    except (msgspec.ValidationError, TypeError, ValueError) as problem:
        name = getattr(annotation, "__name__", str(annotation))
        raise DecodeError(where, f"its payload is not a {name}") from problem
