"""
The guard: tells a workflow's own code, at the call, what no replay would repeat.

Owns: which calls of workflow code are told of, and how. Must not know how runs advance. It is a profile function, set
while workflow code runs and nothing else, so it sees every call however its name was imported, and changes no module.
What steps call is theirs, and what the standard library or fluxo call among themselves is nobody's. It costs about as
much as a profiler, so it is off unless an engine asks for it. The rules are those of the static check: `replay.advice`.
"""

from __future__ import annotations

import os
import random
import sys
import sysconfig
import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

from fluxo.authoring.context import active
from fluxo.errors import UsageError
from fluxo.replay.advice import Rule, rule_for
from fluxo.runtime.attempt import StepScope

__all__ = ["GUARDS", "Guard", "guard_for", "guarded"]

Guard = Callable[[FrameType, str, Any], None]
GUARDS: Final = ("off", "warn", "raise")

_STDLIB: Final = tuple({os.path.realpath(sysconfig.get_path(name)) + os.sep for name in ("stdlib", "platstdlib")})
_SITES: Final = tuple({os.path.realpath(sysconfig.get_path(name)) + os.sep for name in ("purelib", "platlib")})
_OWN: Final = os.path.realpath(os.path.dirname(os.path.dirname(__file__))) + os.sep
_REAL: Final = {"posix": "os", "nt": "os", "_io": "io", "_thread": "threading", "_socket": "socket"}
_SHARED: Any = vars(random)["_inst"]
"""The generator behind `random.random` and its like; one made from a seed is nobody's business."""

_origins: dict[str, str] = {}
_known_calls: dict[tuple[str, str], Rule | None] = {}


def guard_for(mode: str) -> Guard:
    """
    The guard of an engine that asks for one.

    Raises:
        UsageError: no such mode.
    """
    if mode not in GUARDS:
        raise UsageError(f"guard must be one of {', '.join(map(repr, GUARDS))}, not {mode!r}")
    return _warn if mode == "warn" else _raise


@contextmanager
def guarded(guard: Guard) -> Generator[None]:
    """Watch what is called in this thread meanwhile."""
    standing = sys.getprofile()
    sys.setprofile(guard)
    try:
        yield
    finally:
        sys.setprofile(standing)


def _raise(frame: FrameType, event: str, called: Any) -> None:
    found = _found(frame, event, called)
    if found is not None:
        raise UsageError(found[0])


def _warn(frame: FrameType, event: str, called: Any) -> None:
    found = _found(frame, event, called)
    if found is not None:
        text, caller = found
        code = caller.f_code
        warnings.warn_explicit(
            text,
            RuntimeWarning,
            code.co_filename,
            caller.f_lineno,
            registry=caller.f_globals.setdefault("__warningregistry__", {}),
        )


def _found(frame: FrameType, event: str, called: Any) -> tuple[str, FrameType] | None:
    """The advice on a call that workflow code makes, and its frame."""
    caller: FrameType | None
    if event == "c_call":
        caller, name = frame, _name_of_builtin(called)
    elif event == "call":
        caller, name = frame.f_back, _name_of_function(frame)
    else:
        return None
    if caller is None or name is None or _origin(caller) != "user":
        return None
    if name not in _known_calls:
        _known_calls[name] = rule_for(".".join(name))
    rule = _known_calls[name]
    if rule is None or isinstance(active.get(None), StepScope | None) or not _is_workflows(caller):
        return None
    place = f"{os.path.basename(caller.f_code.co_filename)}:{caller.f_lineno} in {caller.f_code.co_qualname}"
    return f"{rule.code} {'.'.join(name)} at {place}: {rule.what} — {rule.safe}", caller


def _name_of_builtin(called: Any) -> tuple[str, str] | None:
    owner = getattr(called, "__self__", None)
    name: str = called.__name__
    if isinstance(owner, type):
        return f"{owner.__module__}.{owner.__qualname__}", name
    if owner is _SHARED:
        return "random", name
    module: str | None = getattr(called, "__module__", None)
    return None if module is None else (_REAL.get(module, module), name)


def _name_of_function(frame: FrameType) -> tuple[str, str] | None:
    code = frame.f_code
    module: str = frame.f_globals.get("__name__", "__main__")
    if module == "__main__":
        return None
    if module == "random":
        return ("random", code.co_name) if frame.f_locals.get("self") is _SHARED else None
    return module, code.co_qualname


def _is_workflows(caller: FrameType) -> bool:
    """
    Whether nothing but users' code stands between the driver and this frame.

    What the import of a module or a logging handler does on the way is not what the workflow does.
    """
    frame: FrameType | None = caller
    while frame is not None and (origin := _origin(frame)) != "fluxo":
        if origin == "library":
            return False
        frame = frame.f_back
    return True


def _origin(frame: FrameType) -> str:
    """Whose code it is: the user's, fluxo's, or the standard library's."""
    file = frame.f_code.co_filename
    known = _origins.get(file)
    if known is None:
        path = os.path.realpath(file)
        library = path.startswith(_STDLIB) and not path.startswith(_SITES)
        known = "fluxo" if path.startswith(_OWN) else "library" if library or file.startswith("<frozen") else "user"
        _origins[file] = known
    return known
