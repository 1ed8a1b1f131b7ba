"""
The engine: starts, finds, claims and ends runs, and the handles to them.

Owns: `Engine`, its awaitable mirror, `Handle`, the worker loop and liveness. Must not know how a run is advanced
(`fluxo.runtime`) or which store is behind the contract.
"""

from fluxo.engine.aio import AsyncEngine
from fluxo.engine.engine import Engine
from fluxo.engine.handle import Handle

__all__ = ["AsyncEngine", "Engine", "Handle"]
