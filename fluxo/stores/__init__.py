"""
The shipped stores, and opening one by its URL.

Owns: nothing but the names. Must not know the engine. Importing this package loads no driver: a store's
module is imported when such a store is asked for.
"""

from fluxo.stores.memory import MemoryStore
from fluxo.stores.url import open_store

__all__ = ["MemoryStore", "open_store"]
