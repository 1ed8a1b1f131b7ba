"""
Many steps at once: map, gather, wait_any, as_completed, for both colours.

Owns: windows of submitted steps and the order of their results. Must not know how a step is submitted or
waited for: that is the scope's. Completion order comes from the history, so all of it replays.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar, overload

from fluxo.authoring.context import active
from fluxo.errors import UsageError

if TYPE_CHECKING:
    from fluxo.authoring.future import Future
    from fluxo.authoring.step import StepBase

__all__ = ["as_completed", "async_as_completed", "async_map", "async_wait", "blocking_map", "gather", "wait_any"]

R = TypeVar("R")


def blocking_map(step: Any, iterables: tuple[Iterable[Any], ...], concurrency: int | None) -> list[Any]:
    """``step.map`` in a sync workflow or outside a run."""
    calls = _calls(step, iterables, concurrency)
    scope = active.get(None)
    if scope is None:
        if step.is_async:
            raise UsageError(f"{step.where}.map() outside a run: await {step.name}.aio.map(...) instead")
        return [step.invoke(args, {}) for args in calls]
    scope.about_to_block(f"{step.name}.aio.map(...)")
    futures: list[Future[Any]] = []
    open_: list[Future[Any]] = []
    for args in calls:
        if concurrency is not None and len(open_) >= concurrency:
            scope.wait_futures(open_, 1)
            open_ = [future for future in open_ if not future.done()]
        future = step.submit(*args)
        futures.append(future)
        open_.append(future)
    return gather(*futures)


async def async_map(step: Any, iterables: tuple[Iterable[Any], ...], concurrency: int | None) -> list[Any]:
    """``step.aio.map`` in an async workflow or outside a run."""
    calls = _calls(step, iterables, concurrency)
    scope = active.get(None)
    if scope is None:
        return [await step.aio(*args) for args in calls]
    futures: list[Future[Any]] = []
    open_: list[Future[Any]] = []
    for args in calls:
        if concurrency is not None and len(open_) >= concurrency:
            await scope.async_wait_futures(open_, 1)
            open_ = [future for future in open_ if not future.done()]
        future = step.submit(*args)
        futures.append(future)
        open_.append(future)
    return [await future for future in futures]


def _calls(step: StepBase, iterables: tuple[Iterable[Any], ...], concurrency: int | None) -> list[tuple[Any, ...]]:
    if not iterables:
        raise UsageError(f"{step.where}.map() needs at least one iterable")
    if concurrency is not None and concurrency < 1:
        raise UsageError(f"{step.where}.map(): concurrency must be at least 1")
    return list(zip(*iterables, strict=False))


@overload
def gather(*futures: Future[R]) -> list[R]: ...
@overload
def gather(*futures: Future[Any], return_exceptions: bool = False) -> list[Any]: ...
def gather(*futures: Future[Any], return_exceptions: bool = False) -> list[Any]:
    """
    Results of submitted steps, in the order given; waits for all it needs.

    Raises:
        The error of the first future (in the order given) that failed, unless `return_exceptions`.
    """
    if return_exceptions:
        return [future.exception() or future.result() for future in futures]
    return [future.result() for future in futures]


def wait_any(*futures: Future[R]) -> Future[R]:
    """The first of these futures that completes, by the history's order; the earliest argument if several are done."""
    if not futures:
        raise UsageError("wait_any() needs at least one future")
    scope = active.get(None)
    if scope is not None:
        scope.about_to_block("fluxo.aio.wait(...)")
        scope.wait_futures(list(futures), 1)
    return next(future for future in futures if future.done())


def as_completed(futures: Iterable[Future[R]]) -> Iterator[Future[R]]:
    """The futures in the order of their completion, which the history keeps."""
    rest = list(futures)
    while rest:
        first = wait_any(*rest)
        rest.remove(first)
        yield first


async def async_wait(futures: Iterable[Future[R]], count: int = 1) -> list[Future[R]]:
    """Wait until `count` of the futures are done; those that are, in the order given."""
    known = list(futures)
    scope = active.get(None)
    if scope is not None:
        await scope.async_wait_futures(known, min(count, len(known)))
    return [future for future in known if future.done()]


async def async_as_completed(futures: Iterable[Future[R]]) -> AsyncIterator[Future[R]]:
    """The futures in the order of their completion, which the history keeps."""
    rest = list(futures)
    while rest:
        first = (await async_wait(rest))[0]
        rest.remove(first)
        yield first
