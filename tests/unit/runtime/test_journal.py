"""
The end of one run's log, as its owner writes it.

Owns: recorded time, and what each answer to an append means. Must not know who appends.
"""

from __future__ import annotations

import pytest

from fluxo.codec.event import chain
from fluxo.errors import FluxoInternalError, LeaseLostError
from fluxo.model.events import RunClaimed
from fluxo.runtime.journal import Journal
from fluxo.store import Committed, Conflict, RunQuery, Unknown
from tests.e2e.places import HandClock


def journal_at(clock: HandClock) -> Journal:
    return Journal("run", 7, 99, 3, 1234, clock.now_us(), clock)


def test_recorded_time_never_runs_backwards() -> None:
    clock = HandClock()
    journal = journal_at(clock)
    began_us = clock.now_us()
    clock.set_back(60)
    assert journal.at_us() == began_us
    clock.forward(61)
    assert journal.at_us() == began_us + 1_000_000
    clock.set_back(0.5)
    assert journal.at_us() == began_us + 1_000_000


def test_an_append_stands_at_the_end_until_it_is_answered() -> None:
    journal = journal_at(HandClock())
    append = journal.stage([RunClaimed(1, "worker", False), RunClaimed(2, "worker", False)])
    assert (append.key, append.prev_seq, append.prev_digest) == (7, 3, 1234)
    assert [row[0] for row in append.events] == [4, 5]
    assert append.events[0][2] == chain(1234, 99, append.events[0][3])
    assert journal.seq == 3
    with pytest.raises(FluxoInternalError, match="two appends in flight"):
        journal.stage([RunClaimed(3, "worker", False)])
    assert journal.settle(Unknown("lost")) is False
    assert journal.seq == 3
    assert journal.settle(Committed(7)) is True
    assert (journal.seq, journal.digest) == (5, append.events[1][2])


def test_a_slot_that_is_taken_ends_the_activation() -> None:
    journal = journal_at(HandClock())
    journal.stage_one(RunClaimed(1, "worker", False))
    with pytest.raises(LeaseLostError):
        journal.settle(Conflict())
    assert journal.lost


def test_an_answer_that_makes_no_sense_is_a_defect() -> None:
    journal = journal_at(HandClock())
    with pytest.raises(FluxoInternalError, match="without an append"):
        journal.settle(Committed(7))
    journal.stage_one(RunClaimed(1, "worker", False))
    with pytest.raises(FluxoInternalError, match="answer RunQuery"):
        journal.settle(RunQuery("default"))  # type: ignore[arg-type]
