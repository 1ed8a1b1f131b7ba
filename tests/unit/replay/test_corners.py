"""
Corners of the machine and its loop that ordinary workflows never reach.

Owns: what drivers rely on but do not meet by themselves. Must not know engines or stores.
"""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import AsyncGenerator

import pytest

from fluxo import HistoryCorruptError, Suspend
from fluxo.errors import FluxoInternalError
from fluxo.limits import SWALLOWED_SUSPENSIONS_MAX
from fluxo.model.events import CancelRequested, RunBlocked, RunClaimed
from fluxo.replay.machine import NO_CAUSE
from tests.unit.replay.handmade import completed, deliver_all, divergence, failed, issue_step, machine_of
from tests.unit.replay.test_loop import Driven


class TestMachine:
    def test_an_event_that_was_looked_at_once_is_not_read_again(self) -> None:
        machine = machine_of(completed(0))
        assert machine.recorded(machine.root, "another", b"[]") is None
        assert machine.recorded(machine.root, "a", b"[]") is not None

    def test_a_history_is_not_read_past_its_end(self) -> None:
        with pytest.raises(FluxoInternalError, match="past the end"):
            machine_of().deliver_next()

    def test_a_cancellation_before_anybody_listens_is_remembered(self) -> None:
        machine = machine_of(CancelRequested(2_000, 1, "user"))
        deliver_all(machine)
        assert machine.cancel is not None

    def test_an_ownership_event_of_a_live_run_changes_nothing(self) -> None:
        machine = machine_of()
        machine.apply(RunClaimed(2_000, "worker", unclean=False), 2)
        assert (machine.issued, machine.blocked) == (0, None)

    def test_the_end_of_a_recorded_run_that_goes_on_is_a_divergence(self) -> None:
        machine = machine_of(RunBlocked(2_000, "NonDeterminismError", "report", 1))
        assert "the recorded run had ended here" in str(divergence(machine.deliver_next))

    def test_the_first_reason_to_stop_stays(self) -> None:
        machine = machine_of()
        first, second = HistoryCorruptError("r", 1, "first"), HistoryCorruptError("r", 2, "second")
        assert isinstance(machine.stop(first), Suspend)
        assert isinstance(machine.stop(second), Suspend)
        assert machine.blocked is first

    def test_a_group_of_strangers_has_no_cause_in_the_log(self) -> None:
        assert machine_of().cause_of(ExceptionGroup("all", [ValueError("x")])) == NO_CAUSE

    def test_a_result_for_a_waiter_that_is_gone_is_dropped(self) -> None:
        loop = asyncio.new_event_loop()
        machine = machine_of(completed(0))
        command = issue_step(machine)
        command.waiter = loop.create_future()
        command.waiter.cancel()
        deliver_all(machine)
        loop.close()
        assert command.event is not None

    def test_a_difference_shows_that_arguments_were_not_recorded(self) -> None:
        machine = machine_of(failed(0, name="b"))
        issue_step(machine, args=None)
        assert "not recorded" in str(divergence(machine.deliver_next))


class TestLoop:
    def test_handles_tell_that_they_were_cancelled_and_tasks_keep_their_names(self) -> None:
        async def main() -> str:
            loop = asyncio.get_running_loop()
            handle = loop.call_soon(print)
            handle.cancel()
            assert handle.cancelled()
            assert (loop.is_running(), loop.is_closed(), loop.get_debug()) == (True, False, False)
            task = loop.create_task(asyncio.sleep(0), name="mine")
            await task
            return task.get_name()

        assert Driven(main()).run().result() == "mine"

    def test_a_generator_that_is_collected_while_the_loop_closes_is_let_go(self) -> None:
        async def numbers() -> AsyncGenerator[int, None]:
            yield 1

        async def main() -> None:
            stream = numbers()
            await anext(stream)
            await asyncio.sleep(5)

        driven = Driven(main())
        driven.run()
        driven.loop.discard()
        gc.collect()
        driven.loop.discard()
        assert driven.loop.tasks == []

    def test_finished_tasks_are_forgotten(self) -> None:
        async def main() -> None:
            for _ in range(200):
                await asyncio.create_task(asyncio.sleep(0))

        driven = Driven(main())
        driven.run()
        assert len(driven.loop.tasks) < 100

    def test_an_error_that_nobody_fetched_is_logged_unless_the_loop_is_closing(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        driven = Driven(asyncio.sleep(0))
        driven.run()
        with caplog.at_level(logging.ERROR, "fluxo.run"):
            driven.loop.call_exception_handler({"message": "lost", "exception": ValueError("x")})
            driven.loop.discard()
            driven.loop.call_exception_handler({"message": "late"})
        assert [record.getMessage() for record in caplog.records] == [f"run {driven.machine.run_id}: lost"]

    def test_whoever_swallows_a_refusal_again_and_again_is_no_longer_told(self) -> None:
        driven = Driven(asyncio.sleep(0))
        driven.run()
        for _ in range(SWALLOWED_SUSPENSIONS_MAX):
            with pytest.raises(Suspend):
                driven.loop.refuse()
        driven.loop.refuse()
