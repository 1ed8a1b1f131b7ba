"""
Running the scripts.

Owns: their texts, calling them by digest, and telling what is definite from what is not. Must not know what they mean.
A server that has lost its scripts (a restart, a failover, another node) is sent the text.
"""

from __future__ import annotations

import hashlib
from importlib.resources import files
from typing import Any, Final

import msgspec
from redis import exceptions

from fluxo.errors import FluxoError, FluxoInternalError, LimitExceededError, StoreUnavailableError

__all__ = ["Lost", "Scripts", "packed", "translated"]

_NAMES: Final = ("append", "due", "release", "deliver", "read", "worker", "find", "stats", "purge")
_ARGUMENT_BYTES_MAX: Final = 512 * 1024 * 1024
_NOT_DONE: Final = (
    (exceptions.BusyLoadingError, "is still loading its data; wait until it has started"),
    (exceptions.AuthenticationError, "did not accept the user or password"),
    (exceptions.OutOfMemoryError, "is out of memory (maxmemory); give it more, or purge ended runs"),
    (exceptions.ReadOnlyError, "is a replica; give the URL of the primary"),
    (exceptions.MasterDownError, "is a replica that has lost its primary; give the URL of the primary"),
    (exceptions.NoPermissionError, "does not let this user run the commands that docs/explanation/stores.md lists"),
    (exceptions.ClusterDownError, "is a cluster that is down; look at CLUSTER INFO"),
    (exceptions.TryAgainError, "is moving the slot of these keys; try again"),
)
"""Errors that stand before a script's first write."""

packed: Final = msgspec.msgpack.Encoder().encode


class Lost(Exception):
    """The connection broke while a script was under way: it may have been executed."""


def translated(error: Exception, where: str) -> FluxoError | None:
    """fluxo's error for a driver's that means "not written"; None for one that leaves it open."""
    for kind, problem in _NOT_DONE:
        if isinstance(error, kind):
            return StoreUnavailableError(where, problem)
    if isinstance(error, exceptions.ConnectionError) and "connecting to" in str(error):
        return StoreUnavailableError(where, f"cannot be reached ({error})")
    if isinstance(error, (exceptions.ConnectionError, exceptions.TimeoutError)):
        return None
    if isinstance(error, exceptions.ResponseError) and "OOM command not allowed" in str(error):
        # A script that begins while memory is full is refused its first write; later ones are not asked about.
        return StoreUnavailableError(where, "is out of memory (maxmemory); give it more, or purge ended runs")
    return FluxoInternalError(f"{where} refused a script of this store ({error})")


class Scripts:
    """The scripts, each with what they share put before it."""

    def __init__(self, client: Any, where: str) -> None:
        self._client = client
        self._where = where
        folder = files("fluxo.stores.redis") / "lua"
        common = (folder / "common.lua").read_text()
        self._texts = {name: common + (folder / f"{name}.lua").read_text() for name in _NAMES}
        self._digests = {name: hashlib.sha1(text.encode()).hexdigest() for name, text in self._texts.items()}

    def once(self, name: str, key: str, *arguments: Any) -> Any:
        """
        Run a script on the shard of `key`.

        Raises:
            Lost: it is not known whether it was run.
            StoreUnavailableError: it was not.
        """
        if any(isinstance(each, bytes) and len(each) > _ARGUMENT_BYTES_MAX for each in arguments):
            size = max(len(each) for each in arguments if isinstance(each, bytes))
            raise LimitExceededError(f"a batch for {self._where}", size, _ARGUMENT_BYTES_MAX, "store smaller payloads")
        try:
            try:
                return self._client.evalsha(self._digests[name], 1, key, *arguments)
            except exceptions.NoScriptError:
                return self._client.eval(self._texts[name], 1, key, *arguments)
        except exceptions.RedisError as error:
            definite = translated(error, self._where)
            if definite is None:
                raise Lost from error
            raise definite from error

    def run(self, name: str, key: str, *arguments: Any) -> Any:
        """
        As `once`, for a script that may be repeated; it is, once, on another connection.

        Raises:
            StoreUnavailableError: the server cannot be reached or refused.
        """
        try:
            return self.once(name, key, *arguments)
        except Lost:
            pass
        try:
            return self.once(name, key, *arguments)
        except Lost as error:
            raise StoreUnavailableError(
                self._where, f"the connection was lost ({error.__cause__}); read again before repeating what was asked"
            ) from error.__cause__

    def ask(self, question: Any) -> Any:
        """One command that only reads; errors as for `run`."""
        for last in (False, True):
            try:
                return question(self._client)
            except exceptions.RedisError as error:
                definite = translated(error, self._where)
                if definite is None and not last:
                    continue
                raise (definite or StoreUnavailableError(self._where, f"the connection was lost ({error})")) from error
        raise AssertionError("unreachable: the last try returns or raises")
