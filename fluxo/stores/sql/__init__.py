"""
Stores on SQL databases.

Owns: the schema, the statements, and what a dialect needs around them. Must not know events' contents or
the engine. SQLAlchemy owns engines, dialects, DDL and the cold queries; hot statements are text prebuilt
once and run on raw driver connections that are held (prices: limits.md §2). SQLite is the dialect of this version.
"""

from fluxo.stores.sql.store import SqliteStore, SqlStore

__all__ = ["SqlStore", "SqliteStore"]
