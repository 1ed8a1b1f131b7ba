"""
A history is verified before anything is believed of it.

Owns: damage of every kind to rows, which events replay gets to see, and what a resume voids. Must not know workflows.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from fluxo import DecodeError, HistoryCorruptError
from fluxo.codec.event import chain, decode_event, encode_event
from fluxo.model.events import (
    SEMANTICS,
    CancelRequested,
    Event,
    RunBlocked,
    RunClaimed,
    RunCompleted,
    RunFailed,
    RunReopened,
    RunWaiting,
    SignalReceived,
    StepRetried,
)
from fluxo.model.failure import Failure
from fluxo.replay.history import History
from fluxo.store import EventRow
from tests.unit.replay.handmade import RUN_ID, completed, failed, fired, history_of, rows_of, started

FAILURE = Failure("builtins", "ValueError", "no")
ROWS = rows_of(started(), completed(0), completed(1, args=b'["x"]'), fired(2), RunCompleted(3_000, 3, b"1"))


def seen(history: History) -> list[int]:
    """Seqs of the events that replay looks at."""
    return list(history.seqs)


def claim(*, unclean: bool = False) -> RunClaimed:
    return RunClaimed(2_500, "worker", unclean)


def run_failed(cause_seq: int, cause_issued: int, handled: tuple[int, ...] = ()) -> RunFailed:
    return RunFailed(9_000, cause_issued, FAILURE, cause_seq, cause_issued, handled)


def signal(position: int, inbox_n: int) -> SignalReceived:
    return SignalReceived(2_000, "", position, position, "s", "old.py:1", b"|s", inbox_n, "s", f"key {inbox_n}", b"1")


class TestDamage:
    def test_an_intact_log_is_read(self) -> None:
        history = History(RUN_ID, ROWS)
        assert seen(history) == [2, 3, 4, 5]
        assert (history.tail_seq, history.tail_digest) == (5, ROWS[-1][2])
        assert history.started == started()
        assert isinstance(history.last, RunCompleted)

    def test_no_row_at_all_is_damage(self) -> None:
        with pytest.raises(HistoryCorruptError) as caught:
            History(RUN_ID, [])
        assert caught.value.seq == 1

    @pytest.mark.parametrize("missing", range(1, len(ROWS)))
    def test_a_missing_row_is_named_by_its_seq(self, missing: int) -> None:
        with pytest.raises(HistoryCorruptError) as caught:
            History(RUN_ID, [row for row in ROWS if row[0] != missing])
        assert caught.value.seq == missing
        assert caught.value.run_id == RUN_ID

    @pytest.mark.parametrize("first", range(1, len(ROWS)))
    def test_two_rows_that_changed_places_are_damage(self, first: int) -> None:
        rows = list(ROWS)
        rows[first - 1], rows[first] = rows[first], rows[first - 1]
        with pytest.raises(HistoryCorruptError) as caught:
            History(RUN_ID, rows)
        assert caught.value.seq == first

    @pytest.mark.parametrize("first", range(1, len(ROWS)))
    def test_two_bodies_that_changed_places_are_damage(self, first: int) -> None:
        rows = list(ROWS)
        one, other = rows[first - 1], rows[first]
        rows[first - 1], rows[first] = (*one[:3], other[3]), (*other[:3], one[3])
        with pytest.raises(HistoryCorruptError) as caught:
            History(RUN_ID, rows)
        assert caught.value.seq == first

    def test_a_repeated_row_is_damage(self) -> None:
        with pytest.raises(HistoryCorruptError) as caught:
            History(RUN_ID, [*ROWS[:2], *ROWS[1:]])
        assert caught.value.seq == 3

    def test_rows_of_another_activation_do_not_continue_a_log(self) -> None:
        others = rows_of(started(), completed(0), completed(1, args=b'["x"]'), fired(2), nonce=8)
        with pytest.raises(HistoryCorruptError) as caught:
            History(RUN_ID, [*ROWS[:2], *others[2:]])
        assert caught.value.seq == 3

    @given(st.data())
    def test_a_flipped_bit_anywhere_is_found_in_its_row(self, data: st.DataObject) -> None:
        index = data.draw(st.integers(0, len(ROWS) - 1), "row")
        column = data.draw(st.sampled_from(["seq", "nonce", "digest", "body"]), "column")
        with pytest.raises(HistoryCorruptError) as caught:
            History(RUN_ID, [*ROWS[:index], flipped(ROWS[index], column, data), *ROWS[index + 1 :]])
        assert caught.value.seq == index + 1

    def test_a_lost_end_is_a_shorter_log_and_shows_in_its_tail_only(self) -> None:
        history = History(RUN_ID, ROWS[:3])
        assert (history.tail_seq, history.tail_digest) == (3, ROWS[2][2])

    def test_a_log_that_does_not_begin_with_its_start_is_damage(self) -> None:
        with pytest.raises(HistoryCorruptError, match="RunStarted"):
            History(RUN_ID, rows_of(completed(0)))

    def test_rules_of_a_newer_fluxo_are_not_guessed(self) -> None:
        newer = replace(started(), semantics=SEMANTICS + 1)
        with pytest.raises(HistoryCorruptError, match="scheduling rules 2, this version of fluxo knows rules 1"):
            History(RUN_ID, rows_of(newer, completed(0)))

    def test_the_log_of_another_run_is_damage(self) -> None:
        with pytest.raises(HistoryCorruptError, match="RunStarted"):
            History("another run", ROWS)

    @pytest.mark.parametrize("body", [b"", b"\x01", b"\x02\x90", b"\x01\xc1", b"\x01\x92\x63\x00", b"\x01\x91\x04"])
    def test_an_event_that_is_none_is_damage_even_if_its_checksum_fits(self, body: bytes) -> None:
        digest = chain(ROWS[1][2], 7, body)
        with pytest.raises(HistoryCorruptError) as caught:
            History(RUN_ID, [*ROWS[:2], (3, 7, digest, body)])
        assert caught.value.seq == 3

    @given(st.binary(max_size=40))
    def test_any_bytes_in_place_of_the_last_event_are_an_event_or_damage(self, body: bytes) -> None:
        row = (3, 7, chain(ROWS[1][2], 7, body), body)
        try:
            event = decode_event(body)
        except DecodeError:
            with pytest.raises(HistoryCorruptError, match="at event 3"):
                History(RUN_ID, [*ROWS[:2], row])
        else:
            assert History(RUN_ID, [*ROWS[:2], row]).last == event


def flipped(row: EventRow, column: str, data: st.DataObject) -> EventRow:
    """The row with one bit of one column changed."""
    seq, nonce, digest, body = row
    if column == "body":
        bit = data.draw(st.integers(0, len(body) * 8 - 1), "bit")
        changed = bytearray(body)
        changed[bit // 8] ^= 1 << bit % 8
        return seq, nonce, digest, bytes(changed)
    bits = {"seq": 31, "nonce": 62, "digest": 31}[column]
    change = 1 << data.draw(st.integers(0, bits), "bit")
    if column == "seq":
        return seq ^ change, nonce, digest, body
    if column == "nonce":
        return seq, nonce ^ change, digest, body
    return seq, nonce, digest ^ change, body


class TestWhatReplaySees:
    def test_claims_are_between_owners_and_not_shown_to_the_workflow(self) -> None:
        assert seen(history_of(completed(0), claim(), claim(unclean=True), completed(1))) == [2, 5]

    def test_what_was_voided_and_the_voiding_are_not_shown(self) -> None:
        history = history_of(completed(0), RunBlocked(3_000, "why", "report", 2), RunReopened(4_000, (3,)), fired(1))
        assert seen(history) == [2, 5]
        assert history.reopened_at_us == 4_000

    def test_voiding_adds_up(self) -> None:
        events: list[Event] = [
            completed(0),
            failed(1),
            run_failed(3, 2),
            RunReopened(4_000, (3, 4)),
            failed(1),
            run_failed(6, 2),
            RunReopened(5_000, (6, 7)),
            completed(1),
        ]
        assert seen(history_of(*events)) == [2, 9]

    def test_a_run_that_was_never_resumed_counts_its_time_from_its_start(self) -> None:
        assert history_of(completed(0)).reopened_at_us == started().at_us

    def test_only_unclean_claims_at_the_very_end_count_as_a_crash_loop(self) -> None:
        assert history_of(claim(unclean=True), completed(0)).unclean_claims == 0
        assert history_of(claim(unclean=True), claim(), claim(unclean=True)).unclean_claims == 1
        assert history_of(completed(0), *[claim(unclean=True)] * 3).unclean_claims == 3


class TestWhatAResumeVoids:
    def test_of_a_blocked_run_only_the_blocking(self) -> None:
        history = history_of(completed(0), RunBlocked(3_000, "nondeterminism", "report", 2))
        assert history.voided_by_resume() == (3,)

    def test_of_a_run_that_goes_on_nothing(self) -> None:
        assert history_of(completed(0)).voided_by_resume() == ()

    def test_of_a_failed_run_its_end_and_the_step_that_failed(self) -> None:
        assert history_of(completed(0), failed(1), run_failed(3, 2)).voided_by_resume() == (3, 4)

    def test_a_run_that_failed_by_itself_keeps_every_step(self) -> None:
        assert history_of(completed(0), completed(1), run_failed(0, 0)).voided_by_resume() == (4,)

    def test_siblings_issued_before_the_error_was_seen_are_kept_wherever_they_stand(self) -> None:
        events: list[Event] = [completed(0, scope="0", ordinal=0), failed(0, scope="1", ordinal=1)]
        events += [completed(0, scope="2", ordinal=2), completed(0, scope="3", ordinal=3)]
        assert history_of(*events, run_failed(3, 4)).voided_by_resume() == (3, 6)

    def test_failures_that_the_workflow_had_not_met_are_voided_with_the_cause(self) -> None:
        """Nothing came of them; kept, they would fail the resumed run one after the other."""
        events: list[Event] = [failed(0), completed(1), failed(2), failed(3)]
        assert history_of(*events, run_failed(4, 4)).voided_by_resume() == (2, 4, 5, 6)

    def test_failures_that_the_workflow_had_handled_are_kept(self) -> None:
        events: list[Event] = [failed(0), completed(1), failed(2)]
        assert history_of(*events, run_failed(4, 3, handled=(2,))).voided_by_resume() == (4, 5)

    def test_of_a_run_that_failed_by_itself_no_failure_is_voided(self) -> None:
        assert history_of(failed(0), run_failed(0, 0)).voided_by_resume() == (3,)

    def test_what_the_handler_of_the_error_did_is_voided(self) -> None:
        events: list[Event] = [failed(0), completed(1), signal(2, 1), fired(3)]
        assert history_of(*events, run_failed(2, 1)).voided_by_resume() == (2, 3, 4, 5, 6)

    def test_steps_that_were_issued_before_but_ended_after_the_handler_began_are_kept(self) -> None:
        events: list[Event] = [failed(0), completed(2, ordinal=2), completed(1, ordinal=1)]
        assert history_of(*events, run_failed(2, 2)).voided_by_resume() == (2, 3, 5)

    def test_earlier_attempts_of_the_failed_step_are_kept(self) -> None:
        retried = StepRetried(1_500, "", 0, 0, "a", "old.py:1", b"[]", 1, 1_600, FAILURE)
        assert history_of(retried, failed(0), run_failed(3, 1)).voided_by_resume() == (3, 4)

    def test_waits_recorded_after_the_error_are_voided_since_they_may_no_longer_exist(self) -> None:
        before, after = RunWaiting(1_100, 1, ()), RunWaiting(2_100, 1, ())
        assert history_of(before, failed(0), after, run_failed(3, 1)).voided_by_resume() == (3, 4, 5)

    def test_of_a_run_that_ran_out_of_time_its_cancellation_and_the_cleanup(self) -> None:
        events: list[Event] = [completed(0), CancelRequested(2_000, 0, "timeout"), completed(2)]
        assert history_of(*events, run_failed(3, 2)).voided_by_resume() == (3, 4, 5)

    def test_a_timeout_that_the_workflow_survived_is_kept_when_a_step_fails_later(self) -> None:
        events: list[Event] = [CancelRequested(2_000, 0, "timeout"), completed(1), failed(2)]
        assert history_of(*events, run_failed(4, 3)).voided_by_resume() == (4, 5)

    def test_a_request_to_cancel_is_kept(self) -> None:
        events: list[Event] = [completed(0), CancelRequested(2_000, 1, "requested"), failed(1)]
        assert history_of(*events, run_failed(4, 2)).voided_by_resume() == (4, 5)

    def test_nothing_is_voided_twice(self) -> None:
        events: list[Event] = [failed(0), run_failed(2, 1), RunReopened(4_000, (2, 3)), failed(0)]
        assert history_of(*events, run_failed(5, 1)).voided_by_resume() == (5, 6)


def test_an_event_survives_its_encoding() -> None:
    for row in ROWS:
        assert encode_event(decode_event(row[3])) == row[3]
