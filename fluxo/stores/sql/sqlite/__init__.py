"""
The store on SQLite, the default.

Owns: what SQLite needs around the common schema: one writer, settings that survive a power cut, fair retries on a busy
file. Python's own sqlite3 runs the statements, on connections that are held.
"""

from fluxo.stores.sql.sqlite.store import SqliteStore

__all__ = ["SqliteStore"]
