"""
The store contract as a test suite.

Owns: what every store must do, one statement per test. Must not know any store or test runner: plain classes with
`test_` methods and asserts that explain themselves. A store's author writes::

    class TestMyStore(DurableStoreConformance):
        def make_store(self) -> Store: ...          # empty, not open
        def reopen(self, store: Store) -> Store: ...  # the same database again, not open

The contract's words stand in `fluxo.store.protocol`; `MemoryStore` is the reference.
"""

from fluxo.testing.conformance.appending import AppendConformance
from fluxo.testing.conformance.creating import CreateConformance
from fluxo.testing.conformance.due import DueConformance
from fluxo.testing.conformance.durable import DurableConformance
from fluxo.testing.conformance.inbox import InboxConformance
from fluxo.testing.conformance.purging import PurgeConformance
from fluxo.testing.conformance.querying import QueryConformance
from fluxo.testing.conformance.waiting import WaitConformance
from fluxo.testing.conformance.workers import WorkerConformance

__all__ = ["DurableStoreConformance", "StoreConformance"]


class StoreConformance(
    CreateConformance,
    AppendConformance,
    DueConformance,
    WorkerConformance,
    InboxConformance,
    QueryConformance,
    PurgeConformance,
    WaitConformance,
):
    """What every store must do; subclasses give `make_store`."""


class DurableStoreConformance(StoreConformance, DurableConformance):
    """What a store that survives its process must do besides; subclasses give `reopen` too."""
