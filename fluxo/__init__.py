"""
fluxo: plain Python functions that survive crashes.

Decorate functions with effects with `step` and the function that calls them with `workflow`, hand the workflow to an
`Engine`, and every step's result is recorded once in a log; a crashed run resumes by replaying it.
Importing this package loads msgspec and the standard library only; the engine and its stores load on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fluxo import aio
from fluxo.authoring.context import RunContext
from fluxo.authoring.fan_out import as_completed, gather, wait_any
from fluxo.authoring.flow import (
    Signal,
    info,
    now,
    random,
    resource,
    shield,
    signal,
    sleep,
    sleep_until,
    uuid4,
    wait_any_signal,
    wait_signal,
)
from fluxo.authoring.future import Future
from fluxo.authoring.step import AsyncStep, Step, step
from fluxo.authoring.workflow import AsyncWorkflow, Workflow, workflow
from fluxo.errors import (
    Cancelled,
    CodecError,
    ConfigurationError,
    ConflictError,
    DecodeError,
    DuplicateNameError,
    EncodeError,
    FluxoError,
    FluxoInternalError,
    HistoryCorruptError,
    LeaseLostError,
    LimitExceededError,
    MissingExtraError,
    NonDeterminismError,
    ReplayError,
    ResultTimeoutError,
    RunBlockedError,
    RunCancelledError,
    RunError,
    RunExistsError,
    RunFailedError,
    RunNotFoundError,
    RunTimeoutError,
    SchemaVersionError,
    SignalTimeoutError,
    StepError,
    StepFailedError,
    StepTimeoutError,
    StoreError,
    StoreUnavailableError,
    Suspend,
    UnknownStepError,
    UnknownWorkflowError,
    UsageError,
)
from fluxo.model.info import EngineStats, Page, RunInfo
from fluxo.model.observer import Observer
from fluxo.model.retry import Retry
from fluxo.model.run import RunStatus

if TYPE_CHECKING:
    from fluxo.authoring.logger import logger
    from fluxo.engine import AsyncEngine, Engine, Handle
    from fluxo.stores.memory import MemoryStore
    from fluxo.stores.mongo import MongoStore
    from fluxo.stores.redis import RedisStore
    from fluxo.stores.sql import SqlStore

__version__ = "0.1.0"

_LAZY = {
    "AsyncEngine": "fluxo.engine",
    "Engine": "fluxo.engine",
    "Handle": "fluxo.engine",
    "MemoryStore": "fluxo.stores.memory",
    "MongoStore": "fluxo.stores.mongo",
    "RedisStore": "fluxo.stores.redis",
    "SqlStore": "fluxo.stores.sql",
    "logger": "fluxo.authoring.logger",
}

__all__ = [
    "AsyncEngine",
    "AsyncStep",
    "AsyncWorkflow",
    "Cancelled",
    "CodecError",
    "ConfigurationError",
    "ConflictError",
    "DecodeError",
    "DuplicateNameError",
    "EncodeError",
    "Engine",
    "EngineStats",
    "FluxoError",
    "FluxoInternalError",
    "Future",
    "Handle",
    "HistoryCorruptError",
    "LeaseLostError",
    "LimitExceededError",
    "MemoryStore",
    "MissingExtraError",
    "MongoStore",
    "NonDeterminismError",
    "Observer",
    "Page",
    "RedisStore",
    "ReplayError",
    "ResultTimeoutError",
    "Retry",
    "RunBlockedError",
    "RunCancelledError",
    "RunContext",
    "RunError",
    "RunExistsError",
    "RunFailedError",
    "RunInfo",
    "RunNotFoundError",
    "RunStatus",
    "RunTimeoutError",
    "SchemaVersionError",
    "Signal",
    "SignalTimeoutError",
    "SqlStore",
    "Step",
    "StepError",
    "StepFailedError",
    "StepTimeoutError",
    "StoreError",
    "StoreUnavailableError",
    "Suspend",
    "UnknownStepError",
    "UnknownWorkflowError",
    "UsageError",
    "Workflow",
    "aio",
    "as_completed",
    "gather",
    "info",
    "logger",
    "now",
    "random",
    "resource",
    "shield",
    "signal",
    "sleep",
    "sleep_until",
    "step",
    "uuid4",
    "wait_any",
    "wait_any_signal",
    "wait_signal",
    "workflow",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        import importlib

        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'fluxo' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
