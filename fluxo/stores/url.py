"""
From a URL to a store.

Owns: the schemes and what they need. Must not load a driver before its scheme is asked for, and must not
let a password out in a message. Opening here validates only; connecting is `Store.open`.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote

from fluxo.clock import Clock, SystemClock
from fluxo.errors import ConfigurationError
from fluxo.store import Store

__all__ = ["open_store"]

_KNOWN: Final = "memory://, sqlite:///relative/path.db, sqlite:////absolute/path.db"
_SCHEME: Final = re.compile(r"[a-z][a-z0-9+.-]{0,19}")
_PLANNED: Final = {
    "postgresql": "PostgreSQL",
    "postgres": "PostgreSQL",
    "redis": "Redis",
    "rediss": "Redis",
    "mongodb": "MongoDB",
    "mongodb+srv": "MongoDB",
}


def open_store(url: str, clock: Clock | None = None) -> Store:
    """
    The store a URL names, not connected yet.

    Args:
        url: ``memory://``, or ``sqlite:///path`` with one more slash for an absolute path.
        clock: What the store takes for the time; the system's by default.

    Raises:
        ConfigurationError: the URL names no store of this version; never shows user, password or host.
    """
    clock = SystemClock() if clock is None else clock
    scheme, separator, rest = url.partition("://")
    scheme = scheme.lower()
    if not separator:
        raise ConfigurationError(f"a store URL must begin with one of {_KNOWN}; a bare path needs sqlite:/// before it")
    dialect = scheme.partition("+")[0]
    if dialect == "memory":
        return _memory(rest, clock)
    if dialect == "sqlite":
        return _sqlite(scheme, rest, clock)
    product = _PLANNED.get(scheme) or _PLANNED.get(dialect)
    if product is not None:
        raise ConfigurationError(
            f"this version of fluxo has no {product} store yet ({scheme}://…); use one of {_KNOWN}, "
            "or hand your own Store to Engine(...)"
        )
    shown = scheme if _SCHEME.fullmatch(scheme) else "…"
    raise ConfigurationError(f"no store has the scheme {shown!r}; known are {_KNOWN}")


def _memory(rest: str, clock: Clock) -> Store:
    from fluxo.stores.memory import MemoryStore

    if rest.strip("/"):
        raise ConfigurationError(
            "memory:// takes no path: every engine opened with it has a store of its own; "
            "to share one, make a MemoryStore and hand it to each Engine"
        )
    return MemoryStore(clock)


def _sqlite(scheme: str, rest: str, clock: Clock) -> Store:
    if scheme not in ("sqlite", "sqlite+pysqlite"):
        raise ConfigurationError("fluxo talks to SQLite through Python's own sqlite3; write sqlite:///path")
    path, question, _ = rest.partition("?")
    if question:
        raise ConfigurationError(
            "a sqlite URL of fluxo takes no parameters after '?'; make the store with "
            "fluxo.stores.sql.SqliteStore(path, ...) to set options"
        )
    if path.partition("/")[0]:
        raise ConfigurationError(
            "a sqlite URL names no host: write sqlite:///relative/path.db or sqlite:////absolute/path.db"
        )
    from fluxo.stores.sql import SqliteStore

    return SqliteStore(unquote(path[1:]), clock=clock)
