"""
Stores on SQL databases.

Owns: the schema that they share, and which store speaks which dialect. Must not know events' contents or the engine.
SQLAlchemy owns engines, dialects and DDL; hot statements are text prebuilt once and run on raw driver connections that
are held (prices: limits.md §2, §3). A dialect's package is loaded when a store of it is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from fluxo.store import Store
    from fluxo.stores.sql.postgres import PostgresStore
    from fluxo.stores.sql.sqlite import SqliteStore

__all__ = ["PostgresStore", "SqlStore", "SqliteStore"]


def SqlStore(engine: Engine, **options: Any) -> Store:  # noqa: N802 - a class to its users: which one, the dialect says
    """
    The store in the database that a SQLAlchemy engine leads to, which is never disposed of here.

    Args:
        engine: Of the dialect sqlite (on a file) or postgresql+psycopg.
        options: Those of `SqliteStore` or `PostgresStore`.

    Raises:
        ConfigurationError: another dialect, or what that store refuses.
    """
    from fluxo.errors import ConfigurationError

    dialect = engine.dialect.name
    if dialect == "sqlite":
        from fluxo.stores.sql.sqlite import SqliteStore

        return SqliteStore(engine, **options)
    if dialect == "postgresql":
        from fluxo.stores.sql.postgres import PostgresStore

        return PostgresStore(engine, **options)
    raise ConfigurationError(f"SqlStore knows the dialects sqlite and postgresql in this version, not {dialect}")


def __getattr__(name: str) -> Any:
    if name == "SqliteStore":
        from fluxo.stores.sql.sqlite import SqliteStore

        return SqliteStore
    if name == "PostgresStore":
        from fluxo.stores.sql.postgres import PostgresStore

        return PostgresStore
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
