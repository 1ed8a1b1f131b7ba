"""
The machine numbers commands, matches events to them and finds every difference.

Owns: numbering, both ways to answer a step, late events, both ways of comparing waits, workflow time, causes.
Must not know drivers: a test issues commands and delivers events by hand.
"""

from __future__ import annotations

import pytest

from fluxo import HistoryCorruptError, Suspend
from fluxo.codec.event import chain
from fluxo.model.events import (
    CancelRequested,
    Event,
    RunClaimed,
    RunWaiting,
    SignalReceived,
    StepRetried,
)
from fluxo.model.failure import Failure
from fluxo.replay.command import CommandScope
from fluxo.replay.history import History
from fluxo.replay.machine import NO_CAUSE, Cause, Machine
from tests.unit.replay.handmade import (
    ARGS,
    RUN_ID,
    completed,
    deliver_all,
    divergence,
    failed,
    fired,
    issue_step,
    machine_of,
    rows_of,
    started,
)


class TestNumbering:
    def test_positions_count_within_a_strand_and_ordinals_within_the_run(self) -> None:
        machine = machine_of()
        left, right = machine.root.child(), machine.root.child()
        strands = [machine.root, left, right, left, machine.root]
        commands = [issue_step(machine, scope=strand) for strand in strands]
        assert [(c.scope, c.position, c.ordinal) for c in commands] == [
            ("", 0, 0),
            ("0", 0, 1),
            ("1", 0, 2),
            ("0", 1, 3),
            ("", 1, 4),
        ]

    def test_a_strand_is_named_by_its_place_under_its_parent(self) -> None:
        root = CommandScope("")
        first, second = root.child(), root.child()
        assert [first.path, second.path] == ["0", "1"]
        assert [second.child().path, second.child().path, first.child().child().path] == ["1.0", "1.1", "0.0.0"]

    def test_a_step_answered_from_the_history_takes_the_same_numbers_as_one_that_was_issued(self) -> None:
        fast, slow = machine_of(completed(0), completed(1)), machine_of(completed(0), completed(1))
        assert fast.recorded(fast.root, "a", ARGS) == completed(0)
        issue_step(slow)
        slow.deliver_next()
        assert (fast.root.position, fast.issued) == (slow.root.position, slow.issued) == (1, 1)
        assert issue_step(fast).ordinal == issue_step(slow).ordinal == 1


class TestTheShortWay:
    """A step whose outcome is the very next event needs no command."""

    def test_it_answers_only_the_exact_step(self) -> None:
        assert machine_of(completed(0)).recorded(CommandScope(""), "a", ARGS) == completed(0)

    @pytest.mark.parametrize(
        "event, name, args",
        [
            pytest.param(completed(0), "b", ARGS, id="another name"),
            pytest.param(completed(0), "a", b"[1]", id="other arguments"),
            pytest.param(completed(0), "a", None, id="arguments no longer recorded"),
            pytest.param(completed(1), "a", ARGS, id="another position"),
            pytest.param(completed(0, scope="0"), "a", ARGS, id="another strand"),
            pytest.param(completed(0, ordinal=1), "a", ARGS, id="another ordinal"),
            pytest.param(failed(0), "a", ARGS, id="a failure"),
            pytest.param(fired(0), "a", ARGS, id="a timer"),
            pytest.param(RunWaiting(2_000, 0, ()), "a", ARGS, id="a park"),
        ],
    )
    def test_it_leaves_everything_else_to_the_long_way(self, event: Event, name: str, args: bytes | None) -> None:
        machine = machine_of(event)
        assert machine.recorded(machine.root, name, args) is None
        assert (machine.root.position, machine.issued) == (0, 0)
        assert machine.replaying

    def test_it_reads_a_damaged_event_as_damage(self) -> None:
        rows = rows_of(started(), completed(0))
        body = b"\x01\x91\x04"
        damaged = (2, 7, chain(rows[0][2], 7, body), body)
        after = rows_of(started(), completed(0), completed(1))[2]
        after = (3, 7, chain(damaged[2], 7, after[3]), after[3])
        machine = Machine(History(RUN_ID, [rows[0], damaged, after]))
        with pytest.raises(Suspend):
            machine.recorded(machine.root, "a", ARGS)
        assert isinstance(machine.blocked, HistoryCorruptError)
        assert machine.blocked.seq == 2


class TestDelivery:
    def test_events_complete_commands_in_the_order_of_the_log(self) -> None:
        machine = machine_of(completed(2), completed(0), completed(1))
        commands = [issue_step(machine) for _ in range(3)]
        order: list[int] = []
        for command in commands:
            command.wake = lambda position=command.position: order.append(position)
        deliver_all(machine)
        assert order == [2, 0, 1]
        assert [command.seq for command in commands] == [3, 4, 2]

    def test_each_delivery_is_one_event(self) -> None:
        machine = machine_of(completed(0), completed(1))
        first, second = issue_step(machine), issue_step(machine)
        machine.deliver_next()
        assert first.event == completed(0)
        assert second.event is None
        assert machine.replaying

    def test_what_is_open_when_the_history_is_used_up_is_for_the_driver(self) -> None:
        machine = machine_of(completed(1))
        first, _ = issue_step(machine), issue_step(machine)
        assert machine.fresh == []
        machine.deliver_next()
        assert not machine.replaying
        assert [command for command in machine.fresh if command.event is None] == [first]

    def test_a_recorded_failed_attempt_keeps_its_count_and_its_time(self) -> None:
        failure = Failure("builtins", "ValueError", "no")
        machine = machine_of(StepRetried(2_000, "", 0, 0, "a", "old.py:1", ARGS, 2, 9_000, failure))
        command = issue_step(machine)
        machine.deliver_next()
        assert (command.attempt, command.retry_at_us, command.event) == (2, 9_000, None)

    def test_claims_and_other_bookkeeping_are_not_delivered(self) -> None:
        machine = machine_of(RunClaimed(1_500, "worker", False), completed(0))
        command = issue_step(machine)
        machine.deliver_next()
        assert command.event == completed(0)

    def test_time_is_that_of_the_last_event_and_never_runs_backwards(self) -> None:
        machine = machine_of(completed(0, at_us=5_000), completed(1, at_us=4_000), completed(2, at_us=6_000))
        times = [machine.now_us]
        for _ in range(3):
            issue_step(machine)
            machine.deliver_next()
            times.append(machine.now_us)
        assert times == [1_000, 5_000, 5_000, 6_000]

    def test_time_is_the_same_on_the_short_way(self) -> None:
        machine = machine_of(completed(0, at_us=5_000), completed(1, at_us=4_000))
        machine.recorded(machine.root, "a", ARGS)
        machine.recorded(machine.root, "a", ARGS)
        assert machine.now_us == 5_000

    def test_a_cancellation_is_passed_on_where_it_stands(self) -> None:
        machine = machine_of(completed(0), CancelRequested(2_500, 3, "requested"))
        told: list[int] = []
        machine.on_cancel = lambda: told.append(machine.issued)
        issue_step(machine)
        issue_step(machine)
        machine.deliver_next()
        assert told == []
        machine.deliver_next()
        assert told == [2]
        assert machine.cancelled_at == Cause(3, 2, ())
        assert machine.taken == {3}

    def test_a_message_that_the_history_took_is_known_as_taken(self) -> None:
        machine = machine_of(SignalReceived(2_000, "", 0, 0, "s", "old.py:1", b"|s", 5, "s", "key", b"1"))
        machine.issue(machine.root, "signal", "s", "new.py:9", b"|s")
        machine.deliver_next()
        assert machine.taken == {5}


class TestAbandonedCommands:
    def test_the_late_event_of_a_command_that_was_given_up_is_dropped(self) -> None:
        machine = machine_of(completed(0), completed(1))
        first, second = issue_step(machine), issue_step(machine)
        machine.abandon(first)
        deliver_all(machine)
        assert first.event is None
        assert second.event == completed(1)
        assert machine.outstanding == {}

    def test_the_late_event_is_still_compared(self) -> None:
        machine = machine_of(completed(0))
        machine.abandon(issue_step(machine, "b"))
        assert "name: recorded 'a', produced 'b'" in divergence(machine.deliver_next).report

    def test_a_late_event_comes_once(self) -> None:
        machine = machine_of(completed(0), completed(0))
        machine.abandon(issue_step(machine))
        machine.deliver_next()
        assert divergence(machine.deliver_next).seq == 3

    def test_a_command_that_was_given_up_is_no_longer_waited_for(self) -> None:
        machine = machine_of()
        kept = issue_step(machine)
        machine.abandon(issue_step(machine))
        assert [(wait.scope, wait.position) for wait in machine.waits().waits] == [("", kept.position)]
        assert machine.waits().issued == 2

    def test_giving_up_what_is_over_changes_nothing(self) -> None:
        machine = machine_of(completed(0))
        command = issue_step(machine)
        machine.deliver_next()
        machine.abandon(command)
        assert machine.abandoned == {}


class TestCauses:
    """Which failed step a run's error came from: what resume runs again."""

    def test_the_error_itself(self) -> None:
        machine, error = machine_of(), ValueError("no")
        machine.raised(error, 5)
        assert machine.cause_of(error) == Cause(5, 0, ())

    def test_the_first_time_the_workflow_saw_it_counts(self) -> None:
        machine, error = machine_of(), ValueError("no")
        machine.raised(error, 5)
        issue_step(machine)
        machine.raised(error, 5)
        assert machine.cause_of(error) == Cause(5, 0, ())

    def test_failures_the_workflow_met_before_are_named_and_those_met_later_are_not(self) -> None:
        machine, first, second, third = machine_of(), ValueError("1"), ValueError("2"), ValueError("3")
        machine.raised(first, 7)
        machine.raised(second, 5)
        machine.raised(third, 6)
        assert machine.cause_of(second) == Cause(5, 0, (7,))

    def test_an_error_raised_from_it_or_while_handling_it(self) -> None:
        machine, error = machine_of(), ValueError("no")
        machine.raised(error, 5)
        outer, later = RuntimeError("outer"), RuntimeError("later")
        outer.__cause__ = error
        later.__context__ = outer
        assert machine.cause_of(later) == Cause(5, 0, ())

    def test_the_member_of_a_group_that_the_workflow_met_first(self) -> None:
        machine, first, second = machine_of(), ValueError("1"), ValueError("2")
        machine.raised(second, 6)
        machine.raised(first, 5)
        inner = ExceptionGroup("inner", [ValueError("own"), second])
        assert machine.cause_of(ExceptionGroup("both", [first, inner])) == Cause(6, 0, ())

    def test_an_error_of_the_workflows_own_has_no_cause(self) -> None:
        machine = machine_of()
        machine.raised(ValueError("handled"), 5)
        assert machine.cause_of(ValueError("no")) == NO_CAUSE

    def test_a_chain_that_bites_its_tail_ends(self) -> None:
        one, other = ValueError("1"), ValueError("2")
        one.__context__, other.__context__ = other, one
        assert machine_of().cause_of(one) == NO_CAUSE
