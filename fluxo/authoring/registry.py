"""
Names to functions, process-wide.

Owns: the rule who may take a name. Must not know engines. The same source decorated again (a reload, a
notebook cell, ``python -m``) replaces silently; anything else under a taken (name, version) is refused.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fluxo.errors import DuplicateNameError

if TYPE_CHECKING:
    from fluxo.authoring.step import StepBase
    from fluxo.authoring.workflow import WorkflowBase

__all__ = ["find_step", "find_workflow", "register_step", "register_workflow", "workflows"]

_workflows: dict[tuple[str, str], WorkflowBase] = {}
_steps: dict[str, StepBase] = {}


def register_workflow(definition: WorkflowBase) -> None:
    """
    Make the workflow findable by (name, version).

    Raises:
        DuplicateNameError: another function holds it.
    """
    key = (definition.options_.name, definition.options_.version)
    _check("workflow", key[0], key[1], _workflows.get(key), definition)
    _workflows[key] = definition


def register_step(definition: StepBase) -> None:
    """
    Reserve the step's name.

    Raises:
        DuplicateNameError: another function holds it.
    """
    name = definition.options_.name
    _check("step", name, "1", _steps.get(name), definition)
    _steps[name] = definition


def find_workflow(name: str, version: str) -> WorkflowBase | None:
    """The workflow registered under (name, version), or None."""
    return _workflows.get((name, version))


def find_step(name: str) -> StepBase | None:
    """The step registered under a name, or None; copies with another name are not registered."""
    return _steps.get(name)


def workflows() -> tuple[tuple[str, str], ...]:
    """All registered (name, version) pairs."""
    return tuple(_workflows)


def _check(kind: str, name: str, version: str, standing: Any, new: Any) -> None:
    if standing is not None and source_of(standing.fn) != source_of(new.fn):
        raise DuplicateNameError(kind, name, version, _place(standing.fn), _place(new.fn))


def source_of(fn: Callable[..., Any]) -> tuple[str, int, str]:
    """What makes two functions the same source: file, first line, qualified name; of what a decorator wraps."""
    fn = inspect.unwrap(fn)
    code = getattr(fn, "__code__", None)
    if code is None:
        return (getattr(fn, "__module__", "?"), 0, getattr(fn, "__qualname__", repr(type(fn))))
    return (code.co_filename, code.co_firstlineno, fn.__qualname__)


def _place(fn: Callable[..., Any]) -> str:
    file, line, qualname = source_of(fn)
    return f"{qualname} ({file}:{line})"
