"""
The portable form of an exception.

Owns: what is kept of an error in the log. Must not know how it is made or rebuilt (`fluxo.codec.failure`).
"""

from __future__ import annotations

import msgspec

__all__ = ["Failure"]


class Failure(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """
    One recorded error with its cause chain.

    Attributes:
        module: Module of the exception class; never imported from here.
        qualname: Qualified name of the class within that module.
        message: `str()` of the error, at most `FAILURE_TEXT_CHARS_MAX` characters.
        state: Encoded `args` and `__dict__`, or None when they are not data: then the error is
            rebuilt as `StepFailedError`, live and on replay alike.
        notes: What `add_note` attached.
        traceback: Formatted traceback text, for people.
        cause: The `__cause__`, else the unsuppressed `__context__`.
        suppress_context: Whether the error was raised ``from`` something.
    """

    module: str
    qualname: str
    message: str
    state: bytes | None = None
    notes: tuple[str, ...] = ()
    traceback: str = ""
    cause: Failure | None = None
    suppress_context: bool = False
