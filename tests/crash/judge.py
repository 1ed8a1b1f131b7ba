"""
The judge of a log after crashes.

Owns: the invariants (DESIGN §3, PROTOCOL rules 1–5, 15, 20), over what a witness reads. Shares no code with
the engine but the decoding of an event. `Judge` fails with the run and what is wrong with it.
"""

from __future__ import annotations

import zlib
from collections import Counter

from fluxo.codec.event import decode_event
from fluxo.model.events import (
    CommandEvent,
    Event,
    RunBlocked,
    RunCancelled,
    RunClaimed,
    RunCompleted,
    RunFailed,
    RunReopened,
    RunStarted,
    SignalReceived,
    StepCompleted,
    StepRetried,
)
from tests.crash.witness import Row, inbox, row, rows, run_ids
from tests.crash.world import World

__all__ = ["Judge", "judge", "log_of", "run_ids"]

ENDS = (RunCompleted, RunFailed, RunCancelled)


def log_of(world: World, run_id: str) -> list[Event]:
    """The verified events of one run."""
    return _verified(run_id, rows(world, run_id))


class Judge:
    """Holds finished runs against the invariants and against what the world saw up to now."""

    def __init__(self, world: World, outages: int = 0) -> None:
        self._world = world
        self._outages = outages
        self._effects = world.effects()
        self._seen = world.seen()

    def __call__(self, run_id: str) -> list[Event]:
        """
        Judge one run; its events.

        Each effect that a result stands for has happened, again at most once per takeover; every value its workflow was
        ever given is the recorded one. Which effects a crash may have repeated is the caller's business: only it knows
        where the crashes hit. `outages` of the store may each have cost an effect, too.
        """
        events = log_of(self._world, run_id)
        assert isinstance(events[-1], ENDS), f"{run_id} has not ended: {events[-1]}"
        assert sum(isinstance(event, ENDS) for event in events) == 1, f"{run_id} ended more than once"
        _judge_commands(run_id, events)
        _judge_inbox(self._world, run_id, events)
        takeovers = sum(isinstance(event, RunClaimed) and event.unclean for event in events)
        for event in events:
            # What a signal does is in another run's inbox.
            if isinstance(event, StepCompleted) and event.name != "fluxo.signal":
                times = self._effects[f"{run_id}/1/{event.scope or 'main'}/{event.position}"]
                assert times >= 1, f"{run_id}: {event.name} is recorded and never happened"
                # Whoever could not record a result for long enough let its run go, to be done again.
                most = 1 + takeovers + self._outages
                assert times <= most, f"{run_id}: {event.name} happened {times} times in {takeovers} takeovers"
        for label, values in self._seen[run_id].items():
            assert all(value == values[0] for value in values), f"{run_id}: {label} changed: {values}"
        owner, tail_seq = row(self._world, run_id)
        assert owner is None, f"{run_id} has ended and is owned"
        assert tail_seq == len(events), f"{run_id}: its row says {tail_seq} events, there are {len(events)}"
        return events


def judge(world: World, run_id: str) -> list[Event]:
    """Judge one run by what is known now; its events."""
    return Judge(world)(run_id)


def _verified(run_id: str, rows: list[Row]) -> list[Event]:
    """No gap, one chain, time never backwards, and nobody writes behind another's claim."""
    events: list[Event] = []
    digest = at_us = 0
    pen: int | None = None
    for number, (seq, nonce, found, body) in enumerate(rows, 1):
        assert seq == number, f"{run_id}: event {number} is missing, {seq} follows"
        digest = zlib.crc32(body, digest ^ (nonce & 0xFFFFFFFF) ^ (nonce >> 32))
        assert digest == found, f"{run_id}: the chain breaks at {seq}"
        event = decode_event(body)
        assert event.at_us >= at_us, f"{run_id}: time runs backwards at {seq}"
        at_us = event.at_us
        from_outside = isinstance(event, RunReopened | RunBlocked) or (isinstance(event, RunCancelled) and event.forced)
        if isinstance(event, RunStarted | RunClaimed):
            pen = nonce
        assert nonce == pen or from_outside, f"{run_id}: event {seq} was written by an owner that had been fenced"
        events.append(event)
    assert isinstance(events[0], RunStarted), f"{run_id} begins with {events[0]}"
    assert events[0].run_id == run_id
    return events


def _judge_commands(run_id: str, events: list[Event]) -> None:
    done = Counter(
        (event.scope, event.position)
        for event in events
        if isinstance(event, CommandEvent) and not isinstance(event, StepRetried)
    )
    assert not done or max(done.values()) == 1, f"{run_id}: a command was completed twice: {done}"
    end = events[-1]
    if isinstance(end, RunCompleted):
        assert len(done) == end.issued, f"{run_id}: {end.issued} commands issued, {len(done)} completed"


def _judge_inbox(world: World, run_id: str, events: list[Event]) -> None:
    taken = [event.inbox_n for event in events if isinstance(event, SignalReceived)]
    assert len(taken) == len(set(taken)), f"{run_id}: a signal was consumed twice: {taken}"
    delivered, unread = inbox(world, run_id)
    assert set(taken) <= set(range(1, delivered + 1)), f"{run_id}: consumed {taken} of {delivered} messages"
    assert not unread & set(taken), f"{run_id}: the log consumed {taken}, the inbox still holds {unread}"
