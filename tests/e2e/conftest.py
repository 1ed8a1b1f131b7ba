"""
Fixtures of the end-to-end tests.

Owns: on which stores a test runs. Must not know what it tests.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.places import HandClock, Place


@pytest.fixture(params=["memory", "sqlite"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """A store on the system's clock; the test runs once per store."""
    with ExitStack() as closing:
        yield Place(request.param, tmp_path, closing)


@pytest.fixture(params=["memory", "sqlite"])
def timed_place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """A store on a clock that moves by hand; the test runs once per store."""
    with ExitStack() as closing:
        yield Place(request.param, tmp_path, closing, HandClock())


@pytest.fixture
def memory_place(tmp_path: Path) -> Iterator[Place]:
    """A store in memory, for what cannot depend on the store."""
    with ExitStack() as closing:
        yield Place("memory", tmp_path, closing)
