"""
What crash tests share: a folder that outlives processes, and the helper that forks them.

Owns: their fixtures. Must not know any test.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crash.processes import Nursery
from tests.crash.witness import close_stores
from tests.crash.world import World


@pytest.fixture(scope="session")
def running_nursery() -> Iterator[Nursery]:
    nursery = Nursery("tests.crash.worker", "fluxo.stores.sql", "fluxo.engine.aio", "fluxo.runtime.async_run")
    yield nursery
    nursery.close()


@pytest.fixture
def nursery(running_nursery: Nursery) -> Iterator[Nursery]:
    yield running_nursery
    running_nursery.clear()
    close_stores()


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)
