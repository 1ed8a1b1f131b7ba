"""
Identifiers that users choose: one rule for all of them.

Owns: what a run id, workflow, step, signal or queue name, namespace or key may look like, and the shard a run id falls
into. Must not know what they name.
"""

from __future__ import annotations

import re
import zlib
from typing import Final

from fluxo.errors import UsageError
from fluxo.limits import NAME_CHARS_MAX, SHARDS

__all__ = ["check_name", "shard_of"]

_NAME: Final = re.compile(r"[^\x00-\x1f\x7f\s](?:[^\x00-\x1f\x7f]*[^\x00-\x1f\x7f\s])?")


def shard_of(run_id: str) -> int:
    """The logical shard of a run, 0 to SHARDS - 1; stable for ever."""
    return zlib.crc32(run_id.encode()) % SHARDS


def check_name(what: str, name: str) -> str:
    """
    Return `name` if it can serve as an identifier, else raise.

    One rule for run ids, workflow, step, signal and queue names, namespaces and keys: 1 to 255
    printable characters, no control characters, no white space at either end.

    Raises:
        UsageError: names `what` and the rule.
    """
    if not isinstance(name, str):
        raise UsageError(f"{what} must be a string, not {type(name).__name__}")
    if len(name) > NAME_CHARS_MAX or not _NAME.fullmatch(name) or not _encodable(name):
        shown = name if len(name) <= 40 else name[:40] + "…"
        raise UsageError(
            f"{what} {shown!r} is not usable: 1 to {NAME_CHARS_MAX} characters, "
            "no control characters, no white space at either end"
        )
    return name


def _encodable(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
