"""
What SQLite's errors mean for the caller.

Owns: the one translation from driver errors to fluxo's. Must not know statements. A translated error says
"nothing was written"; where that is not certain the caller asks `outcome_is_unclear` first.
"""

from __future__ import annotations

import sqlite3
from typing import Final

from fluxo.errors import (
    FluxoError,
    FluxoInternalError,
    LimitExceededError,
    SchemaVersionError,
    StoreUnavailableError,
)

__all__ = ["is_busy", "outcome_is_unclear", "translated"]

_BYTES_MAX: Final = 1_000_000_000
"""SQLITE_MAX_LENGTH as it is compiled everywhere."""

_PROBLEMS: Final = {
    sqlite3.SQLITE_BUSY: "is locked by another process; find who holds a transaction open on it and end that",
    sqlite3.SQLITE_LOCKED: "is locked by another connection; find who holds a transaction open on it and end that",
    sqlite3.SQLITE_FULL: "could not grow: its file system (or max_page_count) is full; free space and go on",
    sqlite3.SQLITE_IOERR: "could not be read or written; look at the disk and the system's log",
    sqlite3.SQLITE_READONLY: "is read-only; make the file and its directory writable for this user",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened; check that its directory exists and that this user may write there",
    sqlite3.SQLITE_PERM: "may not be used by this user; change the file's permissions",
    sqlite3.SQLITE_CORRUPT: "is damaged; restore it from a backup, or salvage it with the sqlite3 shell's .recover",
    sqlite3.SQLITE_NOMEM: "could not be used: out of memory",
    sqlite3.SQLITE_PROTOCOL: "could not be locked; it must lie on a local disk, not on a network file system",
}


_UNBINDABLE: Final = (OverflowError, UnicodeEncodeError, sqlite3.InterfaceError, sqlite3.ProgrammingError)


def is_busy(error: sqlite3.Error) -> bool:
    """Whether another connection stood in the way: the same transaction may succeed a moment later."""
    return _code(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def outcome_is_unclear(error: sqlite3.Error) -> bool:
    """
    Whether an error out of a COMMIT (or of a statement that commits itself) leaves open what is on the disk.

    A failed write or sync may have put the commit mark into the WAL, where a recovery would find it. A full disk
    or a lock stops before the mark.
    """
    return _code(error) == sqlite3.SQLITE_IOERR


def translated(error: Exception, where: str) -> FluxoError:
    """fluxo's error for a driver's; the caller raises it from the driver's."""
    unbindable = _unbindable(error)
    if unbindable is not None or isinstance(error, sqlite3.IntegrityError):
        return FluxoInternalError(f"{where} was given something that no log may hold ({unbindable or error})")
    code = _code(error)
    if code == sqlite3.SQLITE_NOTADB:
        return SchemaVersionError(where, "the file is not a SQLite database; give the store another path")
    if code == sqlite3.SQLITE_TOOBIG:
        # SQLite does not tell how large the value was, only that its bound was passed.
        return LimitExceededError(f"a value for {where}", _BYTES_MAX + 1, _BYTES_MAX, "store smaller payloads")
    problem = _PROBLEMS.get(code, f"refused what was asked ({error}); nothing was written")
    return StoreUnavailableError(where, problem)


def _unbindable(error: Exception) -> BaseException | None:
    """
    What was wrong with a value, if it could not be bound to a statement.

    After an earlier error the driver reports a failed binding once more under that error's code; what really
    happened is then the context, raised in C and thus without a traceback.
    """
    context = error.__context__
    if isinstance(context, _UNBINDABLE) and context.__traceback__ is None:
        return context
    if isinstance(error, _UNBINDABLE) and "closed" not in str(error):
        return error
    return None


def _code(error: Exception) -> int:
    """SQLite's primary result code; -1 if the error is not SQLite's own."""
    extended: int = getattr(error, "sqlite_errorcode", -1)
    return -1 if extended < 0 or _unbindable(error) is not None else extended & 0xFF
