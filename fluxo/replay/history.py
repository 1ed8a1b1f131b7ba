"""
A run's events, verified and made ready for replay.

Owns: the check of the chain, what `resume` voided, and which events replay looks at. Must not know where
the rows came from. Bodies stay encoded until they are delivered: a replay holds one object per event.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from itertools import takewhile
from zlib import crc32

from fluxo.codec.event import decode_event, fold, tag_of, verify
from fluxo.errors import DecodeError, HistoryCorruptError
from fluxo.model.events import SEMANTICS, Event, RunBlocked, RunClaimed, RunFailed, RunReopened, RunStarted, StepFailed

__all__ = ["History"]

_CLAIMED = 2
_BLOCKED = 14
_REOPENED = 15
_FIRST_CLAIM = 2


class History:
    """
    The verified log of one run.

    Attributes:
        started: Event 1.
        bodies, seqs: The events to deliver, still encoded, with their seq; without event 1, claims,
            what was voided, and the voiding.
        tail_seq, tail_digest: The last event of the log.
        began_at_us: When its code first ran: later than it was started if it stood in line for a worker.
        reopened_at_us: When the run was started or last resumed; its own timeout counts from here.
        unclean_claims: Unclean claims at the log's end with nothing done in between.
        last: The last event, decoded.
    """

    __slots__ = (
        "began_at_us",
        "bodies",
        "last",
        "reopened_at_us",
        "run_id",
        "seqs",
        "started",
        "tail_digest",
        "tail_seq",
        "unclean_claims",
    )

    def __init__(self, run_id: str, rows: Iterable[tuple[int, int, int, bytes]]) -> None:
        """
        Verify and sort the rows of a whole log.

        Raises:
            HistoryCorruptError: a missing, damaged or unreadable row, no event 1, or rules of a newer fluxo.
        """
        self.run_id = run_id
        seq, digest = 0, 0
        bodies: list[bytes] = []
        special: list[int] = []
        nonce = folded = 0
        for row in rows:
            seq += 1
            found, row_nonce, row_digest, body = row
            if row_nonce != nonce:
                nonce, folded = row_nonce, fold(row_nonce)
            # The rules of `verify` and `tag_of`, spelled out: this loop runs once per event of every replay.
            if found != seq or crc32(body, digest ^ folded) != row_digest:
                verify(run_id, seq, digest, row)
            digest = row_digest
            bodies.append(body)
            tag = body[2] if len(body) > 2 else 0
            if tag == _CLAIMED or tag >= _BLOCKED:
                special.append(seq)
        if not bodies:
            raise HistoryCorruptError(run_id, 1, "the log is empty")
        self.tail_seq, self.tail_digest = seq, digest
        started = self._decode(1, bodies[0])
        if not isinstance(started, RunStarted) or started.run_id != run_id:
            raise HistoryCorruptError(run_id, 1, "the log does not begin with this run's RunStarted event")
        if started.semantics != SEMANTICS:
            rules = f"it follows scheduling rules {started.semantics}, this version of fluxo knows rules {SEMANTICS}"
            raise HistoryCorruptError(run_id, 1, rules)
        self.started = started
        self.last = self._decode(seq, bodies[-1])
        self.unclean_claims = self._trailing_claims(bodies)
        self.reopened_at_us = self.began_at_us = started.at_us
        hidden = {1} | self._hidden(special, bodies)
        self.seqs = array("L", (n for n in range(1, seq + 1) if n not in hidden))
        if len(hidden) == 1:
            del bodies[0]
            self.bodies = bodies
        else:
            self.bodies = [bodies[n - 1] for n in self.seqs]

    @classmethod
    def begun(cls, started: RunStarted, row: tuple[int, int, int, bytes]) -> History:
        """The log of a run that was just created with this one row."""
        history = cls.__new__(cls)
        history.run_id = started.run_id
        history.started = history.last = started
        history.reopened_at_us = history.began_at_us = started.at_us
        history.tail_seq, history.tail_digest = 1, row[2]
        history.unclean_claims = 0
        history.bodies, history.seqs = [], array("L")
        return history

    def _decode(self, seq: int, body: bytes) -> Event:
        try:
            return decode_event(body)
        except DecodeError as error:
            raise HistoryCorruptError(self.run_id, seq, str(error)) from error

    def _hidden(self, special: list[int], bodies: list[bytes]) -> set[int]:
        hidden: set[int] = set()
        for seq in special:
            event = self._decode(seq, bodies[seq - 1])
            if isinstance(event, RunReopened):
                hidden.update(event.voided)
                hidden.add(seq)
                self.reopened_at_us = event.at_us
            elif isinstance(event, RunClaimed):
                if seq == _FIRST_CLAIM and not event.unclean:
                    self.began_at_us = event.at_us
                hidden.add(seq)
        return hidden

    def _trailing_claims(self, bodies: list[bytes]) -> int:
        def is_unclean_claim(seq: int) -> bool:
            body = bodies[seq - 1]
            event = self._decode(seq, body) if tag_of(body) == _CLAIMED else None
            return isinstance(event, RunClaimed) and event.unclean

        return sum(1 for _ in takewhile(is_unclean_claim, range(len(bodies), 0, -1)))

    def voided_by_resume(self) -> tuple[int, ...]:
        """
        The events a `resume` of this failed or blocked run must void.

        The terminal event; what caused it, a failed step or the end of the run's own time; what was issued only
        because that was delivered; and failures that the workflow had not met by then, of which nothing came.
        Results of steps issued before stay, and so does any other cancellation.
        """
        if isinstance(self.last, RunBlocked):
            return (self.tail_seq,)
        if not isinstance(self.last, RunFailed):
            return ()
        failed = self.last
        voided = {self.tail_seq}
        for seq, body in zip(self.seqs, self.bodies, strict=True):
            event = self._decode(seq, body)
            # Bookkeeping without an ordinal (a park) describes waits that may no longer exist.
            after = seq > failed.cause_seq > 0 and getattr(event, "ordinal", failed.cause_issued) >= failed.cause_issued
            unmet = isinstance(event, StepFailed) and failed.cause_seq > 0 and seq not in failed.handled
            if after or unmet or seq == failed.cause_seq:
                voided.add(seq)
        return tuple(sorted(voided))
