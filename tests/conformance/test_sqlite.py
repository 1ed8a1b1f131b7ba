"""
The SQLite store keeps the contract, also on an engine it was handed.

Owns: the suite's run over `SqliteStore` and `SqlStore`. Must not know the contract.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine

from fluxo.store import Store
from fluxo.stores.sql import SqliteStore, SqlStore
from fluxo.testing import DurableStoreConformance


class TestSqliteStore(DurableStoreConformance):
    @pytest.fixture(autouse=True)
    def _directory(self, tmp_path: Path) -> None:
        self.paths = (tmp_path / f"{n}.db" for n in count())
        self.path_of: dict[int, Path] = {}

    def make_store(self) -> Store:
        path = next(self.paths)
        store = SqliteStore(path)
        self.path_of[id(store)] = path
        return store

    def reopen(self, store: Store) -> Store:
        return SqliteStore(self.path_of[id(store)])


class TestSqlStore(DurableStoreConformance):
    @pytest.fixture(autouse=True)
    def _engines(self, tmp_path: Path) -> Iterator[None]:
        self.paths = (tmp_path / f"{n}.db" for n in count())
        self.engine_of: dict[int, Engine] = {}
        yield
        for engine in self.engine_of.values():
            engine.dispose()

    def make_store(self) -> Store:
        return self.store_on(create_engine(f"sqlite:///{next(self.paths)}"))

    def reopen(self, store: Store) -> Store:
        return self.store_on(self.engine_of[id(store)])

    def store_on(self, engine: Engine) -> Store:
        store = SqlStore(engine)
        self.engine_of[id(store)] = engine
        return store
