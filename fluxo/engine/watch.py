"""
Who waits for which run to end.

Owns: the waiting callers of one engine and what wakes them. Must not know how an end is found. A run that ends in
this process wakes its callers directly; for others the worker loop asks the store when something changed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from fluxo.model.events import RunBlocked, TerminalEvent

__all__ = ["End", "Watch"]

End = TerminalEvent | RunBlocked
Listener = Callable[[End | None], None]


class Watch:
    """Run id → callbacks, each called once, from whichever thread learns of the end; None: the engine has closed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._listeners: dict[str, list[Listener]] = {}
        self._closed = False

    def add(self, run_id: str, listener: Listener) -> None:
        """Call `listener` when the run ends or blocks, or when the engine closes before that."""
        with self._lock:
            if not self._closed:
                self._listeners.setdefault(run_id, []).append(listener)
                return
        listener(None)

    def remove(self, run_id: str, listener: Listener) -> None:
        """Forget a listener; it may have been called already."""
        with self._lock:
            listeners = self._listeners.get(run_id, [])
            if listener in listeners:
                listeners.remove(listener)
            if not listeners:
                self._listeners.pop(run_id, None)

    def ended(self, run_id: str, end: End) -> None:
        """Tell whoever waits for this run."""
        with self._lock:
            listeners = self._listeners.pop(run_id, [])
        for listener in listeners:
            listener(end)

    def close(self) -> None:
        """Nothing more will be learnt here: let go of everyone who still waits."""
        with self._lock:
            self._closed = True
            waiting, self._listeners = self._listeners, {}
        for listeners in waiting.values():
            for listener in listeners:
                listener(None)

    def waited_for(self) -> tuple[str, ...]:
        """Runs that somebody waits for."""
        return tuple(self._listeners)
