"""
A change stream on the runs.

Owns: the listening cursor. Must not know what changed. Every write of a run's document carries a mark of its writer, so
that a store does not hear itself.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from fluxo.stores.mongo.collections import Collections

__all__ = ["ChangeLine"]


class ChangeLine:
    """Hears other stores' changes of runs."""

    def __init__(self, on: Collections, own: str) -> None:
        self._on = on
        foreign = {"$not": {"$regex": f"^{own}:"}}
        match: dict[str, Any] = {
            "$or": [
                {"operationType": "insert", "fullDocument.by": foreign},
                {"operationType": "update", "updateDescription.updatedFields.by": foreign},
            ]
        }
        self._stream = on.runs.watch([{"$match": match}, {"$project": {"_id": 1}}], max_await_time_ms=1_000)
        self._hung_up = False

    def hear(self, timeout_s: float) -> bool:
        for _ in range(max(round(timeout_s), 1)):
            if self._hung_up:
                return False
            if self._stream.try_next() is not None:
                return True
        return False

    def hang_up(self) -> None:
        self._hung_up = True

    def close(self) -> None:
        with suppress(Exception):
            self._stream.close()
