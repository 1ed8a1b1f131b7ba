"""
The state of one exception as data, and an exception made from it.

Owns: what is read off an exception, past every override of its class, and how a class is found again. Must not know
failures, chains or steps.

Theory: an exception is its class, its `args` and its attributes. It is made with `__new__` and `__init__` of the first
builtin class under it, never with its own, so that constructors with other parameters, with side effects or
with traps are not run. Classes come from modules that are loaded; nothing is ever imported.
"""

from __future__ import annotations

import builtins
import sys
from collections.abc import Callable
from typing import Any, Final, cast

from fluxo.codec.records import slots_of
from fluxo.errors import DecodeError

__all__ = ["attribute_of", "class_of", "rebuilt", "set_attribute", "state_of"]

_MEMBERS: Final[dict[type, tuple[str, ...]]] = {
    ImportError: ("name", "path"),
    NameError: ("name",),
    AttributeError: ("name",),
}
"""What builtin exceptions keep outside of `args` and `__dict__`, as far as it is data."""


def attribute_of(error: BaseException, name: str) -> Any:
    """An attribute of `BaseException` itself, whatever the class put over it."""
    return vars(BaseException)[name].__get__(error)


def set_attribute(error: BaseException, name: str, value: Any) -> None:
    """Set an attribute of `BaseException` itself, whatever the class put over it."""
    vars(BaseException)[name].__set__(error, value)


def class_of(module: str, qualname: str, where: str) -> type[Exception]:
    """
    The class of this name, if its module is loaded.

    Raises:
        DecodeError: it is not there, or it is no `Exception`.
    """
    found: Any = sys.modules.get(module)
    if found is None:
        raise DecodeError(where, f"its class is {module}.{qualname}, but the module {module} is not loaded here")
    for part in qualname.split("."):
        found = getattr(found, "__dict__", {}).get(part)
    if not isinstance(found, type) or not issubclass(found, Exception):
        raise DecodeError(where, f"its class is {module}.{qualname}, but the module {module} has no such error")
    return found


def state_of(error: BaseException, part: Callable[[BaseException], Any]) -> dict[str, Any]:
    """
    What `rebuilt` needs, as data if the exception's parts are data; `part` turns an exception of a group into data.

    Raises:
        Exception: whatever the exception's class makes of being looked at.
    """
    cls = type(error)
    attributes = {name: value for name, value in attribute_of(error, "__dict__").items() if name != "__notes__"}
    for name in slots_of(cls):
        try:
            attributes[name] = object.__getattribute__(error, name)
        except AttributeError:
            continue
    state: dict[str, Any] = {"args": attribute_of(error, "args"), "dict": attributes}
    # By class, not by isinstance, which would ask the error itself.
    if issubclass(cls, BaseExceptionGroup):
        group = cast(BaseExceptionGroup[BaseException], error)
        state["args"] = (group.message,)
        state["group"] = [part(each) for each in group.exceptions]
    if issubclass(cls, OSError):
        # With a file name, the arguments that made it are more than its args.
        state["made"] = cast(Any, OSError).__reduce__(error)[1]
    for base, names in _MEMBERS.items():
        if issubclass(cls, base):
            state["members"] = {name: vars(base)[name].__get__(error) for name in names}
    return state


def rebuilt(cls: type[Exception], state: dict[str, Any], part: Callable[[Any], BaseException]) -> Exception:
    """
    An exception of this class and state.

    Raises:
        Exception: the state does not fit the class.
    """
    base = _builtin_base(cls)
    args = state.get("made", state["args"])
    if "group" in state:
        args = (*args, [part(each) for each in state["group"]])
    error: Exception = base.__new__(cls, *args)
    if type(error) is not cls:
        raise TypeError(f"{base.__name__} made another class")
    base.__init__(error, *args)
    if "group" not in state:
        set_attribute(error, "args", state["args"])
    for kind, names in _MEMBERS.items():
        if issubclass(cls, kind):
            for name in names:
                vars(kind)[name].__set__(error, state["members"][name])
    slots = slots_of(cls)
    for name, value in state["dict"].items():
        if name in slots:
            object.__setattr__(error, name, value)
        else:
            attribute_of(error, "__dict__")[name] = value
    return error


def _builtin_base(cls: type) -> Any:
    """The first builtin class below `cls` that lays out its memory."""
    while vars(builtins).get(cls.__name__) is not cls:
        # Never None: every exception is laid out as BaseException, at least.
        cls = cls.__base__ or object
    return cls
