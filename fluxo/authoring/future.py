"""
The handle of a submitted step.

Owns: `Future` and its finished form. Must not know threads or loops; the runtime derives its own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator
from typing import Any, Generic, TypeVar

__all__ = ["FinishedFuture", "Future"]

R = TypeVar("R")


class Future(ABC, Generic[R]):
    """
    A step that was submitted; `result()` waits for it in a sync workflow, `await` in an async one.

    Completion is part of the history: `done()` answers the same on replay.
    """

    __slots__ = ()

    @abstractmethod
    def result(self) -> R:
        """
        The step's result, or raise its error.

        Raises:
            UsageError: in an async workflow, unless done: await the future instead.
        """

    @abstractmethod
    def exception(self) -> BaseException | None:
        """The step's error, or None if it returned; waits as `result` does."""

    @abstractmethod
    def done(self) -> bool:
        """Whether the step's outcome has reached the workflow."""

    @abstractmethod
    def __await__(self) -> Generator[Any, Any, R]: ...


class FinishedFuture(Future[R]):
    """What `submit` returns outside a run: the call was made at once."""

    __slots__ = ("_error", "_value")

    def __init__(self, value: Any = None, error: BaseException | None = None) -> None:
        self._value = value
        self._error = error

    def result(self) -> R:
        if self._error is not None:
            raise self._error
        value: R = self._value
        return value

    def exception(self) -> BaseException | None:
        return self._error

    def done(self) -> bool:
        return True

    def __await__(self) -> Generator[Any, Any, R]:
        yield from ()
        return self.result()
