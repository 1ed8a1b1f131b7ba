"""
One held connection to PostgreSQL under a lock.

Owns: connecting anew after a loss, transactions, and telling what is definite from what is not. Must not know what the
statements mean. A connection that broke is dropped at once; the next call makes another, and what may be repeated is
repeated on it once, because a server that was restarted is usually noticed by the first call after it.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, Protocol, TypeVar, cast

import psycopg
from psycopg import errors as pg

from fluxo.errors import FluxoError, FluxoInternalError, LimitExceededError, StoreUnavailableError

__all__ = ["Channel", "Connection", "Cursor", "Lost", "Row", "translated"]

T = TypeVar("T")

Connection = psycopg.Connection[tuple[Any, ...]]
Row = tuple[Any, ...]


class Cursor(Protocol):
    """What is used of psycopg's cursor, which wants the text of statements to be literal: ours is put together once."""

    @property
    def connection(self) -> Connection: ...

    @property
    def rowcount(self) -> int: ...

    def execute(self, query: str, parameters: Sequence[Any] | Mapping[str, Any] = ..., /) -> Cursor:
        """Run one statement."""
        ...

    def fetchone(self) -> Row | None:
        """The next row of the last answer."""
        ...

    def fetchall(self) -> list[Row]:
        """All rows of the last answer."""
        ...


_ABORTED: Final = (pg.DeadlockDetected, pg.SerializationFailure, pg.LockNotAvailable)
"""The server rolled back: nothing was written, and the same may succeed a moment later."""
_TRIES: Final = 5
_PAUSE_S: Final = (0.001, 0.02)
_jitter = random.SystemRandom().uniform  # the process-wide generator is the user's, and forks share its state
_LATER: Final = (
    (pg.DiskFull, "has no space left on its disk; free some and go on"),
    (pg.TooManyConnections, "has no connection left; raise max_connections, or run fewer engines"),
    (pg.ReadOnlySqlTransaction, "is read-only (a standby, or set so); give the URL of the primary"),
    (pg.InsufficientPrivilege, "does not let this user do it; grant the rights that docs/explanation/stores.md lists"),
    (pg.UndefinedTable, "has no fluxo tables any more; open a new engine, which makes them"),
    (pg.QueryCanceled, "took longer than the statement timeout; look for locks and a full disk"),
)


def translated(error: Exception, where: str) -> FluxoError:
    """fluxo's error for a driver's that means "not written"; the caller raises it from the driver's."""
    for kind, problem in _LATER:
        if isinstance(error, kind):
            return StoreUnavailableError(where, problem)
    if isinstance(error, pg.ProgramLimitExceeded):
        return LimitExceededError(f"a value for {where}", 1 << 30, (1 << 30) - 1, "store smaller payloads")
    if isinstance(error, (psycopg.DataError, psycopg.IntegrityError, psycopg.ProgrammingError, UnicodeEncodeError)):
        return FluxoInternalError(f"{where} was given something that no log may hold ({type(error).__name__})")
    text = str(error).strip().splitlines()
    return StoreUnavailableError(where, f"did not do what was asked ({text[0] if text else type(error).__name__})")


class Lost(Exception):
    """The connection broke while a statement was under way: it may have been executed."""


class Channel:
    """A connection that is made when it is needed and used by one thread at a time."""

    def __init__(
        self, connect: Callable[[], Connection], where: str, before: Callable[[Cursor], object] | None = None
    ) -> None:
        self._connect = connect
        self._before = before
        self._where = where
        self._lock = threading.Lock()
        self._connection: Connection | None = None
        self._cursor: Cursor | None = None
        self._pid = os.getpid()
        self._closed = False

    def open(self) -> None:
        """
        Connect now.

        Raises:
            StoreUnavailableError: cannot be reached.
        """
        with self._lock:
            self._connected()

    def rows(self, statement: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> list[Any]:
        """All rows of a statement that may be repeated; errors as for `call`."""
        return self.call(lambda cursor: cursor.execute(statement, parameters).fetchall())

    def changed(self, statement: str, parameters: Sequence[Any]) -> int:
        """The number of rows that a statement changed which may be repeated; errors as for `call`."""
        return self.call(lambda cursor: cursor.execute(statement, parameters).rowcount)

    def transaction(self, work: Callable[[Cursor], T]) -> T:
        """Run `work` in one transaction; it may be repeated, from a clean start. Errors as for `call`."""

        def attempt(cursor: Cursor) -> T:
            with cursor.connection.transaction():
                return work(cursor)

        return self.call(attempt)

    def call(self, work: Callable[[Cursor], T]) -> T:
        """
        Let `work`, which may be repeated, use the connection; each statement of it commits itself.

        Raises:
            StoreUnavailableError: the server cannot be reached or refused.
        """
        try:
            return self.once(work)
        except Lost:
            pass
        try:
            return self.once(work)
        except Lost as error:
            raise StoreUnavailableError(
                self._where, f"the connection was lost ({error.__cause__}); read again before repeating what was asked"
            ) from error.__cause__

    def once(self, work: Callable[[Cursor], T]) -> T:
        """
        As `call`, but `work` is repeated only where the server has undone it.

        Raises:
            Lost: it is not known whether it was done.
            StoreUnavailableError: it was not done.
        """
        for tries in range(1, _TRIES + 1):
            with self._lock:
                cursor = self._connected()
                try:
                    if self._before is not None:
                        self._before(cursor)
                    return work(cursor)
                except _ABORTED as error:
                    if tries == _TRIES:
                        raise translated(error, self._where) from error
                except (psycopg.Error, UnicodeEncodeError) as error:
                    if self._is_broken():
                        self._drop()
                        raise Lost from error
                    raise translated(error, self._where) from error
                except BaseException:
                    # An interrupt may have left an answer unread: it would be taken for that of the next statement.
                    self._drop()
                    raise
            time.sleep(_jitter(*_PAUSE_S) * tries)
        raise AssertionError("unreachable: the last try returns or raises")

    def close(self) -> None:
        """Close it; a statement under way in another thread is let finish first. Calls after this raise."""
        with self._lock:
            self._closed = True
            self._drop()

    def _connected(self) -> Cursor:
        if self._pid != os.getpid():
            raise StoreUnavailableError(
                self._where, "the store was opened before this process was forked; make a new store in this process"
            )
        if self._closed:
            raise StoreUnavailableError(self._where, "the store is not open; call open() first")
        if self._cursor is None:
            self._connection = self._connect()
            self._cursor = cast("Cursor", self._connection.cursor(binary=True))
        return self._cursor

    def _is_broken(self) -> bool:
        return self._connection is None or self._connection.closed

    def _drop(self) -> None:
        connection, self._connection, self._cursor = self._connection, None, None
        if connection is not None:
            with suppress(psycopg.Error):
                connection.close()
