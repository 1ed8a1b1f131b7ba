"""
Where the runs of an end-to-end test live, and how a test waits for them.

Owns: `Place` (one store that engines come and go over), a clock that moves by hand, and an observer that remembers.
Must not know any workflow. Nothing here sleeps: a test waits for what an observer is told, or for the store to change.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from fluxo import Engine, MemoryStore
from fluxo.clock import Clock, SystemClock
from fluxo.runtime.ports import Ports
from fluxo.store import Store
from fluxo.stores.sql import SqliteStore

PATIENCE_S = 10.0
"""How long a test waits for what must happen; reached only when it does not."""


class HandClock:
    """Time that passes only when a test says so."""

    def __init__(self) -> None:
        self._us = 1_700_000_000_000_000
        self._s = 1000.0

    def now_us(self) -> int:
        return self._us

    def monotonic_s(self) -> float:
        return self._s

    def forward(self, seconds: float) -> None:
        """Let time pass."""
        self._us += round(seconds * 1_000_000)
        self._s += seconds

    def set_back(self, seconds: float) -> None:
        """Move the wall clock back, as an operator or a time server does."""
        self._us -= round(seconds * 1_000_000)


class Facts:
    """An observer that keeps what it is told, in order, and lets a test wait for it."""

    def __init__(self) -> None:
        self.seen: list[tuple[Any, ...]] = []
        self._changed = threading.Condition()

    def __getattr__(self, hook: str) -> Callable[..., None]:
        if not hook.startswith("on_"):
            raise AttributeError(hook)
        return partial(self._note, hook.removeprefix("on_"))

    def _note(self, fact: str, *details: Any) -> None:
        with self._changed:
            self.seen.append((fact, *details))
            self._changed.notify_all()

    def names(self) -> list[str]:
        """The facts so far, without their details."""
        return [fact for fact, *_ in self.seen]

    def wait(self, fact: str, run_id: str | None = None, times: int = 1) -> None:
        """Block until this fact (of this run) has come `times` times."""

        def come() -> bool:
            wanted = [seen for seen in self.seen if seen[0] == fact and run_id in (None, seen[1])]
            return len(wanted) >= times

        with self._changed:
            assert self._changed.wait_for(come, PATIENCE_S), f"no {fact}; came so far: {self.names()}"


class Place:
    """One store; engines over it are closed when the test ends."""

    def __init__(self, kind: str, folder: Path, closing: ExitStack, clock: Clock | None = None) -> None:
        self.path = folder / "runs.db"
        self.clock: Clock = clock or SystemClock()
        self._closing = closing
        self._memory = MemoryStore(self.clock) if kind == "memory" else None
        self._stores: list[Store] = []

    def store(self) -> Store:
        """A store object for one engine: the same content every time."""
        store: Store = self._memory or SqliteStore(str(self.path), clock=self.clock)
        self._stores.append(store)
        return store

    def engine(self, **options: Any) -> Engine:
        """An engine over this place, not opened yet."""
        engine = Engine(self.store(), ports=Ports(clock=self.clock), **options)
        self._closing.callback(engine.close, drain=False)
        return engine

    def look(self) -> Store:
        """The open store itself, for what only a store can tell."""
        store = self.store()
        store.open()
        self._closing.callback(store.close)
        return store

    def forward(self, seconds: float) -> None:
        """Let time pass, and make the workers notice."""
        assert isinstance(self.clock, HandClock)
        self.clock.forward(seconds)
        for store in self._stores:
            store.nudge()

    def until(self, condition: Callable[[], bool]) -> None:
        """Block until the condition holds; it is asked again whenever the store may have changed."""
        store = self.look()
        clock = SystemClock()
        deadline_s = clock.monotonic_s() + PATIENCE_S
        while not condition():
            assert clock.monotonic_s() < deadline_s, "waited in vain"
            store.wait(0.02)
