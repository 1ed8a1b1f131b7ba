"""
From a URL to a store.

Owns: the schemes and what they need. Must not load a driver before its scheme is asked for, and must not
let a password out in a message. Opening here validates only; connecting is `Store.open`.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit

from fluxo.clock import Clock, SystemClock
from fluxo.errors import ConfigurationError, MissingExtraError
from fluxo.store import Store

__all__ = ["open_store"]

_KNOWN: Final = (
    "memory://, sqlite:///relative/path.db, sqlite:////absolute/path.db, postgresql://user@host/database, "
    "redis://host:6379/0, mongodb://host/database"
)
_SCHEME: Final = re.compile(r"[a-z][a-z0-9+.-]{0,19}")


def open_store(url: str, clock: Clock | None = None) -> Store:
    """
    The store a URL names, not connected yet.

    Args:
        url: ``memory://``; ``sqlite:///path``, with one more slash for an absolute path; or
            ``postgresql://user:password@host:port/database``, with libpq's parameters and, of fluxo's own, ``schema=``,
            ``listen=false`` and ``pooled=true`` (see `PostgresStore`); ``redis://user:password@host:port/number`` (or
            rediss, with TLS), with redis-py's parameters and ``prefix=``;
            ``mongodb://user:password@host:port/database`` (or mongodb+srv), with MongoDB's parameters and ``prefix=``.
        clock: What the store takes for the time; by default that of the server, or of the system where there is none.

    Raises:
        ConfigurationError: the URL names no store of this version; never shows user, password or host.
    """
    scheme, separator, rest = url.partition("://")
    scheme = scheme.lower()
    if not separator:
        raise ConfigurationError(f"a store URL must begin with one of {_KNOWN}; a bare path needs sqlite:/// before it")
    dialect = scheme.partition("+")[0]
    if dialect == "memory":
        return _memory(rest, clock or SystemClock())
    if dialect == "sqlite":
        return _sqlite(scheme, rest, clock or SystemClock())
    if dialect in ("postgresql", "postgres"):
        return _postgres(scheme, url, clock)
    if scheme in ("redis", "rediss"):
        return _redis(url, clock)
    if scheme in ("mongodb", "mongodb+srv"):
        return _mongo(url, clock)
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


def _postgres(scheme: str, url: str, clock: Clock | None) -> Store:
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    if scheme not in ("postgresql", "postgres", "postgresql+psycopg"):
        raise ConfigurationError("fluxo talks to PostgreSQL through psycopg 3; write postgresql://user@host/database")
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise ConfigurationError("not a URL of PostgreSQL; write postgresql://user@host:5432/database") from None
    schema = parsed.query.get("schema")
    flags = {name: _flag(name, parsed.query[name]) for name in ("listen", "pooled") if name in parsed.query}
    if schema is not None and not isinstance(schema, str):
        raise ConfigurationError("schema= may stand once in a URL")
    try:
        from fluxo.stores.sql.postgres import PostgresStore
    except ImportError:
        raise MissingExtraError("the PostgreSQL store", "postgres") from None
    rest = parsed.difference_update_query(["schema", "listen", "pooled"])
    return PostgresStore(rest, schema=schema, clock=clock, **flags)


def _redis(url: str, clock: Clock | None) -> Store:
    try:
        from fluxo.stores.redis import RedisStore
    except ImportError:
        raise MissingExtraError("the Redis store", "redis") from None
    rest, prefix = _without_prefix(url)
    return RedisStore(rest, clock=clock) if prefix is None else RedisStore(rest, clock=clock, prefix=prefix)


def _mongo(url: str, clock: Clock | None) -> Store:
    try:
        from fluxo.stores.mongo import MongoStore
    except ImportError:
        raise MissingExtraError("the MongoDB store", "mongo") from None
    rest, prefix = _without_prefix(url)
    return MongoStore(rest, clock=clock) if prefix is None else MongoStore(rest, clock=clock, prefix=prefix)


def _without_prefix(url: str) -> tuple[str, str | None]:
    """A URL without its ``prefix=``, and that."""
    parts = urlsplit(url)
    given = parse_qsl(parts.query, keep_blank_values=True)
    prefixes = [value for name, value in given if name == "prefix"]
    if len(prefixes) > 1:
        raise ConfigurationError("prefix= may stand once in a URL")
    query = urlencode([pair for pair in given if pair[0] != "prefix"])
    return urlunsplit(parts._replace(query=query)), prefixes[0] if prefixes else None


def _flag(name: str, value: object) -> bool:
    if value not in ("true", "false"):
        raise ConfigurationError(f"{name}= in a store URL must be true or false")
    return value == "true"
