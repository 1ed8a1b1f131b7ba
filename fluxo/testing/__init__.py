"""
What users and store authors test with.

Owns: the public names. Must not be imported by anything else of fluxo but the command line. Each part is loaded when
its name is asked for; none of them needs pytest, and only `explore` needs Hypothesis.
"""

from typing import TYPE_CHECKING, Any

from fluxo.errors import MissingExtraError

if TYPE_CHECKING:
    from fluxo.testing.conformance import DurableStoreConformance, StoreConformance
    from fluxo.testing.durable import Durability, check_durable
    from fluxo.testing.environment import Environment, EnvironmentRun, StepCalls
    from fluxo.testing.errors import (
        DurabilityError,
        EffectsError,
        ElsewhereWarning,
        HistoriesError,
        InvariantError,
        SimulationStuckError,
    )
    from fluxo.testing.exploring import explore
    from fluxo.testing.histories import record_history, replay_histories
    from fluxo.testing.idempotency import assert_effects_idempotent
    from fluxo.testing.trial import Sent

__all__ = [
    "Durability",
    "DurabilityError",
    "DurableStoreConformance",
    "EffectsError",
    "ElsewhereWarning",
    "Environment",
    "EnvironmentRun",
    "HistoriesError",
    "InvariantError",
    "Sent",
    "SimulationStuckError",
    "StepCalls",
    "StoreConformance",
    "assert_effects_idempotent",
    "check_durable",
    "explore",
    "record_history",
    "replay_histories",
]

_HOMES = {
    "conformance": ("DurableStoreConformance", "StoreConformance"),
    "durable": ("Durability", "check_durable"),
    "environment": ("Environment", "EnvironmentRun", "StepCalls"),
    "errors": (
        "DurabilityError",
        "EffectsError",
        "ElsewhereWarning",
        "HistoriesError",
        "InvariantError",
        "SimulationStuckError",
    ),
    "exploring": ("explore",),
    "histories": ("record_history", "replay_histories"),
    "idempotency": ("assert_effects_idempotent",),
    "trial": ("Sent",),
}


def __getattr__(name: str) -> Any:
    import importlib

    for module, names in _HOMES.items():
        if name in names:
            try:
                return getattr(importlib.import_module(f"{__name__}.{module}"), name)
            except ModuleNotFoundError as missing:
                if missing.name not in ("greenlet", "hypothesis"):
                    raise
                raise MissingExtraError(f"fluxo.testing.{name}", "testing") from missing
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
