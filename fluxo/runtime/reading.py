"""
Reading a run's log from a store.

Owns: the paging. Must not know what the events mean.
"""

from __future__ import annotations

from collections.abc import Iterator

from fluxo.limits import READ_EVENTS_PAGE
from fluxo.replay.history import History
from fluxo.store import EventRow, Store

__all__ = ["read_history", "read_rows"]


def read_rows(store: Store, key: int) -> Iterator[EventRow]:
    """All events of a run, in order. Cost: one round trip per READ_EVENTS_PAGE events."""
    seq = 0
    while True:
        page = store.read(key, seq, READ_EVENTS_PAGE)
        yield from page
        if len(page) < READ_EVENTS_PAGE:
            return
        seq = page[-1][0]


def read_history(store: Store, run_id: str, key: int) -> History:
    """
    The verified history of a run.

    Raises:
        HistoryCorruptError: a missing, damaged or unreadable row.
    """
    return History(run_id, read_rows(store, key))
