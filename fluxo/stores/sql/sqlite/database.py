"""
One SQLite database, held open: its connections, its locks, its transactions.

Owns: who may write when, retries on a busy file, and telling definite errors from unclear ones. Must not know
what the statements mean. One connection writes, under a lock; two read, one for short hot reads and one for
queries that may take longer. Every write is a transaction begun with BEGIN IMMEDIATE, or one statement that commits
itself. SQLite's own busy handler is off: it is unfair between processes and is ignored when a read is upgraded;
a busy transaction is rolled back here and run again from its start after a short random pause.
"""

from __future__ import annotations

import os
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from fluxo.errors import StoreUnavailableError
from fluxo.limits import SQLITE_BUSY_S, SQLITE_RETRY_S
from fluxo.stores.sql.sqlite.errors import is_busy, outcome_is_unclear, translated

__all__ = ["Database", "Reader", "retrying"]

T = TypeVar("T")

_inherited: list[Database] = []
"""Kept from the collector, which would close them: SQLite must not be told anything about a parent's connections."""

_forks = 0
"""How many forks lie between the process that loaded this module and this one; asking the system costs a call each."""

_jitter = random.SystemRandom().uniform  # the process-wide generator is the user's, and forks share its state

_DRIVER_ERRORS = (sqlite3.Error, OverflowError, UnicodeEncodeError)


def _forked() -> None:
    global _forks
    _forks += 1


os.register_at_fork(after_in_child=_forked)


def retrying(attempt: Callable[[], T], busy_s: float = SQLITE_BUSY_S) -> T:
    """Call `attempt` until the file is not busy, at most `busy_s` seconds; pauses are short and random."""
    deadline_s: float | None = None
    while True:
        try:
            return attempt()
        except sqlite3.OperationalError as error:
            if not is_busy(error):
                raise
            now_s = time.monotonic()
            deadline_s = now_s + busy_s if deadline_s is None else deadline_s
            if now_s >= deadline_s:
                raise
        time.sleep(_jitter(*SQLITE_RETRY_S))


class Reader:
    """A connection for reading; each call is one short snapshot."""

    __slots__ = ("_busy_s", "_connection", "_cursor", "_lock", "_where")

    def __init__(self, connection: sqlite3.Connection, where: str, busy_s: float) -> None:
        self._busy_s = busy_s
        self._connection = connection
        self._cursor = connection.cursor()
        self._lock = threading.Lock()
        self._where = where

    def rows(self, statement: str, parameters: Sequence[Any] = ()) -> list[Any]:
        """
        All rows of one query.

        Raises:
            StoreUnavailableError: the database cannot be read.
        """
        # Fetching to the end is what lets the snapshot go: a held one would keep the WAL from being reset.
        try:
            with self._lock:
                return retrying(lambda: self._cursor.execute(statement, parameters).fetchall(), self._busy_s)
        except _DRIVER_ERRORS as error:
            raise translated(error, self._where) from error

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self._connection.close()


class Database:
    """The open connections of one store; made by `fluxo.stores.sql.sqlite.opening`."""

    def __init__(self, where: str, writer: sqlite3.Connection, hot: Reader, cold: Reader, busy_s: float) -> None:
        self._where = where
        self.hot = hot
        self.cold = cold
        self._lock = threading.Lock()
        self._cursor = writer.cursor()
        self._writer = writer
        self._busy_s = busy_s
        self._forks = _forks
        self._data_version = self._read_data_version()

    @property
    def is_inherited(self) -> bool:
        """Whether this process got the connections by a fork: they are its parent's, and must not even be closed."""
        return self._forks != _forks

    def write(self, work: Callable[[sqlite3.Cursor], T], unclear: Callable[[str], T] | None = None) -> T:
        """
        Run `work` in one transaction and commit it; it may be run several times, each from a clean start.

        Args:
            work: Reads and writes through the cursor; keeps nothing from a run that did not commit.
            unclear: What to answer when the commit's outcome cannot be known; without it that is an error too.

        Raises:
            StoreUnavailableError: not written, unless the message says that the outcome is unknown.
        """
        committing = False

        def attempt() -> T:
            nonlocal committing
            committing = False
            cursor = self._cursor
            self._roll_back()
            try:
                cursor.execute("BEGIN IMMEDIATE")
                answer = work(cursor)
                committing = True
                cursor.execute("COMMIT")
            except BaseException:
                self._roll_back()
                raise
            return answer

        try:
            with self._lock:
                return retrying(attempt, self._busy_s)
        except sqlite3.Error as error:
            return self._unclear(error, unclear, committing=committing)
        except (OverflowError, UnicodeEncodeError) as error:
            raise translated(error, self._where) from error

    def statement(self, text: str, parameters: Sequence[Any], unclear: Callable[[str], T] | None = None) -> int | T:
        """Run one statement that commits itself; the number of rows it changed. Arguments and errors as for `write`."""
        cursor = self._cursor
        try:
            with self._lock:
                # Inside a transaction that an interrupt left open, the statement would not commit itself.
                self._roll_back()
                try:
                    return cursor.execute(text, parameters).rowcount
                except sqlite3.OperationalError as error:
                    if not is_busy(error):
                        raise
                return retrying(lambda: cursor.execute(text, parameters).rowcount, self._busy_s)
        except sqlite3.Error as error:
            return self._unclear(error, unclear, committing=True)
        except (OverflowError, UnicodeEncodeError) as error:
            raise translated(error, self._where) from error

    def _unclear(self, error: sqlite3.Error, unclear: Callable[[str], T] | None, *, committing: bool) -> T:
        """Answer an error whose outcome is unclear, or raise."""
        if not (committing and outcome_is_unclear(error)):
            raise translated(error, self._where) from error
        if unclear is not None:
            return unclear(f"the commit to {self._where} failed: {error}")
        raise StoreUnavailableError(
            self._where, f"the commit failed ({error}) and its outcome is unknown; read again before repeating it"
        ) from error

    def changed_elsewhere(self, timeout_s: float) -> bool:
        """Whether another connection than this store's own committed since the last time of asking; False in doubt."""
        # Asked of the writing connection, because SQLite does not count a connection's own commits.
        if self.is_inherited or not self._lock.acquire(timeout=max(timeout_s, 0)):
            return False
        try:
            before, self._data_version = self._data_version, self._read_data_version()
            return before != self._data_version
        except sqlite3.Error:
            return False
        finally:
            self._lock.release()

    def close(self) -> None:
        """Close all connections; a transaction under way in another thread is let finish first."""
        if self.is_inherited:
            _inherited.append(self)
            return
        self.hot.close()
        self.cold.close()
        with self._lock:
            self._writer.close()

    def _read_data_version(self) -> int:
        row = self._cursor.execute("PRAGMA data_version").fetchone()
        version: int = row[0]
        return version

    def _roll_back(self) -> None:
        # Some errors have rolled back already; after any other the connection must not keep the lock.
        if self._writer.in_transaction:
            with suppress(sqlite3.Error):
                self._writer.execute("ROLLBACK")
