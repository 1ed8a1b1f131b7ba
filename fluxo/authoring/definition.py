"""
What steps and workflows have in common: a function, its signature, its codecs.

Owns: validation at decoration, lazy compilation of codecs (annotations may name things defined later),
and looking like the function. Must not know runs.
"""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable
from types import MethodType
from typing import Any, cast

from fluxo.codec.arguments import ArgumentsCodec
from fluxo.codec.payload import TypeCodec, codec_for
from fluxo.errors import UsageError

__all__ = ["Codecs", "Definition", "check_function"]


class Codecs:
    """Argument and result codecs of one function, compiled on first use and shared by its copies."""

    __slots__ = ("_arguments", "_fn", "_result", "is_method", "owner")

    def __init__(self, fn: Callable[..., Any]) -> None:
        self._fn = fn
        self._arguments: ArgumentsCodec | None = None
        self._result: TypeCodec | None = None
        self.is_method = False
        self.owner: type | None = None

    def arguments(self, *, skip_self: bool) -> ArgumentsCodec:
        """The codec of its arguments; `skip_self` leaves out the first parameter."""
        if self._arguments is None:
            hints = self._hints()
            signature = inspect.signature(self._fn)
            if self.owner is not None and not skip_self:
                hints.setdefault(next(iter(signature.parameters)), self.owner)
            self._arguments = ArgumentsCodec(signature, hints, skip_self=skip_self)
        return self._arguments

    def result(self) -> TypeCodec:
        """The codec of its return value."""
        if self._result is None:
            self._result = codec_for(self._hints().get("return", inspect.Parameter.empty))
        return self._result

    def _hints(self) -> dict[str, Any]:
        try:
            return typing.get_type_hints(self._fn, include_extras=True)
        except Exception:
            # One name that exists for type checkers only must not cost the other annotations theirs.
            return {name: value for name in self._fn.__annotations__ if (value := self._hint(name)) is not None}

    def _hint(self, name: str) -> Any:
        annotation = self._fn.__annotations__[name]
        if not isinstance(annotation, str):
            return annotation
        try:
            return eval_annotation(annotation, self._fn)
        except Exception:
            return None


def eval_annotation(annotation: str, fn: Callable[..., Any]) -> Any:
    """The object a string annotation of `fn` names in its module."""

    def holder() -> None: ...

    holder.__annotations__ = {"value": annotation}
    return typing.get_type_hints(holder, getattr(fn, "__globals__", {}), include_extras=True)["value"]


class Definition:
    """A decorated function: callable, introspectable and copyable like the function itself."""

    fn: Callable[..., Any]
    codecs: Codecs
    is_async: bool
    bound: Any
    __name__: str
    __qualname__: str

    def _adopt(self, fn: Callable[..., Any], codecs: Codecs | None, bound: Any) -> None:
        functools.update_wrapper(cast("Callable[..., Any]", self), fn)
        self.fn = fn
        self.bound = bound
        self.codecs = codecs or Codecs(fn)
        self.is_async = inspect.iscoroutinefunction(fn)
        if bound is not None:
            # Where inspect.signature looks: like any bound method's, it must not show self.
            self.__wrapped__ = MethodType(fn, bound)

    def __set_name__(self, owner: type, name: str) -> None:
        self.codecs.is_method = True
        self.codecs.owner = owner

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {getattr(self.fn, '__qualname__', '?')}>"


def check_function(decorator: str, fn: Any) -> None:
    """
    Refuse what cannot be decorated.

    Raises:
        UsageError: names the order or the spelling that works.
    """
    kind = "classmethod" if isinstance(fn, classmethod) else "staticmethod"
    if isinstance(fn, classmethod | staticmethod):
        raise UsageError(
            f"@{decorator} must stand below @{kind}, and @classmethod is not supported at all: "
            "decorate a function, a method or a @staticmethod"
        )
    if not callable(fn) or not hasattr(fn, "__code__"):
        raise UsageError(f"@{decorator} decorates functions and methods, not {type(fn).__name__}")
    if inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn):
        raise UsageError(f"@{decorator} cannot decorate a generator: return a list, or make each item a step")
    code = fn.__code__
    names = code.co_varnames[: code.co_argcount]
    if names[:1] == ("cls",) and "." in fn.__qualname__.rpartition("<locals>.")[2]:
        raise UsageError(f"@{decorator} cannot decorate a class method ({fn.__qualname__}): use a @staticmethod")
