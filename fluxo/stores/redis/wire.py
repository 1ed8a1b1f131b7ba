"""
What goes to the scripts and comes back.

Owns: the forms of keys, rows, events and messages on the wire. Must not know clients or scripts' names. Numbers that
may exceed 2^53 travel as text; an event is ``<nonce> <digest> <body>``, its seq is its place in the list.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from fluxo.limits import SHARDS
from fluxo.model.run import RunRecord, RunStatus
from fluxo.store import (
    Append,
    Delivered,
    Delivery,
    EventRow,
    InboxItem,
    Message,
    NewRun,
    Projection,
    Release,
    RunQuery,
    WorkerRecord,
)

__all__ = [
    "address_of",
    "below",
    "binary_of",
    "delivery_of",
    "event_of",
    "filters_of",
    "inbox_item_of",
    "item_of",
    "key_of",
    "message_of",
    "place_of",
    "record_of",
    "release_of",
    "route",
    "worker_of",
]

_STATUSES: Final = {status.value.encode(): status for status in RunStatus}
_VERDICTS: Final = {verdict.value.encode(): verdict for verdict in Delivered}
_worker: Final = msgspec.msgpack.Decoder(WorkerRecord).decode


def key_of(us: bytes, shard: int) -> int:
    """The integer key of the run that a shard calls `us`."""
    return int(us) * SHARDS + shard


def place_of(key: int) -> tuple[int, int]:
    """What its shard calls a run, and that shard."""
    return divmod(key, SHARDS)


def below(before_key: int | None, shard: int) -> str:
    """The bound of a page on one shard: runs that it calls less than this; empty for none."""
    if before_key is None:
        return ""
    us, of = place_of(before_key)
    return str(us + 1 if shard < of else us)


def event_of(seq: int, event: bytes) -> EventRow:
    """An event from its place and its form in the list."""
    nonce, digest, body = event.split(b" ", 2)
    return seq, int(nonce), int(digest), body


def item_of(append: Append, us: int) -> list[Any]:
    """An append to the run that its shard calls `us`, as the script takes it, without what is bytes."""
    return [
        str(us),
        append.prev_seq,
        str(append.prev_digest),
        len(append.events),
        False if append.projection is None else _projection(append.projection),
        [str(n) for n, _ in append.consumed] or False,
        False if append.new is None else _new(append.new),
    ]


def binary_of(append: Append) -> list[bytes]:
    """What of an append is bytes, in the order in which the script takes it: cmsgpack knows no binary type."""
    events = [b"%d %d %b" % (nonce, digest, body) for _, nonce, digest, body in append.events]
    return events if append.new is None else [*events, append.new.input_digest]


def _projection(projection: Projection) -> dict[str, str]:
    return {
        "status": projection.status.value,
        "wake_at_us": _optional(projection.wake_at_us),
        "consumed": str(projection.consumed),
        "owner": projection.owner or "",
        "nonce": str(projection.nonce),
    }


def _new(new: NewRun) -> dict[str, str]:
    return {
        "namespace": new.namespace,
        "run_id": new.run_id,
        "workflow": new.workflow,
        "version": new.version,
        "status": new.status.value,
        "queue": new.queue,
        "shard": str(new.shard),
        "priority": str(new.priority),
        "wake_at_us": _optional(new.wake_at_us),
        "owner": new.owner or "",
        "nonce": str(new.nonce),
    }


def _optional(number: int | None) -> str:
    return "" if number is None else str(number)


def record_of(found: Sequence[Any], shard: int) -> RunRecord:
    """A run from (us, values in the order of `common.lua`)."""
    us, v = found
    return RunRecord(
        key=key_of(us, shard),
        namespace=v[0].decode(),
        run_id=v[1].decode(),
        workflow=v[2].decode(),
        version=v[3].decode(),
        status=_STATUSES[v[4]],
        queue=v[5].decode(),
        shard=int(v[6]),
        priority=int(v[7]),
        wake_at_us=int(v[8]) if v[8] else None,
        delivered=int(v[9]),
        consumed=int(v[10]),
        owner=v[11].decode() or None,
        nonce=int(v[12]),
        base_seq=int(v[13]),
        tail_seq=int(v[14]),
        tail_digest=int(v[15]),
        input_digest=v[16],
        created_at_us=int(v[17]),
        updated_at_us=int(v[18]),
    )


def route(namespace: str, queue: str, workflow: str, version: str) -> str:
    """What runs that one worker function takes have in common."""
    return f"{namespace}\0{queue}\0{workflow}\0{version}"


def release_of(release: Release, us: int) -> list[Any]:
    """The release of the run that its shard calls `us`, as the script takes it."""
    consumed = False if release.consumed is None else str(release.consumed)
    wake = _optional(release.wake_at_us)
    return [str(us), release.owner, str(release.nonce), release.status.value, wake, consumed]


def message_of(message: Message) -> list[Any]:
    """A message as the script takes it."""
    return [message.namespace, message.run_id, message.kind, message.name, message.dedup_key]


def delivery_of(answer: Sequence[Any], shard: int) -> Delivery:
    """The script's verdict."""
    verdict, us, n, owner = answer
    key = 0 if us == b"0" else key_of(us, shard)
    return Delivery(_VERDICTS[verdict], key, n, owner.decode() or None)


def inbox_item_of(n: int, body: bytes) -> InboxItem:
    """A message as the script stored it."""
    kind, name, dedup_key, payload, at_us = _raw(body)
    return InboxItem(n, kind.decode(), name.decode(), dedup_key.decode(), payload, int(at_us))


def _raw(body: bytes) -> list[bytes]:
    """
    The five strings of a stored message.

    Lua has one kind of string, which it writes as MessagePack text, whatever bytes it holds; no decoder of text takes
    that, so the few forms that can come are read here.
    """
    parts: list[bytes] = []
    at = 1
    while at < len(body):
        kind = body[at]
        if kind & 0xE0 == 0xA0:
            width, size = 0, kind & 0x1F
        else:
            width = {0xD9: 1, 0xDA: 2, 0xDB: 4}[kind]
            size = int.from_bytes(body[at + 1 : at + 1 + width], "big")
        begin = at + 1 + width
        parts.append(body[begin : begin + size])
        at = begin + size
    return parts


def filters_of(query: RunQuery) -> dict[str, Any]:
    """The filters of a query as the script takes them."""
    filters: dict[str, Any] = {}
    if query.status:
        filters["status"] = {status.value: True for status in query.status}
    if query.workflow is not None:
        filters["workflow"] = query.workflow
    if query.queue is not None:
        filters["queue"] = query.queue
    if query.since_us is not None:
        filters["since"] = query.since_us
    return filters


def worker_of(record: bytes, beat: int) -> WorkerRecord:
    """A worker's row."""
    return msgspec.structs.replace(_worker(record), beat=beat)


def address_of(client: Any) -> str:
    """Where a client connects to, without user and password."""
    settings = getattr(getattr(client, "connection_pool", None), "connection_kwargs", {})
    if "path" in settings:
        return str(settings["path"])
    host = settings.get("host", "a cluster")
    return f"{host}:{settings['port']}" if "port" in settings else str(host)
