"""
Events to bytes and back, and the chain of digests between them.

Owns: the version byte, the encoder and decoder (one each per process), the chain formula. Must not
know stores or replay. An encoded event is ``version byte + msgpack array [tag, fields…]``; the digest
of event n is ``crc32(body, digest of n-1 ^ fold of the nonce)``, so that a flipped bit, a missing row and a
row of another activation all show (DESIGN §3, prices in §7).
"""

from __future__ import annotations

from zlib import crc32

import msgspec

from fluxo.errors import DecodeError, HistoryCorruptError
from fluxo.model.events import Event

__all__ = ["VERSION", "chain", "decode_event", "encode_event", "fold", "link", "tag_of", "verify"]

VERSION = 1
_PREFIX = bytes([VERSION])
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Event).decode


def encode_event(event: Event) -> bytes:
    """The stored form of an event."""
    return _PREFIX + _encode(event)


def decode_event(body: bytes) -> Event:
    """
    The event of a stored body.

    Raises:
        DecodeError: not an event, or one of a newer fluxo.
    """
    if body[:1] != _PREFIX:
        version = body[0] if body else "missing"
        raise DecodeError("event", f"format version {version}, this fluxo reads version {VERSION}")
    try:
        event: Event = _decode(body[1:])
    except (msgspec.DecodeError, UnicodeDecodeError, OverflowError, RecursionError) as error:
        raise DecodeError("event", f"not readable ({type(error).__name__})") from error
    return event


def tag_of(body: bytes) -> int:
    """The tag of a stored event without decoding it; 0 when the body is too short to have one."""
    return body[2] if len(body) > 2 else 0


def chain(prev_digest: int, nonce: int, body: bytes) -> int:
    """Digest of the event after one with `prev_digest` (32 bits)."""
    return crc32(body, prev_digest ^ fold(nonce))


def fold(nonce: int) -> int:
    """A nonce in 32 bits, as it enters the chain."""
    return (nonce & 0xFFFFFFFF) ^ (nonce >> 32)


def link(event: Event, prev_digest: int, folded_nonce: int) -> tuple[bytes, int]:
    """`encode_event` and `chain` in one call: (body, digest)."""
    body = _PREFIX + _encode(event)
    return body, crc32(body, prev_digest ^ folded_nonce)


def verify(run_id: str, seq: int, prev_digest: int, row: tuple[int, int, int, bytes]) -> int:
    """
    Check that `row` is event `seq` after `prev_digest`; answer its digest.

    Raises:
        HistoryCorruptError: a missing, repeated or damaged row.
    """
    found, nonce, digest, body = row
    if found != seq:
        raise HistoryCorruptError(run_id, seq, f"the next row has seq {found}")
    if chain(prev_digest, nonce, body) != digest:
        raise HistoryCorruptError(run_id, seq, "its checksum does not follow from the event before it")
    return digest
