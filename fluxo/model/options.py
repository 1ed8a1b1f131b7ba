"""
Options of steps and workflows, validated when they are given.

Owns: their names, types, units and bounds. Must not know functions or engines.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec

from fluxo.errors import UsageError
from fluxo.model.names import check_name
from fluxo.model.retry import NO_RETRY, Retry, seconds

__all__ = ["StepOptions", "WorkflowOptions", "changed"]


class StepOptions(msgspec.Struct, frozen=True):
    """`timeout_s` bounds one attempt; `record_args=False` keeps arguments out of the log and out of the comparison."""

    name: str
    retry: Retry = NO_RETRY
    timeout_s: float | None = None
    record_args: bool = True


class WorkflowOptions(msgspec.Struct, frozen=True):
    """`timeout_s` bounds the whole run; `id` is the run's id, random if None."""

    name: str
    version: str = "1"
    timeout_s: float | None = None
    queue: str = "default"
    id: str | None = None


def changed(options: Any, what: str, given: dict[str, Any]) -> Any:
    """
    A copy of `options` with the user's keywords applied and checked.

    Raises:
        UsageError: an unknown option, or a name that is not usable.
        ConfigurationError: a duration or retry that is not usable.
    """
    values: dict[str, Any] = {}
    for key, value in given.items():
        if key == "timeout":
            values["timeout_s"] = None if value is None else _timeout(what, value)
        elif key == "retry":
            if value is not None and not isinstance(value, Retry):
                raise UsageError(f"retry= of {what} must be a fluxo.Retry, not {type(value).__name__}")
            values["retry"] = NO_RETRY if value is None else value
        elif key == "record_args":
            values["record_args"] = bool(value)
        elif key in ("name", "version", "queue", "id"):
            values[key] = value if key == "id" and value is None else check_name(f"{key}= of {what}", value)
        else:
            raise UsageError(f"{what} has no option {key!r}")
    return msgspec.structs.replace(options, **values)


def _timeout(what: str, value: float | timedelta) -> float:
    timeout_s = seconds(f"timeout= of {what}", value)
    if timeout_s == 0:
        raise UsageError(f"timeout= of {what} must be more than zero")
    return timeout_s
