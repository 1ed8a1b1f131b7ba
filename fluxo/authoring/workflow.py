"""
`@workflow`: a function whose progress survives.

Owns: `Workflow`, `AsyncWorkflow` and the decorator with its types. Must not know engines: a workflow is
executed durably only when it is handed to one; called, it is the plain function.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, Self, TypeVar, cast, overload

from fluxo.authoring.context import active
from fluxo.authoring.definition import Codecs, Definition, check_function
from fluxo.authoring.registry import register_workflow
from fluxo.codec.arguments import ArgumentsCodec
from fluxo.codec.payload import TypeCodec
from fluxo.errors import UsageError
from fluxo.model.names import check_name
from fluxo.model.options import WorkflowOptions, changed

__all__ = ["AsyncWorkflow", "Workflow", "WorkflowBase", "workflow"]

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
S = TypeVar("S")


class WorkflowBase(Definition):
    """What both colours of workflow share; users meet `Workflow` and `AsyncWorkflow`."""

    options_: WorkflowOptions

    def __init__(self, fn: Callable[..., Any], options: WorkflowOptions, codecs: Codecs | None, bound: Any) -> None:
        self._adopt(fn, codecs, bound)
        self.options_ = options
        self.name, self.version = options.name, options.version
        self.where = f"workflow {options.name!r}"

    @property
    def arguments(self) -> ArgumentsCodec:
        """Codec of the arguments; a method's self is one of them and must be data."""
        return self.codecs.arguments(skip_self=False)

    @property
    def result(self) -> TypeCodec:
        """Codec of the return value."""
        return self.codecs.result()

    def complete(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """The arguments to record: with the instance a method was taken from."""
        return args if self.bound is None else (self.bound, *args)

    def options(
        self,
        *,
        id: str | None = None,
        queue: str | None = None,
        timeout: float | timedelta | None = None,
    ) -> Self:
        """A copy with other options for the runs started from it; those not given stay. See `workflow`."""
        given = {"id": id, "queue": queue, "timeout": timeout}
        chosen = {key: value for key, value in given.items() if value is not None}
        return type(self)(self.fn, changed(self.options_, self.where, chosen), self.codecs, self.bound)

    def _plain(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        scope = active.get(None)
        if scope is not None:
            scope.call_workflow(self.name)
        return self.fn(*self.complete(args), **kwargs)

    def _bind(self, instance: Any, owner: type | None) -> Self:
        if instance is None:
            return self
        if instance is owner:
            raise UsageError(f"@classmethod over @workflow is not supported ({self.__qualname__}): use a @staticmethod")
        return type(self)(self.fn, self.options_, self.codecs, instance)


class Workflow(WorkflowBase, Generic[P, R]):
    """A plain function decorated with `@workflow`."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function itself, without durability."""
        return cast(R, self._plain(args, kwargs))

    @overload
    def __get__(self, instance: None, owner: type) -> Workflow[P, R]: ...
    @overload
    def __get__(self: Workflow[Concatenate[S, Q], R], instance: S, owner: type | None = None) -> Workflow[Q, R]: ...
    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self._bind(instance, owner)


class AsyncWorkflow(WorkflowBase, Generic[P, R]):
    """A coroutine function decorated with `@workflow`."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:
        """Call the coroutine function itself, without durability."""
        return cast("Coroutine[Any, Any, R]", self._plain(args, kwargs))

    @overload
    def __get__(self, instance: None, owner: type) -> AsyncWorkflow[P, R]: ...
    @overload
    def __get__(
        self: AsyncWorkflow[Concatenate[S, Q], R], instance: S, owner: type | None = None
    ) -> AsyncWorkflow[Q, R]: ...
    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self._bind(instance, owner)


class _WorkflowDecorator(Protocol):
    # Every coroutine function is a callable too; the first overload that fits wins, and that is what is meant.
    @overload
    def __call__(  # type: ignore[overload-overlap]  # pyright: ignore[reportOverlappingOverload]
        self, fn: Callable[P, Coroutine[Any, Any, R]], /
    ) -> AsyncWorkflow[P, R]: ...
    @overload
    def __call__(self, fn: Callable[P, R], /) -> Workflow[P, R]: ...


# See the protocol above for the two ignores.
@overload
def workflow(  # type: ignore[overload-overlap]  # pyright: ignore[reportOverlappingOverload]
    fn: Callable[P, Coroutine[Any, Any, R]], /
) -> AsyncWorkflow[P, R]: ...
@overload
def workflow(fn: Callable[P, R], /) -> Workflow[P, R]: ...
@overload
def workflow(
    *,
    name: str | None = None,
    version: str = "1",
    timeout: float | timedelta | None = None,
    queue: str = "default",
) -> _WorkflowDecorator: ...
def workflow(
    fn: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    version: str = "1",
    timeout: float | timedelta | None = None,
    queue: str = "default",
) -> Any:
    """
    Mark a function as a workflow: given the same history it must call the same steps in the same order.

    Args:
        fn: A function, coroutine function or method (whose self must be data).
        name: Its registered name; default its qualified name.
        version: Tells incompatible definitions under one name apart.
        timeout: Bound of a whole run, seconds or timedelta; then it ends with `RunTimeoutError`.
        queue: Workers that listen on this queue take its runs.

    Raises:
        DuplicateNameError: another function is registered under this (name, version).
        UsageError: not a function, a generator, a class method, or a name that is not usable.
    """

    def decorate(function: Callable[..., Any]) -> WorkflowBase:
        check_function("workflow", function)
        own = check_name("workflow name", name or function.__qualname__)
        given = {"version": version, "timeout": timeout, "queue": queue}
        options = changed(WorkflowOptions(name=own), f"workflow {own!r}", given)
        kind = AsyncWorkflow if inspect.iscoroutinefunction(function) else Workflow
        definition = cast("WorkflowBase", kind(function, options, None, None))
        register_workflow(definition)
        return definition

    return decorate if fn is None else decorate(fn)
