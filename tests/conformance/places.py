"""
Places on a server, one after another.

Owns: a name of its own for every store of the suite, and finding it again. Must not know any server.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from itertools import count

import pytest

from fluxo.store import Store

__all__ = ["NamedPlaces"]

_numbers = count()


class NamedPlaces(ABC):
    """What a suite needs of a server on which stores are told apart by a name: a schema, or a prefix."""

    @abstractmethod
    def store_of(self, name: str) -> Store:
        """A store in the place of this name, not open."""

    @pytest.fixture(autouse=True)
    def _names(self) -> None:
        self.name_of: dict[int, str] = {}

    def make_store(self) -> Store:
        return self._named(f"conformance_{next(_numbers)}")

    def reopen(self, store: Store) -> Store:
        return self._named(self.name_of[id(store)])

    def _named(self, name: str) -> Store:
        store = self.store_of(name)
        self.name_of[id(store)] = name
        return store
