"""
One activation's pen: turns events into chained rows at the tail it knows.

Owns: seq, digest and nonce of the activation, recorded time, and what to do with each outcome of an
append. Must not know workflows. Theory: PROTOCOL rules 1–4 and 20.
"""

from __future__ import annotations

from collections.abc import Sequence

from fluxo.clock import Clock
from fluxo.codec.event import fold, link
from fluxo.errors import FluxoInternalError, LeaseLostError, LimitExceededError
from fluxo.limits import EVENTS_PER_RUN_MAX
from fluxo.model.events import Event
from fluxo.store import Append, Committed, Conflict, EventRow, Outcome, Projection, Unknown

__all__ = ["Journal"]


class Journal:
    """
    The end of one run's log, as its owner sees it.

    Attributes:
        seq, digest: The last durable event.
        last_at_us: Its recorded time; time in the log never runs backwards.
        lost: Another writer took the run over; nothing more may be appended.
    """

    __slots__ = ("_clock", "_folded", "_staged", "digest", "key", "last_at_us", "lost", "nonce", "run_id", "seq")

    def __init__(self, run_id: str, key: int, nonce: int, seq: int, digest: int, last_at_us: int, clock: Clock) -> None:
        self.run_id = run_id
        self.key = key
        self.nonce = nonce
        self._folded = fold(nonce)
        self.seq = seq
        self.digest = digest
        self.last_at_us = last_at_us
        self.lost = False
        self._clock = clock
        self._staged: Append | None = None

    def at_us(self) -> int:
        """The time to record on the next event."""
        now_us = self._clock.now_us()
        if now_us < self.last_at_us:
            return self.last_at_us
        self.last_at_us = now_us
        return now_us

    def stage(
        self, events: Sequence[Event], projection: Projection | None = None, consumed: tuple[tuple[int, int], ...] = ()
    ) -> Append:
        """
        The append that adds these events; exactly one may be in flight.

        Raises:
            LimitExceededError: the history would grow past EVENTS_PER_RUN_MAX.
        """
        if self._staged is not None:
            raise FluxoInternalError(f"two appends in flight for run {self.run_id!r}")
        seq, digest, nonce = self.seq, self.digest, self.nonce
        rows: list[EventRow] = []
        for event in events:
            seq += 1
            body, digest = link(event, digest, self._folded)
            rows.append((seq, nonce, digest, body))
        if seq > EVENTS_PER_RUN_MAX and projection is None:
            raise LimitExceededError(
                f"history of run {self.run_id!r}", seq, EVENTS_PER_RUN_MAX, "split the work over several runs"
            )
        self._staged = Append(self.key, self.seq, self.digest, rows, projection, consumed)
        return self._staged

    def stage_one(self, event: Event) -> Append:
        """`stage` for a single event with nothing beside it: the common case of a step."""
        if self._staged is not None or self.seq >= EVENTS_PER_RUN_MAX:
            return self.stage((event,))
        seq = self.seq
        body, digest = link(event, self.digest, self._folded)
        staged = self._staged = Append(self.key, seq, self.digest, [(seq + 1, self.nonce, digest, body)])
        return staged

    def settle(self, outcome: Outcome) -> bool:
        """
        Take in the answer to the staged append: True when it is durable, False when it must be sent again unchanged.

        Raises:
            LeaseLostError: the slot is someone else's; this activation is over.
        """
        staged = self._staged
        if staged is None:
            raise FluxoInternalError(f"an outcome without an append for run {self.run_id!r}")
        if isinstance(outcome, Committed):
            last = staged.events[-1]
            self.seq, self.digest = last[0], last[2]
            self._staged = None
            return True
        if isinstance(outcome, Unknown):
            return False
        if isinstance(outcome, Conflict):
            self.lost = True
            raise LeaseLostError(self.run_id)
        raise FluxoInternalError(f"answer {type(outcome).__name__} to an append of run {self.run_id!r}")
