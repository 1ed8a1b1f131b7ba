"""
What workflow code has asked for and not got yet.

Owns: `Command`, `CommandScope` and call sites. Must not know who carries a command out.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from os.path import basename
from types import CodeType, FrameType
from typing import Any, Final, Literal, TypeAlias

from fluxo.model.events import CommandEvent, Wait

__all__ = ["UNKNOWN_SITE", "Command", "CommandScope", "Kind", "call_site", "site_of_error"]

Kind: TypeAlias = Literal["step", "timer", "signal"]

UNKNOWN_SITE: Final = "?"
_INTERNAL: Final = ("fluxo.", "asyncio.", "contextlib", "concurrent.")
_DRIVEN: Final = "ReplayLoop.run_ready"
"""Above it on the stack stands the driver, not the workflow."""
_sites: dict[tuple[int, int], tuple[str, CodeType]] = {}
"""(id of code, instruction) → call site. By id, because hashing a code object hashes all it is made of; each entry
keeps its code object, so that no id is used again."""


class CommandScope:
    """A strand of the workflow with numbers of its own, so that parallel strands cannot take each other's."""

    __slots__ = ("children", "path", "position")

    def __init__(self, path: str) -> None:
        self.path = path
        self.position = 0
        self.children = 0

    def child(self) -> CommandScope:
        """The scope of the next task started from this one."""
        number = self.children
        self.children = number + 1
        return CommandScope(f"{self.path}.{number}" if self.path else str(number))


class Command:
    """
    One request of the workflow, from its issue to its event.

    Attributes:
        scope, position: Its identity within the run.
        ordinal: How many commands the whole run had issued before it.
        args: Encoded arguments; None when they are not recorded.
        due_us: When a timer or a signal's deadline is due; None without one.
        call: What the driver needs to carry it out (a step call, signal names); opaque here.
        attempt, retry_at_us: Last failed attempt and when the next may start.
        event, seq: The completing event once it is delivered.
        waiter, wake: What is told when it is delivered: a future of the run's loop, or a callback.
        value, error: What the driver decoded of a live outcome when it recorded it.
    """

    __slots__ = (
        "args",
        "attempt",
        "call",
        "due_us",
        "error",
        "event",
        "kind",
        "name",
        "ordinal",
        "position",
        "retry_at_us",
        "scope",
        "seq",
        "site",
        "value",
        "waiter",
        "wake",
    )

    def __init__(
        self, scope: str, position: int, ordinal: int, kind: Kind, name: str, site: str, args: bytes | None
    ) -> None:
        self.scope = scope
        self.position = position
        self.ordinal = ordinal
        self.kind: Kind = kind
        self.name = name
        self.site = site
        self.args = args
        self.call: Any = None
        self.due_us: int | None = None
        self.attempt = 0
        self.retry_at_us: int | None = None
        self.event: CommandEvent | None = None
        self.seq = 0
        self.wake: Callable[[], None] | None = None
        self.waiter: Any = None
        self.value: Any = None
        self.error: BaseException | None = None

    def as_wait(self) -> Wait:
        """Its entry in a RunWaiting event."""
        due_us = self.retry_at_us if self.kind == "step" else self.due_us
        return Wait(self.scope, self.position, self.ordinal, self.kind, self.name, self.site, self.args, due_us)


def call_site(depth: int) -> str:
    """``file.py:line in function`` of the user's frame that is at least `depth` frames above the caller's caller."""
    # Python's own way to the caller; inspect.stack() reads source files on the hot path.
    frame = sys._getframe(depth)  # pyright: ignore[reportPrivateUsage]
    while True:
        code = frame.f_code
        key = (id(code), frame.f_lasti)
        known = _sites.get(key)
        if known is None:
            known = _sites[key] = (_site(frame, frame.f_lineno), code)
        site = known[0]
        if site:
            return site
        back = frame.f_back
        if back is None:
            return UNKNOWN_SITE
        frame = back


def site_of_error(error: BaseException) -> str:
    """Where in the user's code an error came from: the innermost frame of its traceback that is not ours."""
    site = ""
    traceback = error.__traceback__
    while traceback is not None:
        site = _site(traceback.tb_frame, traceback.tb_lineno) or site
        traceback = traceback.tb_next
    return site or UNKNOWN_SITE


def _site(frame: FrameType, line: int | None) -> str:
    """How a place is shown; empty for fluxo's and asyncio's own, unknown for what is no part of the workflow."""
    module = frame.f_globals.get("__name__", "")
    code = frame.f_code
    if code.co_qualname == _DRIVEN:
        return UNKNOWN_SITE
    internal = module.startswith(_INTERNAL) or module == "asyncio"
    return "" if internal else f"{basename(code.co_filename)}:{line} in {code.co_qualname}"
