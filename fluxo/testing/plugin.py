"""
The pytest plugin: fixtures for durable workflows.

Owns: the fixtures' names. Must not import anything of fluxo before a fixture is asked for: every test session of
every project that has fluxo installed loads this module. The fixtures are synchronous, also for async workflows, and so
need no plugin for asyncio.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from fluxo.engine import Engine
    from fluxo.testing.environment import Environment

__all__ = ["fluxo_engine", "fluxo_environment"]


@pytest.fixture
def fluxo_environment() -> Generator[Environment]:
    """An `Environment`: an engine on virtual time, real steps until ``fluxo_environment.fake(...)``."""
    from fluxo.testing.environment import Environment

    with Environment() as environment:
        yield environment


@pytest.fixture
def fluxo_engine() -> Generator[Engine]:
    """An `Engine` over a store in memory, in real time."""
    from fluxo.engine import Engine

    with Engine("memory://") as engine:
        yield engine
