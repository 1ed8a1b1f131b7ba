"""
Step bodies under test: the real ones or what stands in for them, and a list of all that ran.

Owns: fakes by name, and `Call`, one entry per attempt that was begun. Must not know schedules or verdicts.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fluxo.authoring.context import active
from fluxo.authoring.registry import find_step
from fluxo.authoring.step import StepBase
from fluxo.errors import UsageError

__all__ = ["Bodies", "Call"]

BeforeBody = Callable[["Call"], None]


@dataclass(slots=True)
class Call:
    """
    One attempt of a step whose body was begun.

    Attributes:
        key: The idempotency key: the same for all attempts of one step call, whoever makes them.
        name, attempt: Which step, and which attempt, from 1.
        args, kwargs: What it was called with.
        ended: It returned or raised; False when its process died under it.
        value, error: What it returned or raised.
    """

    key: str
    name: str
    attempt: int
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    ended: bool = False
    value: Any = None
    error: BaseException | None = None


class Bodies:
    """
    Runs step bodies, or their fakes, and lists the calls.

    Args:
        fakes: By step name: an exception (class) to raise, a function to call with the step's arguments, or a value to
            return; an exception that the function returns is raised, too. A fake is asked at every attempt;
            `fluxo.info().attempt` tells which.
        before, after: Called around each body, on its fiber: where a test lets a process die.

    Attributes:
        calls: All attempts that were begun, in order.

    Raises:
        UsageError: a fake for a step that does not exist.
    """

    def __init__(
        self, fakes: Mapping[str, Any], before: BeforeBody | None = None, after: BeforeBody | None = None
    ) -> None:
        self.calls: list[Call] = []
        self._fakes: dict[str, Any] = {}
        self._before = before
        self._after = after
        self._inside: set[int] = set()
        for name, fake in fakes.items():
            self.fake(name, fake)

    def fake(self, name: str, fake: Any) -> None:
        """
        From now on this stands in for the step's body.

        Raises:
            UsageError: there is no such step.
        """
        if find_step(name) is None:
            raise UsageError(f"there is no step {name!r} to fake: a step's name is its function's qualified name")
        self._fakes[name] = fake

    def stand_in(self, step: StepBase, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What the core calls in place of a step's body."""
        scope: Any = active.get(None)
        if id(scope) in self._inside:
            return self._body(step, args, kwargs)  # a step called by a step is a plain call
        info = scope.info()
        call = Call(info.idempotency_key, step.name, info.attempt, args, kwargs)
        self.calls.append(call)
        if step.is_async:
            return self._awaited(scope, call, step, args, kwargs)
        self._inside.add(id(scope))
        try:
            if self._before is not None:
                self._before(call)
            call.value = self._body(step, args, kwargs)
            call.ended = True
        except Exception as error:
            call.error, call.ended = error, True
            raise
        finally:
            self._inside.discard(id(scope))
            if call.ended and self._after is not None:
                self._after(call)
        return call.value

    async def _awaited(
        self, scope: Any, call: Call, step: StepBase, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        self._inside.add(id(scope))
        try:
            if self._before is not None:
                self._before(call)
            call.value = await self._body(step, args, kwargs)
            call.ended = True
        except Exception as error:
            call.error, call.ended = error, True
            raise
        finally:
            self._inside.discard(id(scope))
            if call.ended and self._after is not None:
                self._after(call)
        return call.value

    def _body(self, step: StepBase, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if step.name not in self._fakes:
            return step.invoke(args, kwargs)
        fake = self._fakes[step.name]
        return _faked_later(fake, args, kwargs) if step.is_async else _faked(fake, args, kwargs)


def _faked(fake: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    answer: Any = fake
    if callable(answer):
        is_error = isinstance(answer, type) and issubclass(answer, BaseException)
        answer = answer() if is_error else answer(*args, **kwargs)
    if isinstance(answer, BaseException):
        raise answer
    return answer


async def _faked_later(fake: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    value: Any = _faked(fake, args, kwargs)
    return await value if inspect.isawaitable(value) else value
