"""
`@step`: a function whose effect is recorded once.

Owns: `Step`, `AsyncStep` and the decorator with its types. Must not know how a step is executed: a
call goes to the run in the context variable, and without one to the function itself.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from contextvars import copy_context
from datetime import timedelta
from functools import cached_property
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, Self, TypeVar, cast, overload

from fluxo.authoring.context import active
from fluxo.authoring.definition import Codecs, Definition, check_function
from fluxo.authoring.fan_out import async_map, blocking_map
from fluxo.authoring.future import FinishedFuture, Future
from fluxo.authoring.registry import register_step
from fluxo.codec.arguments import ArgumentsCodec
from fluxo.codec.payload import TypeCodec
from fluxo.errors import UsageError
from fluxo.model.names import check_name
from fluxo.model.options import StepOptions, changed
from fluxo.model.retry import Retry

__all__ = ["AsyncStep", "Step", "StepBase", "step"]

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
S = TypeVar("S")
T = TypeVar("T")
R_co = TypeVar("R_co", covariant=True)
T_contra = TypeVar("T_contra", contravariant=True)


class _TakesOne(Protocol[T_contra, R_co]):
    def __call__(self, item: T_contra, /) -> R_co: ...


class _AwaitsOne(Protocol[T_contra, R_co]):
    def __call__(self, item: T_contra, /) -> Coroutine[Any, Any, R_co]: ...


class StepBase(Definition):
    """What both colours of step share; users meet `Step` and `AsyncStep`."""

    options_: StepOptions

    def __init__(self, fn: Callable[..., Any], options: StepOptions, codecs: Codecs | None, bound: Any) -> None:
        self._adopt(fn, codecs, bound)
        self.options_ = options
        self.name = options.name
        self.where = f"step {options.name!r}"
        self.untimed = options.timeout_s is None

    @cached_property
    def arguments(self) -> ArgumentsCodec:
        """Codec of the arguments, without a method's self."""
        return self.codecs.arguments(skip_self=self.codecs.is_method or self.bound is not None)

    @cached_property
    def result(self) -> TypeCodec:
        """Codec of the return value."""
        return self.codecs.result()

    def encoded(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes | None:
        """
        The arguments of a call as they are recorded: without a method's self; None with ``record_args=False``.

        Raises:
            UsageError, EncodeError, LimitExceededError: as `ArgumentsCodec.encode`.
        """
        if not self.options_.record_args:
            return None
        if self.bound is None and self.codecs.is_method:
            args = args[1:]
        return self.arguments.encode(args, kwargs, self.where)

    def invoke(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call the user's function itself."""
        return self.fn(*args, **kwargs) if self.bound is None else self.fn(self.bound, *args, **kwargs)

    def options(
        self,
        *,
        name: str | None = None,
        retry: Retry | None = None,
        timeout: float | timedelta | None = None,
        record_args: bool | None = None,
    ) -> Self:
        """A copy with other options; those not given stay. See `step` for their meaning."""
        given = {"name": name, "retry": retry, "timeout": timeout, "record_args": record_args}
        chosen = {key: value for key, value in given.items() if value is not None}
        return type(self)(self.fn, changed(self.options_, self.where, chosen), self.codecs, self.bound)

    def _bind(self, instance: Any, owner: type | None) -> Self:
        if instance is None:
            return self
        if instance is owner:
            raise UsageError(f"@classmethod over @step is not supported ({self.__qualname__}): use a @staticmethod")
        return type(self)(self.fn, self.options_, self.codecs, instance)


class Step(StepBase, Generic[P, R]):
    """A plain function decorated with `@step`."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run it once, durably, inside a sync workflow; call the function itself anywhere else."""
        scope = active.get(None)
        if scope is None:
            if self.bound is None:
                return cast(R, self.fn(*args, **kwargs))
            return cast(R, self.fn(self.bound, *args, **kwargs))
        return cast(R, scope.call_step(self, args, kwargs))

    def submit(self, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """Start it beside the workflow; outside a run call it at once."""
        scope = active.get(None)
        if scope is not None:
            return scope.submit_step(self, args, kwargs)
        try:
            return FinishedFuture(self.invoke(args, kwargs))
        except Exception as error:
            return FinishedFuture(error=error)

    @overload
    def map(self: _TakesOne[T, S], items: Iterable[T], /, *, concurrency: int | None = None) -> list[S]: ...
    @overload
    def map(
        self, first: Iterable[Any], second: Iterable[Any], /, *more: Iterable[Any], concurrency: int | None = None
    ) -> list[R]: ...
    def map(self, *iterables: Iterable[Any], concurrency: int | None = None) -> list[Any]:
        """One call per item, results in the order of the items; at most `concurrency` at once."""
        return blocking_map(cast(Any, self), iterables, concurrency)

    @property
    def aio(self) -> AwaitableStep[P, R]:
        """The same step, to be awaited in an async workflow."""
        return AwaitableStep(self)

    @overload
    def __get__(self, instance: None, owner: type) -> Step[P, R]: ...
    @overload
    def __get__(self: Step[Concatenate[S, Q], R], instance: S, owner: type | None = None) -> Step[Q, R]: ...
    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self._bind(instance, owner)


class AsyncStep(StepBase, Generic[P, R]):
    """A coroutine function decorated with `@step`."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:
        """Run it once, durably, inside an async workflow; call the coroutine function itself anywhere else."""
        scope = active.get(None)
        if scope is None:
            return cast("Coroutine[Any, Any, R]", self.invoke(args, kwargs))
        return scope.call_async_step(self, args, kwargs)

    def submit(self, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """
        Start it beside the workflow.

        Raises:
            UsageError: outside a run; await the step itself there.
        """
        scope = active.get(None)
        if scope is None:
            raise UsageError(
                f"{self.where}.submit() outside a run has no loop to run on: await {self.name}(...) instead"
            )
        return scope.submit_step(self, args, kwargs)

    @overload
    def map(self: _AwaitsOne[T, S], items: Iterable[T], /, *, concurrency: int | None = None) -> list[S]: ...
    @overload
    def map(
        self, first: Iterable[Any], second: Iterable[Any], /, *more: Iterable[Any], concurrency: int | None = None
    ) -> list[R]: ...
    def map(self, *iterables: Iterable[Any], concurrency: int | None = None) -> list[Any]:
        """In a sync workflow: one call per item, results in order. In an async one use ``.aio.map``."""
        return blocking_map(cast(Any, self), iterables, concurrency)

    @property
    def aio(self) -> AwaitableStep[P, R]:
        """The same step; here for symmetry with `Step` and for ``.aio.map``."""
        return AwaitableStep(self)

    @overload
    def __get__(self, instance: None, owner: type) -> AsyncStep[P, R]: ...
    @overload
    def __get__(self: AsyncStep[Concatenate[S, Q], R], instance: S, owner: type | None = None) -> AsyncStep[Q, R]: ...
    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self._bind(instance, owner)


class AwaitableStep(Generic[P, R]):
    """``step.aio``: the awaitable spelling of a step."""

    __slots__ = ("_step",)

    def __init__(self, step: StepBase) -> None:
        self._step = step

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:
        """Run it once, durably, inside an async workflow; outside a run a sync step runs in a thread."""
        scope = active.get(None)
        if scope is not None:
            return scope.await_step(self._step, args, kwargs)
        if self._step.is_async:
            return cast("Coroutine[Any, Any, R]", self._step.invoke(args, kwargs))
        return _in_thread(self._step, args, kwargs)

    @overload
    def map(
        self: _AwaitsOneLoosely[T, S], items: Iterable[T], /, *, concurrency: int | None = None
    ) -> Awaitable[list[S]]: ...
    @overload
    def map(
        self, first: Iterable[Any], second: Iterable[Any], /, *more: Iterable[Any], concurrency: int | None = None
    ) -> Awaitable[list[R]]: ...
    def map(self, *iterables: Iterable[Any], concurrency: int | None = None) -> Awaitable[list[Any]]:
        """One call per item, results in the order of the items; at most `concurrency` at once."""
        return async_map(cast(Any, self._step), iterables, concurrency)


class _AwaitsOneLoosely(Protocol[T_contra, R_co]):
    def __call__(self, item: T_contra, /) -> Awaitable[R_co]: ...


async def _in_thread(step: StepBase, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    import asyncio

    context = copy_context()
    return await asyncio.get_running_loop().run_in_executor(None, lambda: context.run(step.invoke, args, kwargs))


class _StepDecorator(Protocol):
    # Every coroutine function is a callable too; the first overload that fits wins, and that is what is meant.
    @overload
    def __call__(  # type: ignore[overload-overlap]  # pyright: ignore[reportOverlappingOverload]
        self, fn: Callable[P, Coroutine[Any, Any, R]], /
    ) -> AsyncStep[P, R]: ...
    @overload
    def __call__(self, fn: Callable[P, R], /) -> Step[P, R]: ...


# See the protocol above for the two ignores.
@overload
def step(  # type: ignore[overload-overlap]  # pyright: ignore[reportOverlappingOverload]
    fn: Callable[P, Coroutine[Any, Any, R]], /
) -> AsyncStep[P, R]: ...
@overload
def step(fn: Callable[P, R], /) -> Step[P, R]: ...
@overload
def step(
    *,
    name: str | None = None,
    retry: Retry | None = None,
    timeout: float | timedelta | None = None,
    record_args: bool = True,
) -> _StepDecorator: ...
def step(
    fn: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    retry: Retry | None = None,
    timeout: float | timedelta | None = None,
    record_args: bool = True,
) -> Any:
    """
    Mark a function with effects: inside a run its body runs at least once, its result is recorded exactly once.

    Args:
        fn: A function, coroutine function or method.
        name: Its name in histories; default its qualified name.
        retry: When a failed attempt is tried again; default one attempt.
        timeout: Bound of one attempt, seconds or timedelta. A sync attempt that runs longer is abandoned,
            an async one cancelled.
        record_args: False keeps the arguments out of the log; they are then not compared on replay either.

    Raises:
        DuplicateNameError: another function is registered under this name.
        UsageError: not a function, a generator, a class method, or a name that is not usable.

    Cost: in a run, one commit per call. Outside a run, one context variable read.
    """

    def decorate(function: Callable[..., Any]) -> StepBase:
        check_function("step", function)
        own = check_name("step name", name or function.__qualname__)
        given = {"retry": retry, "timeout": timeout, "record_args": record_args}
        options = changed(StepOptions(name=own), f"step {own!r}", given)
        kind = AsyncStep if inspect.iscoroutinefunction(function) else Step
        definition = cast("StepBase", kind(function, options, None, None))
        register_step(definition)
        return definition

    return decorate if fn is None else decorate(fn)
