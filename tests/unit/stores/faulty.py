"""
SQLite connections that fail on demand.

Owns: the injection of driver errors at a chosen statement, and an engine over them. Must not know the store.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine

__all__ = ["Faults", "driver_error"]


def driver_error(code: int, text: str = "injected") -> sqlite3.OperationalError:
    """An error as the driver raises it."""
    error = sqlite3.OperationalError(text)
    error.sqlite_errorcode = code
    return error


class Faults:
    """
    What happens to statements of all connections of one engine.

    Attributes:
        before: Called with each statement before it runs; what it raises, the driver raises.
        after: The same once the statement has run.
        connections: Every connection made, the store's writing one first.
    """

    def __init__(self) -> None:
        self.before: Callable[[str], None] = _nothing
        self.after: Callable[[str], None] = _nothing
        self.connections: list[sqlite3.Connection] = []

    def engine(self, path: Path) -> Engine:
        """An engine whose connections ask these faults."""
        faults = self

        class Cursor(sqlite3.Cursor):
            def execute(self, sql: str, parameters: Any = (), /) -> Cursor:
                faults.before(sql)
                super().execute(sql, parameters)
                faults.after(sql)
                return self

        class Connection(sqlite3.Connection):
            def __init__(self, *args: Any, **kwargs: Any) -> None:
                super().__init__(*args, **kwargs)
                faults.connections.append(self)

            def cursor(self, factory: Any = Cursor) -> Any:
                return super().cursor(factory)

        return create_engine(f"sqlite:///{path}", connect_args={"factory": Connection})

    def raise_at(self, start: str, error: BaseException, *, done: bool = False) -> None:
        """Raise `error` once at the next statement that begins so; `done`: after it took effect."""

        def fail(sql: str) -> None:
            if sql.startswith(start):
                self.before = self.after = _nothing
                raise error

        if done:
            self.after = fail
        else:
            self.before = fail


def _nothing(sql: str) -> None:
    pass
