"""
What users and store authors test with.

Owns: the public names. Must not be imported by anything else of fluxo. Each part is loaded when its name is asked
for; the store conformance suite needs neither pytest nor Hypothesis.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fluxo.testing.conformance import DurableStoreConformance, StoreConformance

__all__ = ["DurableStoreConformance", "StoreConformance"]

_HOMES = {
    "DurableStoreConformance": "fluxo.testing.conformance",
    "StoreConformance": "fluxo.testing.conformance",
}


def __getattr__(name: str) -> Any:
    import importlib

    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(home), name)


def __dir__() -> list[str]:
    return __all__
