"""
Named places where an engine's process can be made to die.

Owns: the names, the plan that arms one of them, and the blow. Must not know runs: it counts calls of the engine's hook.
Theory: DESIGN §6. Each event has four boundaries, and a takeover is one more; a log is complete when a death at any of
them, and at one within the recovery from another, changes no result. Meant for child processes of a test: the plan may
come from the environment, so that the program under test need not be changed.
"""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter
from typing import Final

from fluxo.engine import Engine
from fluxo.errors import UsageError

__all__ = ["FAILPOINTS", "VARIABLE", "Failpoint", "arm"]

FAILPOINTS: Final = ("before_effect", "after_effect", "after_commit", "after_ack", "during_takeover")
"""Before and after a step's body; after an append is durable; after its owner knows; between claim and first event."""

VARIABLE: Final = "FLUXO_FAILPOINT"


class Failpoint:
    """
    Strikes this process at the n-th hit of one place; counts the hits of all.

    Args:
        plan: ``name``, ``name:n`` or ``name:n:SIGNAL``; n counts from 1, the signal is SIGKILL unless another is named
            (SIGSTOP makes a process that outlives its lease). Empty: only count.

    Raises:
        UsageError: not such a plan.
    """

    def __init__(self, plan: str = "") -> None:
        name, _, rest = plan.partition(":")
        nth, _, blow = rest.partition(":")
        if plan and (name not in FAILPOINTS or not (nth or "1").isdecimal() or nth == "0"):
            raise UsageError(
                f"failpoint plan {plan!r} is not usable: name:n:SIGNAL, with a name of {', '.join(FAILPOINTS)}"
            )
        try:
            self.signal = signal.Signals[blow or "SIGKILL"]
        except KeyError:
            raise UsageError(f"failpoint plan {plan!r} names no signal of this system: {blow}") from None
        self.name = name
        self.nth = int(nth or "1")
        self.hits: Counter[str] = Counter()
        self._lock = threading.Lock()

    def __call__(self, name: str) -> None:
        with self._lock:
            self.hits[name] += 1
            due = name == self.name and self.hits[name] == self.nth
        if due:
            # Sent to this thread, it takes effect before the call returns: not one line more is executed.
            signal.pthread_kill(threading.get_ident(), self.signal)


def arm(engine: Engine, plan: str | None = None) -> Failpoint:
    """
    Let `plan` (default: the environment's ``FLUXO_FAILPOINT``) strike this engine; the failpoint, with its counts.

    Raises:
        UsageError: the plan is not usable.
    """
    failpoint = Failpoint(os.environ.get(VARIABLE, "") if plan is None else plan)
    # The hook is the engine's, for tests alone; a public setter would invite more.
    engine._node.core.failpoint = failpoint  # pyright: ignore[reportPrivateUsage]
    return failpoint
