"""
The machine finds every difference between what is recorded and what the code asks for, and says what it is.

Owns: the comparison of commands, of waits and of the end, and the wording of the report. Must not know drivers.
"""

from __future__ import annotations

import pytest

from fluxo import HistoryCorruptError, NonDeterminismError
from fluxo.codec.event import chain
from fluxo.model.events import (
    Event,
    RunCompleted,
    RunWaiting,
    SignalTimedOut,
    Wait,
)
from fluxo.replay.history import History
from fluxo.replay.machine import Machine
from tests.unit.replay.handmade import (
    ARGS,
    RUN_ID,
    completed,
    divergence,
    fired,
    issue_step,
    machine_of,
    rows_of,
    started,
)


class TestDifferences:
    @pytest.mark.parametrize(
        "kind, name, args, difference",
        [
            ("timer", "a", ARGS, "kind: recorded step, produced timer"),
            ("step", "b", ARGS, "name: recorded 'a', produced 'b'"),
            ("step", "a", b"[1]", "arguments, from byte 1: recorded ']', produced '1]'"),
        ],
    )
    def test_the_first_difference_is_named(self, kind: str, name: str, args: bytes, difference: str) -> None:
        machine = machine_of(completed(0))
        machine.issue(machine.root, kind, name, "new.py:9 in w", args)  # type: ignore[arg-type]
        error = divergence(machine.deliver_next)
        assert f"first difference: {difference}" in error.report
        assert error.seq == 2
        assert error.run_id == RUN_ID
        assert error.expected == "step 'a' at old.py:1 in w"
        assert error.actual == f"{kind} {name!r} at new.py:9 in w"

    def test_the_same_step_issued_at_another_place_of_the_run_is_a_difference(self) -> None:
        machine = machine_of(completed(0, scope="0", ordinal=0))
        issue_step(machine)
        issue_step(machine, scope=machine.root.child())
        error = divergence(machine.deliver_next)
        assert "recorded as command 0 of the run, produced as command 1" in error.report

    def test_arguments_are_not_compared_unless_both_were_recorded(self) -> None:
        for recorded, produced in [(None, b"[1]"), (b"[1]", None), (None, None)]:
            machine = machine_of(completed(0, args=recorded))
            command = issue_step(machine, args=produced)
            machine.deliver_next()
            assert command.event is not None

    def test_an_event_of_a_command_that_was_never_issued_is_a_difference(self) -> None:
        machine = machine_of(completed(3))
        issue_step(machine, "b")
        error = divergence(machine.deliver_next)
        assert "the code did not issue the recorded command" in error.report
        assert "main#3" in error.report
        assert error.actual == "step 'b' at new.py:9 in w"

    def test_long_arguments_are_cut_but_shown_where_they_part(self) -> None:
        recorded, produced = b'["' + b"x" * 5_000 + b'A"]', b'["' + b"x" * 5_000 + b'B"]'
        machine = machine_of(completed(0, args=recorded))
        issue_step(machine, args=produced)
        report = divergence(machine.deliver_next).report
        assert "from byte 5002: recorded 'A\"]', produced 'B\"]'" in report
        assert "5005 bytes" in report
        assert len(report) < 2_000

    def test_going_on_where_the_recorded_run_had_ended_is_a_difference(self) -> None:
        machine = machine_of(completed(0), RunCompleted(3_000, 1, b"1"))
        issue_step(machine)
        machine.deliver_next()
        issue_step(machine, "b")
        error = divergence(machine.deliver_next)
        assert "the recorded run had ended here" in error.report
        assert error.actual == "step 'b' at new.py:9 in w"


class TestWaits:
    """A park records what the run waits for: the only trace of commands without an outcome."""

    def park(self, *issued: tuple[str, str]) -> RunWaiting:
        machine = machine_of()
        for kind, name in issued:
            machine.issue(machine.root, kind, name, "old.py:1 in w", ARGS)  # type: ignore[arg-type]
        return machine.waits()

    def test_equal_waits_are_equal(self) -> None:
        machine = machine_of(self.park(("signal", "s"), ("timer", "sleep")))
        machine.issue(machine.root, "signal", "s", "new.py:9", ARGS)
        machine.issue(machine.root, "timer", "sleep", "new.py:9", ARGS)
        machine.deliver_next()
        assert len(machine.outstanding) == 2

    def test_a_recorded_wait_that_is_gone_is_a_difference(self) -> None:
        machine = machine_of(self.park(("signal", "s"), ("timer", "sleep")))
        machine.issue(machine.root, "signal", "s", "new.py:9", ARGS)
        error = divergence(machine.deliver_next)
        assert "the run no longer waits for this" in error.report
        assert error.expected == "timer 'sleep' at old.py:1 in w"

    def test_a_wait_that_was_not_recorded_is_a_difference(self) -> None:
        machine = machine_of(self.park(("signal", "s")))
        machine.issue(machine.root, "signal", "s", "new.py:9", ARGS)
        issue_step(machine, "extra")
        error = divergence(machine.deliver_next)
        assert "the recorded run did not wait for this" in error.report
        assert error.actual == "step 'extra' at new.py:9 in w"

    @pytest.mark.parametrize(
        "kind, name, args, difference",
        [
            ("step", "s", ARGS, "kind"),
            ("signal", "other", ARGS, "name"),
            ("signal", "s", b"[1]", "arguments"),
        ],
    )
    def test_a_changed_wait_is_a_difference(self, kind: str, name: str, args: bytes, difference: str) -> None:
        machine = machine_of(self.park(("signal", "s")))
        machine.issue(machine.root, kind, name, "new.py:9", args)  # type: ignore[arg-type]
        assert f"first difference: {difference}" in divergence(machine.deliver_next).report

    def test_a_wait_issued_at_another_place_of_the_run_is_a_difference(self) -> None:
        strands = machine_of()
        strands.issue(strands.root.child(), "signal", "s", "old.py:1", ARGS)
        machine = machine_of(strands.waits())
        machine.abandon(issue_step(machine))
        machine.issue(machine.root.child(), "signal", "s", "new.py:9", ARGS)
        assert "order: recorded as command 0" in divergence(machine.deliver_next).report

    def test_arguments_of_a_waiting_step_are_not_compared_unless_both_were_recorded(self) -> None:
        machine = machine_of(self.park(("step", "a")))
        issue_step(machine, args=None)
        machine.deliver_next()
        assert len(machine.outstanding) == 1

    def test_the_time_at_which_a_wait_is_due_is_not_compared(self) -> None:
        wait = Wait("", 0, 0, "timer", "sleep", "old.py:1", ARGS, 5_000)
        machine = machine_of(RunWaiting(2_000, 1, (wait,)))
        machine.issue(machine.root, "timer", "sleep", "new.py:9", ARGS).due_us = 6_000
        machine.deliver_next()
        assert len(machine.outstanding) == 1


class TestTheEnd:
    def end(self, machine: Machine) -> NonDeterminismError:
        return divergence(lambda: machine.end("returned", "new.py:5 in w"))

    def test_a_run_may_end_when_nothing_recorded_is_left(self) -> None:
        machine = machine_of(completed(0))
        machine.recorded(machine.root, "a", ARGS)
        machine.end("returned", "new.py:5 in w")
        assert not machine.replaying

    def test_late_events_of_commands_nobody_waited_for_may_be_left(self) -> None:
        machine = machine_of(completed(1), completed(0))
        machine.abandon(issue_step(machine))
        issue_step(machine)
        machine.end("returned", "new.py:5 in w")
        assert not machine.replaying

    def test_a_recorded_end_may_be_left(self) -> None:
        machine = machine_of(RunCompleted(3_000, 0, b"1"))
        machine.end("returned", "new.py:5 in w")
        assert machine.replaying

    @pytest.mark.parametrize(
        "left, expected",
        [
            (completed(0), "step 'a' at old.py:1 in w"),
            (fired(0), "timer 'sleep' at old.py:1 in w"),
            (SignalTimedOut(2_000, "", 0, 0, "s", "old.py:1", b"5|s"), "signal 's' at old.py:1"),
            (
                RunWaiting(2_000, 1, (Wait("", 0, 0, "signal", "s", "old.py:1", b"|s", None),)),
                "signal 's' at old.py:1",
            ),
        ],
        ids=lambda value: type(value).__name__,
    )
    def test_ending_before_what_is_recorded_is_a_difference(self, left: Event, expected: str) -> None:
        error = self.end(machine_of(left))
        assert "the workflow ended before this event" in error.report
        assert (error.seq, error.expected, error.actual) == (2, expected, "end 'returned' at new.py:5 in w")

    def test_a_late_event_that_differs_is_a_difference(self) -> None:
        machine = machine_of(completed(0))
        issue_step(machine, "b")
        assert self.end(machine).actual == "step 'b' at new.py:9 in w"

    def test_a_damaged_event_that_is_left_is_damage(self) -> None:
        rows = rows_of(started())
        for body in (b"\x01\x91\x04", rows_of(started(), completed(1))[1][3]):
            last = rows[-1]
            rows.append((last[0] + 1, 7, chain(last[2], 7, body), body))
        machine = Machine(History(RUN_ID, rows))
        with pytest.raises(HistoryCorruptError):
            machine.end("returned", "new.py:5 in w")
