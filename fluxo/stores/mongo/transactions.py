"""
Sessions, transactions and errors.

Owns: what is definite and what is not, and when a transaction is run again. Must not know what it does. MongoDB's own
``with_transaction`` retries for two minutes and hides an unknown commit; here an unknown commit is asked for a few
times and then said (PROTOCOL rule 4).
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final, TypeVar

from bson.errors import InvalidDocument
from pymongo import MongoClient, ReadPreference
from pymongo.client_session import ClientSession
from pymongo.errors import (
    AutoReconnect,
    DocumentTooLarge,
    DuplicateKeyError,
    ExecutionTimeout,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
    WTimeoutError,
)
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from fluxo.errors import FluxoError, FluxoInternalError, LimitExceededError, StoreUnavailableError

__all__ = ["DURABLE", "ContendedError", "Lost", "Sessions", "asked", "end_those_of_the_dead", "transact", "translated"]

T = TypeVar("T")

DURABLE: Final = WriteConcern("majority", wtimeout=20_000, j=True)
_TRIES: Final = 20
_COMMIT_TRIES: Final = 3
_WRITE_CONFLICT: Final = 112
_PAUSE_S: Final = (0.001, 0.02)
_jitter = random.SystemRandom().uniform  # the process-wide generator is the user's, and forks share its state
_DOCUMENT_BYTES_MAX: Final = 16 * 1024 * 1024


class ContendedError(Exception):
    """Another transaction, perhaps one that a dead process has left open, holds what this one writes."""


class Lost(Exception):
    """It is not known whether it was done."""


def translated(error: Exception, where: str) -> FluxoError | None:
    """fluxo's error for a driver's that means "not written"; None for one that leaves it open."""
    if isinstance(error, ServerSelectionTimeoutError):
        return StoreUnavailableError(where, f"cannot be reached, or has no primary now ({error})"[:500])
    if isinstance(error, DocumentTooLarge):
        return LimitExceededError(f"a value for {where}", _DOCUMENT_BYTES_MAX + 1, _DOCUMENT_BYTES_MAX, "store less")
    if isinstance(error, (AutoReconnect, WTimeoutError, ExecutionTimeout)):
        return None
    if isinstance(error, (InvalidDocument, OverflowError, UnicodeEncodeError)):
        return FluxoInternalError(f"{where} was given something that no log may hold ({type(error).__name__})")
    if isinstance(error, OperationFailure):
        if error.code in (10334, 17280, 17419, 17420):
            return LimitExceededError(
                f"a value for {where}", _DOCUMENT_BYTES_MAX + 1, _DOCUMENT_BYTES_MAX, "store smaller payloads"
            )
        return StoreUnavailableError(where, f"refused what was asked (code {error.code})")
    return StoreUnavailableError(where, f"did not do what was asked ({type(error).__name__})")


def asked(work: Callable[[], T], where: str) -> T:
    """
    A read, or a write that may be repeated; PyMongo has repeated it once already on another connection.

    Raises:
        StoreUnavailableError: the server cannot be reached or refused.
    """
    try:
        return work()
    except DuplicateKeyError:
        raise
    except PyMongoError as error:
        problem = translated(error, where)
        lost = StoreUnavailableError(where, f"the connection was lost ({type(error).__name__}); look before you repeat")
        raise (problem or lost) from error


class Sessions:
    """
    Sessions for transactions, each used by one at a time, and known by their ids.

    A process that is killed inside a transaction leaves it open on the server, for a minute by default, and whoever
    writes to the same documents meanwhile is refused. Its sessions are told to its worker's document before they are
    used, so that those who take its runs over can end them (`end_those_of_the_dead`).
    """

    def __init__(self, client: MongoClient[dict[str, Any]], told: Callable[[list[Any]], None]) -> None:
        self._client = client
        self._told = told
        self._lock = threading.Lock()
        self._idle: list[ClientSession] = []
        self.ids: list[Any] = []

    @contextmanager
    def one(self) -> Generator[ClientSession]:
        """A session for the length of the block."""
        with self._lock:
            session = self._idle.pop() if self._idle else None
        if session is None:
            session = self._client.start_session()
            self.ids.append(session.session_id["id"])
            self._told(self.ids)
        try:
            yield session
        finally:
            with self._lock:
                self._idle.append(session)


def end_those_of_the_dead(client: MongoClient[dict[str, Any]], ids: Sequence[Any]) -> None:
    """Abort what these sessions have left open; they are of processes that are no more."""
    if ids:
        # Without the right to do so, they end by themselves in a minute.
        with suppress(OperationFailure):
            client.admin.command({"killSessions": [{"id": session_id} for session_id in ids]})


def transact(sessions: Sessions, where: str, work: Callable[[ClientSession], T], conflicts_max: int = _TRIES) -> T:
    """
    Run `work` in one transaction; it may be run several times, each from a clean start.

    Raises:
        DuplicateKeyError: a document of this id was there; nothing was written.
        ContendedError: another transaction held what this one writes, `conflicts_max` times; nothing was written.
        Lost: the commit's outcome is unknown.
        StoreUnavailableError: nothing was written.
    """
    for tries in range(1, _TRIES + 1):
        with sessions.one() as session:
            session.start_transaction(ReadConcern("snapshot"), DURABLE, ReadPreference.PRIMARY)
            try:
                answer = work(session)
            except PyMongoError as error:
                _abort(session)
                if not error.has_error_label("TransientTransactionError"):
                    if isinstance(error, DuplicateKeyError):
                        raise
                    raise (translated(error, where) or _not_committed(where, error)) from error
                if isinstance(error, OperationFailure) and error.code == _WRITE_CONFLICT and tries >= conflicts_max:
                    raise ContendedError from error
                if tries == _TRIES:
                    raise _not_committed(where, error) from error
            except BaseException:
                _abort(session)
                raise
            else:
                if _committed(session, where, last=tries == _TRIES):
                    return answer
        time.sleep(_jitter(*_PAUSE_S) * tries)
    raise AssertionError("unreachable: the last try returns or raises")


def _committed(session: ClientSession, where: str, *, last: bool) -> bool:
    """Whether the transaction is durable; False if the server has undone it and it may be tried again."""
    for tries in range(1, _COMMIT_TRIES + 1):
        try:
            session.commit_transaction()
        except PyMongoError as error:
            if error.has_error_label("UnknownTransactionCommitResult") or isinstance(error, AutoReconnect):
                if tries == _COMMIT_TRIES:
                    raise Lost from error
                continue
            if error.has_error_label("TransientTransactionError") and not last:
                return False
            raise (translated(error, where) or _not_committed(where, error)) from error
        return True
    return False


def _abort(session: ClientSession) -> None:
    if session.in_transaction:
        session.abort_transaction()


def _not_committed(where: str, error: PyMongoError) -> StoreUnavailableError:
    return StoreUnavailableError(where, f"aborted the transaction ({type(error).__name__}); nothing was written")
