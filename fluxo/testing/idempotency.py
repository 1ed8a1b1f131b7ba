"""
`assert_effects_idempotent`: is a step's effect the same when its body runs twice under one idempotency key?

Owns: the one death that makes a body run twice, and the comparison. Must not know what the effect is. A step's body
runs at least once: a process that dies between the effect and its record is why it may run again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, cast

from fluxo.authoring.step import StepBase
from fluxo.authoring.workflow import Workflow, workflow
from fluxo.errors import RunFailedError
from fluxo.testing.environment import Environment
from fluxo.testing.errors import EffectsError

__all__ = ["assert_effects_idempotent"]

_NAME: Final = "assert_effects_idempotent"


def assert_effects_idempotent(
    step: StepBase,
    /,
    *args: Any,
    effects: Callable[[], Any],
    resources: Mapping[str, Any] | None = None,
    **kwargs: Any,
) -> None:
    """
    Execute a step, let its process die before the outcome is recorded, execute it again, and compare.

    Args:
        step: The step; its real body runs twice, with the same `fluxo.info().idempotency_key`.
        *args: Its arguments.
        **kwargs: Its arguments by name.
        effects: Returns what the effect left behind, in a form that ``==`` compares: rows, a balance, sent mail.
        resources: What the step gets from `fluxo.resource`.

    Raises:
        EffectsError: an AssertionError: the second execution changed what the first had left behind.
        RunFailedError: the step fails by itself.
    """
    after: list[Any] = []
    with Environment(resources=resources) as environment:
        environment.crash_at(f"after:{step.name}")
        environment.on_crash = lambda: after.append(effects())
        run = environment.start(_calling(step, args, kwargs))
        try:
            run.result()
        except RunFailedError as failed:
            if failed.__cause__ is not None:
                raise failed.__cause__ from None
            raise
        keys = {call.key for call in environment.calls(run.id, step.name)}
    after.append(effects())
    if after[0] != after[-1]:
        raise EffectsError(step.name, min(keys), after[0], after[-1])


def _calling(step: StepBase, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Workflow[[], Any]:
    """A workflow that does nothing else; of either colour, which makes no difference to who starts it."""
    call: Any = step

    @workflow(name=_NAME)
    def once() -> Any:
        return call(*args, **kwargs)

    @workflow(name=f"{_NAME}.aio")
    async def once_async() -> Any:
        return await call(*args, **kwargs)

    return cast("Workflow[[], Any]", once_async if step.is_async else once)
