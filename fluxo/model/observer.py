"""
What an observer of runs must offer.

Owns: the `Observer` protocol. Must not know any observer. Hooks are called for new facts only, never on
replay, after the fact is durable; an observer that raises never hurts a run.
"""

from __future__ import annotations

from typing import Protocol

from fluxo.model.failure import Failure

__all__ = ["Observer"]


class Observer(Protocol):
    """Called with plain facts; `at_us` is the recorded time of the fact, microseconds since the epoch."""

    def on_run_started(self, run_id: str, workflow: str, at_us: int) -> None: ...

    def on_run_resumed(self, run_id: str, workflow: str, at_us: int) -> None: ...

    def on_run_waiting(self, run_id: str, workflow: str, at_us: int) -> None: ...

    def on_run_completed(self, run_id: str, workflow: str, at_us: int) -> None: ...

    def on_run_failed(self, run_id: str, workflow: str, at_us: int, failure: Failure) -> None: ...

    def on_run_cancelled(self, run_id: str, workflow: str, at_us: int) -> None: ...

    def on_run_blocked(self, run_id: str, workflow: str, at_us: int, reason: str) -> None: ...

    def on_step_started(self, run_id: str, step: str, attempt: int) -> None: ...

    def on_step_completed(self, run_id: str, step: str, attempt: int, at_us: int) -> None: ...

    def on_step_failed(self, run_id: str, step: str, attempt: int, at_us: int, failure: Failure) -> None: ...

    def on_step_retried(self, run_id: str, step: str, attempt: int, at_us: int, failure: Failure) -> None: ...
