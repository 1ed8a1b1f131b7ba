"""
Engines opened for measuring.

Owns: an engine on a loop that runs in slices, so that async figures can be interleaved with blocking ones. Must not
know what is measured. Between slices the loop stands still; the engine's worker thread goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from typing import Any, TypeVar

import fluxo
from fluxo.store import Store

__all__ = ["OnLoop", "on_loop"]

T = TypeVar("T")


class OnLoop:
    """An engine whose runs live on a loop of ours."""

    def __init__(self, runner: asyncio.Runner, engine: fluxo.AsyncEngine, blocking: fluxo.Engine) -> None:
        self.runner = runner
        self.engine = engine
        self.blocking = blocking

    def call(self, work: Callable[[], Awaitable[T]]) -> T:
        """Run the loop until `work` is done."""

        async def whole() -> T:
            return await work()

        return self.runner.run(whole())


@contextmanager
def on_loop(store: str | Store, **options: Any) -> Generator[OnLoop, None, None]:
    """Open an engine on a loop, and close both."""
    engine = fluxo.Engine(store, **options)
    with asyncio.Runner() as runner:
        opened = OnLoop(runner, engine.aio, engine)
        opened.call(engine.aio.__aenter__)
        try:
            yield opened
        finally:
            opened.call(engine.aio.close)
