"""
`explore`: `check_durable` over arguments that Hypothesis draws from the workflow's annotations.

Owns: strategies from annotations, and step outcomes drawn in place of step bodies. Must not know how a check is made.
Hypothesis is imported here only.
"""

from __future__ import annotations

import inspect
import itertools
import typing
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, Unpack

from hypothesis import given, settings
from hypothesis import strategies as st

import fluxo
from fluxo.authoring.registry import find_step
from fluxo.authoring.workflow import WorkflowBase
from fluxo.errors import UsageError
from fluxo.testing.durable import CheckOptions, check_durable

__all__ = ["explore"]

OUTCOMES: Final = 8
"""How many outcomes are drawn per generated step and example; later calls begin again with the first."""


def explore(
    workflow: WorkflowBase,
    /,
    strategies: Mapping[str, st.SearchStrategy[Any]] | None = None,
    *,
    generate: Collection[str] = (),
    errors: Sequence[type[Exception]] = (),
    examples: int | None = None,
    **options: Unpack[CheckOptions],
) -> None:
    """
    Check a workflow with arguments drawn from its annotations; a failing example is shrunk.

    Args:
        workflow: What to check.
        strategies: By parameter, in place of what its annotation says.
        generate: Names of steps whose outcomes are drawn from their return annotations; their bodies do not run.
        errors: What generated steps raise now and then.
        examples: How many to draw; what the Hypothesis profile says by default.
        options: As those of `check_durable.options`.

    Raises:
        DurabilityError: the smallest example that is not durable.
        UsageError: a parameter or a generated step has no annotation and no strategy.
    """
    arguments = st.fixed_dictionaries(_parameters(workflow, strategies or {}))
    outcomes = st.fixed_dictionaries({name: _outcomes(name, errors) for name in generate})

    def explored(arguments: dict[str, Any], outcomes: dict[str, list[Any]]) -> None:
        fakes: dict[str, Any] = {name: _Drawn(values) for name, values in outcomes.items()}
        fakes.update(options.get("fakes", {}))
        check = check_durable.options(**options).options(fakes=fakes)
        check(typing.cast("Any", workflow), **arguments)

    chosen = {"deadline": None} if examples is None else {"deadline": None, "max_examples": examples}
    settings(**typing.cast("Any", chosen))(given(arguments, outcomes)(explored))()


class _Drawn:
    """A step's outcomes: each call keeps its own, over attempts, crashes and trials."""

    def __init__(self, values: Sequence[Any]) -> None:
        self._values = itertools.cycle(values)
        self._known: dict[tuple[str, int], Any] = {}

    def __repr__(self) -> str:
        return f"<outcomes {list(self._known.values())!r}>"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        info = fluxo.info()
        call = info.idempotency_key, info.attempt
        if call not in self._known:
            self._known[call] = next(self._values)
        return self._known[call]


def _parameters(
    workflow: WorkflowBase, strategies: Mapping[str, st.SearchStrategy[Any]]
) -> dict[str, st.SearchStrategy[Any]]:
    fn = workflow.fn
    hints = typing.get_type_hints(fn, include_extras=True)
    parameters = list(inspect.signature(fn).parameters.values())
    if workflow.bound is not None:
        del parameters[0]
    unknown = set(strategies) - {parameter.name for parameter in parameters}
    if unknown:
        raise UsageError(f"{workflow.where} has no parameter {', '.join(sorted(unknown))}")
    chosen: dict[str, st.SearchStrategy[Any]] = {}
    for parameter in parameters:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        if parameter.kind is parameter.POSITIONAL_ONLY:
            raise UsageError(
                f"{workflow.where} has the positional-only parameter {parameter.name!r}: explore gives names"
            )
        if parameter.name in strategies:
            chosen[parameter.name] = strategies[parameter.name]
        elif parameter.name in hints:
            chosen[parameter.name] = st.from_type(hints[parameter.name])
        elif parameter.default is parameter.empty:
            raise UsageError(
                f"parameter {parameter.name!r} of {workflow.where} has no annotation: add one, or say what to draw "
                f"with explore(..., {{{parameter.name!r}: strategy}})"
            )
    return chosen


def _outcomes(name: str, errors: Sequence[type[Exception]]) -> st.SearchStrategy[list[Any]]:
    step = find_step(name)
    if step is None:
        raise UsageError(f"there is no step {name!r} to generate: a step's name is its function's qualified name")
    hints = typing.get_type_hints(step.fn, include_extras=True)
    if "return" not in hints:
        raise UsageError(f"{step.where} has no return annotation to generate outcomes from: add one, or fake the step")
    promised = hints["return"]
    outcome: st.SearchStrategy[Any] = st.none() if promised is type(None) else st.from_type(promised)
    if errors:
        outcome = st.one_of(outcome, st.sampled_from(list(errors)).map(lambda error: error("drawn by explore")))
    return st.lists(outcome, min_size=OUTCOMES, max_size=OUTCOMES)
