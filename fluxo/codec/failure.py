"""
Errors to their portable form and back.

Owns: what is kept of an error, of its notes and of its causes; when it can come back as its own class, and what it
is otherwise. Must not know steps beyond their name. Theory: API §7 "Errors across replay".

Whether an error comes back as its own class is decided once, when it is recorded, by rebuilding it and comparing the
text. From then on live run and replay do the same: the class, or `StepFailedError`, or, where the class is not
loaded, `DecodeError`; never another class on replay alone.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any, Final, TypeVar

import msgspec

from fluxo.codec.exception import attribute_of, class_of, rebuilt, set_attribute, state_of
from fluxo.codec.payload import ANY
from fluxo.errors import DecodeError, StepFailedError
from fluxo.limits import FAILURE_CHAIN_MAX, FAILURE_TEXT_CHARS_MAX, PAYLOAD_BYTES_MAX
from fluxo.model.failure import Failure

__all__ = ["error_of", "failure_of"]

_T = TypeVar("_T")

_FAILURES_MAX: Final = 64
"""Errors kept of all causes and groups together."""

_FRAMES_MAX: Final = 64
"""Innermost frames kept of a traceback."""

_pack: Final = msgspec.msgpack.Encoder().encode
_unpack: Final = msgspec.msgpack.Decoder(Failure).decode


def failure_of(error: BaseException, where: str) -> Failure:
    """
    The portable form of an error. Never raises but for a KeyboardInterrupt; what cannot be read is left out.

    Costs about 0.1 ms per error of the chain, most of it for the traceback.
    """
    return _Recorder(where).failure(error, frozenset())


def error_of(failure: Failure, step: str) -> BaseException:
    """
    The error of its portable form, with notes and causes; `StepFailedError` where its class cannot carry it.

    Raises:
        DecodeError: a class is not loaded, or the form is damaged.
    """
    where = f"error of step {step!r}"
    chain: list[Failure] = []
    link: Failure | None = failure
    while link is not None:
        chain.append(link)
        link = link.cause
    error, cause = _single(chain.pop(), step, where), None
    for link in reversed(chain):
        error, cause = _single(link, step, where), error
        set_attribute(error, "__cause__" if link.suppress_context else "__context__", cause)
        set_attribute(error, "__suppress_context__", link.suppress_context)
    return error


def _single(failure: Failure, step: str, where: str) -> BaseException:
    """One error without its causes."""
    error: BaseException
    if failure.state is None:
        error = StepFailedError(step, _name(failure), failure.message)
    else:
        cls = class_of(failure.module, failure.qualname, where)
        state = ANY.decode(failure.state, where)
        try:
            error = rebuilt(cls, state, lambda body: error_of(_unpack(body), step))
        except DecodeError:
            raise
        except Exception as problem:
            text = f"{_name(failure)} does not take its stored state any more ({type(problem).__name__})"
            raise DecodeError(where, text) from None
    if failure.notes:
        attribute_of(error, "__dict__")["__notes__"] = list(failure.notes)
    set_attribute(error, "__suppress_context__", failure.suppress_context)
    return error


def _name(failure: Failure) -> str:
    return failure.qualname if failure.module == "builtins" else f"{failure.module}.{failure.qualname}"


class _Recorder:
    """Records one error with all that hangs on it, within bounds that hold for all of it together."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._failures_left = _FAILURES_MAX
        self._state_bytes_left = PAYLOAD_BYTES_MAX

    def failure(self, error: BaseException, above: frozenset[int]) -> Failure:
        """The form of `error`; the errors whose ids are in `above` lead to it, and are not recorded below it."""
        chain = self._chain(error, above)
        above |= {id(each) for each in chain}
        self._failures_left -= len(chain)
        failure = self._single(chain.pop(), above, None)
        for each in reversed(chain):
            failure = self._single(each, above, failure)
        return failure

    def _chain(self, error: BaseException, above: frozenset[int]) -> list[BaseException]:
        chain = [error]
        seen = {id(error), *above}
        while len(chain) < min(FAILURE_CHAIN_MAX, self._failures_left):
            cause = attribute_of(chain[-1], "__cause__")
            if cause is None and not attribute_of(chain[-1], "__suppress_context__"):
                cause = attribute_of(chain[-1], "__context__")
            if cause is None or id(cause) in seen:
                break
            chain.append(cause)
            seen.add(id(cause))
        return chain

    def _single(self, error: BaseException, above: frozenset[int], cause: Failure | None) -> Failure:
        cls = type(error)
        return Failure(
            module=_tried(lambda: _text(cls.__module__), "?"),
            qualname=_tried(lambda: _text(cls.__qualname__), "?"),
            message=_tried(lambda: _text(str(error)), "(its text cannot be read)"),
            state=_tried(lambda: self._state(error, above), None),
            notes=_tried(lambda: _notes(error), ()),
            traceback=_tried(lambda: _frames(error), ""),
            cause=cause,
            suppress_context=attribute_of(error, "__suppress_context__"),
        )

    def _state(self, error: BaseException, above: frozenset[int]) -> bytes | None:
        """The encoded state, None if the error would not come back as it is."""
        cls = class_of(type(error).__module__, type(error).__qualname__, self._where)
        if cls is not type(error):
            return None
        state, copy = ANY.roundtrip(state_of(error, lambda each: self._part(each, above)), self._where)
        if len(state) > self._state_bytes_left:
            return None
        again = rebuilt(cls, copy, lambda body: error_of(_unpack(body), self._where))
        if str(again) != str(error):
            return None
        self._state_bytes_left -= len(state)
        return state

    def _part(self, error: BaseException, above: frozenset[int]) -> bytes:
        if self._failures_left < 1 or id(error) in above:
            raise DecodeError(self._where, "the group holds too many errors, or itself")
        return _pack(self.failure(error, above))


def _tried(read: Callable[[], _T], otherwise: _T) -> _T:
    """What `read` finds; `otherwise` if the error defends itself, even by leaving the process."""
    try:
        return read()
    except KeyboardInterrupt:
        raise
    except BaseException:
        return otherwise


def _text(text: Any) -> str:
    """Text that can be stored: bounded, cut in the middle, lone surrogates escaped."""
    exact = str.__str__(text)
    return _cut(exact if exact.isascii() else exact.encode("utf-8", "backslashreplace").decode())


def _cut(text: str) -> str:
    if len(text) <= FAILURE_TEXT_CHARS_MAX:
        return text
    mark = f" … {len(text):,} characters … "
    half = (FAILURE_TEXT_CHARS_MAX - len(mark)) // 2
    return f"{text[:half]}{mark}{text[-half:]}"


def _notes(error: BaseException) -> tuple[str, ...]:
    notes: list[str] = []
    left = FAILURE_TEXT_CHARS_MAX
    for note in attribute_of(error, "__dict__").get("__notes__", ()):
        text = _text(note if isinstance(note, str) else repr(note))
        left -= len(text)
        if left < 0:
            break
        notes.append(text)
    return tuple(notes)


def _frames(error: BaseException) -> str:
    frames = attribute_of(error, "__traceback__")
    return _text("".join(traceback.format_tb(frames, -_FRAMES_MAX)))
