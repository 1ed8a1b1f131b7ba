"""
The memory store keeps the contract.

Owns: the suite's run over `MemoryStore`. Must not know the contract.
"""

from fluxo.stores import MemoryStore
from fluxo.testing import StoreConformance


class TestMemoryStore(StoreConformance):
    def make_store(self) -> MemoryStore:
        return MemoryStore()
