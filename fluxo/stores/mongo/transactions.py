"""
Sessions, transactions and errors.

Owns: what is definite and what is not, and when a transaction is run again. Must not know what it does. MongoDB's own
``with_transaction`` retries for two minutes and hides an unknown commit; here an unknown commit is asked for a few
times and then said (PROTOCOL rule 4).
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
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

__all__ = ["DURABLE", "Lost", "asked", "transact", "translated"]

T = TypeVar("T")

DURABLE: Final = WriteConcern("majority", wtimeout=20_000, j=True)
_TRIES: Final = 20
_COMMIT_TRIES: Final = 3
_PAUSE_S: Final = (0.001, 0.02)
_DOCUMENT_BYTES_MAX: Final = 16 * 1024 * 1024


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


def transact(client: MongoClient[dict[str, Any]], where: str, work: Callable[[ClientSession], T]) -> T:
    """
    Run `work` in one transaction; it may be run several times, each from a clean start.

    Raises:
        DuplicateKeyError: a document of this id was there; nothing was written.
        Lost: the commit's outcome is unknown.
        StoreUnavailableError: nothing was written.
    """
    for tries in range(1, _TRIES + 1):
        with client.start_session() as session:
            session.start_transaction(ReadConcern("snapshot"), DURABLE, ReadPreference.PRIMARY)
            try:
                answer = work(session)
            except PyMongoError as error:
                _abort(session)
                if not error.has_error_label("TransientTransactionError"):
                    if isinstance(error, DuplicateKeyError):
                        raise
                    raise (translated(error, where) or _not_committed(where, error)) from error
                if tries == _TRIES:
                    raise _not_committed(where, error) from error
            except BaseException:
                _abort(session)
                raise
            else:
                if _committed(session, where, last=tries == _TRIES):
                    return answer
        time.sleep(random.uniform(*_PAUSE_S) * tries)
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
