"""
The deterministic loop: order of callbacks, timers as commands, identity of tasks, and being dropped.

Owns: what a driver and a machine can see of the loop. Must not know steps or engines; what plain asyncio does on it
is shown in tests/e2e/test_async_determinism.py.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Coroutine
from contextvars import Context, ContextVar
from typing import Any

import pytest

from fluxo import UsageError
from fluxo.limits import SWALLOWED_SUSPENSIONS_MAX
from fluxo.model.events import Event, RunStarted
from fluxo.replay.history import History
from fluxo.replay.loop import ReplayLoop, RunTask
from fluxo.replay.machine import Machine
from tests.unit.replay.handmade import RUN_ID, fired, history_of, rows_of

flavour = ContextVar("flavour", default="none")


class Driven:
    """A loop under a machine, stepped by hand."""

    def __init__(self, coro: Coroutine[Any, Any, Any], *events: Event, history: History | None = None) -> None:
        self.context = Context()
        self.machine = Machine(history or history_of(*events))
        self.loop = ReplayLoop(self.machine, self.context)  # type: ignore[abstract]
        self.main = self.loop.start(coro)

    def run(self) -> RunTask:
        """Run and deliver until nothing is left to do."""
        while True:
            self.context.run(self.loop.run_ready)
            if self.main.done() or not self.machine.replaying:
                return self.main
            self.context.run(self.machine.deliver_next)

    def commands(self) -> list[tuple[str, int, str, bytes | None]]:
        """What is open: strand, position, name, arguments."""
        return [(c.scope, c.position, c.name, c.args) for c in self.machine.outstanding.values()]


def timer(position: int, delay_s: float, *, scope: str = "", ordinal: int | None = None) -> Event:
    event = fired(position, scope=scope, ordinal=ordinal, args=b"%d" % round(delay_s * 1_000_000))
    return type(event)(event.at_us, event.scope, event.position, event.ordinal, "timer", event.site, event.args)


class TestTimers:
    def test_a_sleep_is_a_timer_command_of_its_task(self) -> None:
        async def main() -> None:
            await asyncio.gather(asyncio.sleep(1.5), asyncio.sleep(2))

        driven = Driven(main())
        driven.run()
        assert driven.commands() == [("0", 0, "timer", b"1500000"), ("1", 0, "timer", b"2000000")]
        driven.loop.discard()

    def test_timers_wake_in_the_order_of_the_log_not_of_their_delays(self) -> None:
        woken: list[str] = []

        async def sleeper(name: str, delay_s: float) -> None:
            await asyncio.sleep(delay_s)
            woken.append(name)

        async def main() -> None:
            await asyncio.gather(sleeper("short", 1), sleeper("long", 2))

        log = [timer(0, 2, scope="1", ordinal=1), timer(0, 1, scope="0", ordinal=0)]
        assert Driven(main(), *log).run().done()
        assert woken == ["long", "short"]

    def test_a_timer_that_is_due_at_once_is_no_command(self) -> None:
        async def main() -> float:
            await asyncio.sleep(0)
            await asyncio.sleep(-1)
            called = asyncio.Event()
            handle = asyncio.get_running_loop().call_later(0, called.set)
            await called.wait()
            return handle.when()

        driven = Driven(main())
        assert driven.run().result() == 0.0
        assert driven.machine.issued == 0

    def test_a_cancelled_timer_is_given_up(self) -> None:
        async def main() -> None:
            loop = asyncio.get_running_loop()
            handle = loop.call_later(5, lambda: None)
            handle.cancel()
            handle.cancel()
            assert handle.cancelled()
            loop.call_later(0, lambda: None).cancel()

        driven = Driven(main())
        driven.run().result()
        assert driven.commands() == []
        assert len(driven.machine.abandoned) == 1

    def test_the_loops_time_is_workflow_time_since_the_start(self) -> None:
        async def main() -> list[float]:
            loop = asyncio.get_running_loop()
            before = loop.time()
            handle = loop.call_at(before + 3, lambda: None)
            await asyncio.sleep(1)
            return [before, loop.time(), handle.when()]

        assert Driven(main(), timer(1, 1)).run().result() == [0.0, 0.001, 3.0]

    def test_a_callback_started_from_no_task_belongs_to_the_main_strand(self) -> None:
        async def main() -> None:
            loop = asyncio.get_running_loop()
            loop.call_soon(loop.call_later, 5, print)
            await asyncio.sleep(0)
            await asyncio.sleep(0)

        driven = Driven(main())
        driven.run().result()
        assert driven.commands() == [("", 0, "timer", b"5000000")]


class TestIdentity:
    def test_strands_follow_the_tree_of_tasks(self) -> None:
        async def leaf() -> None:
            await asyncio.sleep(1)

        async def branch() -> None:
            await asyncio.gather(leaf(), leaf())

        async def main() -> None:
            await asyncio.gather(branch(), leaf(), branch())

        driven = Driven(main())
        driven.run()
        assert [scope for scope, *_ in driven.commands()] == ["1", "0.0", "0.1", "2.0", "2.1"]
        driven.loop.discard()

    def test_tasks_are_named_by_their_number(self) -> None:
        async def main() -> list[str]:
            tasks = [asyncio.create_task(asyncio.sleep(0)) for _ in range(2)]
            tasks.append(asyncio.create_task(asyncio.sleep(0), name="own"))
            await asyncio.gather(*tasks)
            return [task.get_name() for task in tasks]

        assert Driven(main()).run().result() == ["Task-2", "Task-3", "own"]

    def test_futures_of_fluxos_own_take_no_number(self) -> None:
        async def main(loop: ReplayLoop, waiters: int) -> str:
            for _ in range(waiters):
                loop.create_waiter()
            return asyncio.create_task(asyncio.sleep(0)).get_name()

        names = set()
        for waiters in (0, 3):
            driven = Driven(asyncio.sleep(0))
            names.add(driven.loop.start(main(driven.loop, waiters)))
            driven.run()
            driven.context.run(driven.loop.run_ready)
        assert {task.result() for task in names} == {"Task-3"}

    def test_equal_runs_hash_their_tasks_alike_and_others_do_not(self) -> None:
        """asyncio keeps the tasks of all runs in one set: equal hashes there would cost a walk past all of them."""

        def hashes(seed: int) -> list[int]:
            start = RunStarted(1_000, RUN_ID, "w", "1", b"[]", seed)
            driven = Driven(asyncio.sleep(0), history=History(RUN_ID, rows_of(start)))
            driven.run()
            return [hash(driven.main), hash(driven.loop.create_future()), hash(driven.loop.create_future())]

        assert hashes(1 << 40) == hashes(1 << 40)
        assert not set(hashes(1 << 40)) & set(hashes(1 << 50))
        assert len(set(hashes(1 << 62))) == 3

    def test_tasks_copy_the_context_they_were_created_in(self) -> None:
        async def child() -> str:
            before = flavour.get()
            flavour.set("child")
            return before

        async def main() -> list[str]:
            flavour.set("main")
            first = asyncio.create_task(child())
            flavour.set("later")
            own = Context()
            second = asyncio.create_task(child(), context=own)
            return [await first, await second, flavour.get(), own[flavour]]

        assert Driven(main()).run().result() == ["main", "none", "later", "child"]


class TestCallSites:
    def site_of(self, coro: Coroutine[Any, Any, Any]) -> str:
        driven = Driven(coro)
        driven.run()
        [command] = driven.machine.outstanding.values()
        driven.loop.discard()
        return command.site

    def test_a_timer_is_shown_where_it_was_asked_for(self) -> None:
        async def main() -> None:
            await asyncio.sleep(1)  # asked here

        assert self.site_of(main()) == site("asked here", main)

    def test_a_timer_that_is_a_task_itself_is_shown_where_the_task_was_created(self) -> None:
        async def main() -> None:
            await asyncio.gather(asyncio.sleep(1))  # created here

        assert self.site_of(main()) == site("created here", main)

    def test_a_timer_in_a_task_of_the_users_is_shown_inside_that_task(self) -> None:
        async def child() -> None:
            await asyncio.sleep(1)  # inside

        async def main() -> None:
            await asyncio.create_task(child())

        assert self.site_of(main()) == site("inside", child)


def site(mark: str, function: Any) -> str:
    """``file:line in function`` of the line with this comment."""
    code = function.__code__
    with open(code.co_filename, encoding="utf-8") as file:
        [line] = [number for number, text in enumerate(file, 1) if text.rstrip().endswith(f"# {mark}")]
    return f"test_loop.py:{line} in {code.co_qualname}"


class TestBeingDropped:
    def test_tasks_are_closed_newest_first_and_may_not_wait(self) -> None:
        closed: list[str] = []

        async def child(name: str) -> None:
            try:
                await asyncio.sleep(1)
            finally:
                closed.append(name)
                await asyncio.sleep(1)
                closed.append("never reached")

        async def main() -> None:
            try:
                await asyncio.gather(child("first"), child("second"))
            finally:
                closed.append("main")
                await asyncio.Event().wait()
                closed.append("never reached")

        driven = Driven(main())
        driven.run()
        driven.loop.discard()
        assert closed == ["second", "first", "main"]
        assert driven.machine.issued == 2

    def test_nothing_new_can_be_started(self) -> None:
        driven = Driven(asyncio.sleep(0))
        driven.run()
        driven.loop.discard()
        begun: list[str] = []

        async def note() -> None:
            begun.append("a task")

        task = driven.loop.create_task(note())
        timer = driven.loop.call_later(1, begun.append, "a timer")
        assert driven.machine.issued == 0
        assert (task.done(), timer.cancelled(), begun) == (False, False, [])

    @pytest.mark.parametrize("wait", ["gather", "wait_for", "timeout", "group"])
    def test_a_last_block_that_waits_is_left_there_and_leaves_nothing_to_warn_of(self, wait: str) -> None:
        reached: list[str] = []

        async def note(what: str) -> None:
            reached.append(what)

        async def wait_once_more() -> None:
            match wait:
                case "gather":
                    await asyncio.gather(note("a"), note("b"), note("c"))
                case "wait_for":
                    await asyncio.wait_for(note("a"), 5)
                case "timeout":
                    async with asyncio.timeout(5):
                        await asyncio.sleep(1)
                case _:
                    async with asyncio.TaskGroup() as group:
                        group.create_task(note("a"))
                        group.create_task(note("b"))

        async def main() -> None:
            try:
                await asyncio.sleep(1)
            finally:
                try:
                    await wait_once_more()
                    reached.append("what comes after the wait")
                finally:
                    await wait_once_more()

        driven = Driven(main())
        driven.run()
        driven.loop.discard()
        del driven
        gc.collect()
        assert reached == []

    def test_locks_are_released_on_the_way_out(self) -> None:
        lock = asyncio.Lock()

        async def main() -> None:
            async with lock:
                await asyncio.sleep(1)

        driven = Driven(main())
        driven.run()
        assert lock.locked()
        driven.loop.discard()
        assert not lock.locked()

    def test_a_loop_that_catches_everything_comes_to_rest(self) -> None:
        caught = 0
        told = False

        async def main() -> None:
            nonlocal caught
            while not told:
                try:
                    await asyncio.sleep(1)
                except BaseException:
                    caught += 1

        driven = Driven(main())
        driven.run()
        driven.loop.discard()
        assert SWALLOWED_SUSPENSIONS_MAX <= caught <= SWALLOWED_SUSPENSIONS_MAX + 2
        told = True


def test_threads_and_io_are_refused_by_name() -> None:
    driven = Driven(asyncio.sleep(0))
    refused = ["run_in_executor", "call_soon_threadsafe", "create_connection", "add_reader", "run_until_complete"]
    for name in refused:
        with pytest.raises(UsageError, match=f"loop.{name} is not for workflows"):
            getattr(driven.loop, name)()
    driven.run()


def test_only_coroutines_become_tasks() -> None:
    driven = Driven(asyncio.sleep(0))
    with pytest.raises(TypeError, match="a coroutine was expected, got int"):
        driven.loop.create_task(5)  # type: ignore[arg-type]
    driven.run()
