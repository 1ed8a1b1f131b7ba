"""
Plain asyncio is deterministic: whatever a workflow observed, every replay observes too.

Owns: that law over all programs and over runs that wait, fail, are cancelled or dropped; and what is refused because
no replay could repeat it. Must not know the loop.
"""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest

import fluxo
from fluxo import Engine, MemoryStore, step, workflow
from fluxo.model.events import RunWaiting, SignalReceived, StepCompleted, StepRetried, TimerFired
from tests.e2e import asyncio_tasks, asyncio_waits
from tests.e2e.asyncio_programs import ANYTHING, HOUR_S, PROGRAMS, echo, refuse, slowly
from tests.e2e.places import PATIENCE_S, Facts, Place
from tests.replaying import Recording, executed, outcome_of, record

assert PROGRAMS, f"{asyncio_tasks} and {asyncio_waits} fill it"

tried: dict[str, Callable[[], Any]] = {}
"""What `forbidden` tries, by name."""


@workflow(name="asyncio.waiting")
async def waiting() -> list[Any]:
    """Parks three times: on a signal beside a timer, on a signal under a timeout, on a timer."""
    first = asyncio.create_task(fluxo.aio.wait_signal("first", str))
    seen: list[Any] = [await echo(1), await first]
    with suppress(TimeoutError):
        async with asyncio.timeout(10 * HOUR_S):
            seen.append(await fluxo.aio.wait_signal("second", str))
    await asyncio.sleep(HOUR_S)
    return [*seen, fluxo.now().timestamp() > 0, await echo(2)]


@workflow(name="asyncio.cancellable")
async def cancellable() -> str:
    async def child() -> None:
        try:
            await asyncio.sleep(1000 * HOUR_S)
        finally:
            await echo("child cleaned up")

    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(child())
            group.create_task(fluxo.aio.wait_signal("never"))
            await echo("ready")
    except asyncio.CancelledError:
        await slowly("parent cleaned up")
        raise
    return "not cancelled"


@workflow(name="asyncio.giving_up")
def giving_up() -> str:
    try:
        return fluxo.wait_signal("given up", str)
    except fluxo.Cancelled:
        return fluxo.wait_signal("second", str)


@workflow(name="asyncio.giving_up_async")
async def giving_up_async() -> str:
    try:
        return await fluxo.aio.wait_signal("given up", str)
    except asyncio.CancelledError:
        return await fluxo.aio.wait_signal("second", str)


@workflow(name="asyncio.late", timeout=HOUR_S)
async def late() -> None:
    await asyncio.gather(echo(1), asyncio.sleep(1000 * HOUR_S))


@workflow(name="asyncio.failing_group")
async def failing_group() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(echo(1))
        group.create_task(refuse("for good"))


hanging = threading.Semaphore(0)


@step(name="asyncio.hang")
async def hang() -> None:
    hanging.release()
    await asyncio.Event().wait()


@workflow(name="asyncio.dropped")
async def dropped() -> None:
    async def stubborn() -> None:
        try:
            await hang()
        finally:
            with suppress(Exception):
                await asyncio.gather(echo("a"), echo("b"))

    lock = asyncio.Lock()
    children = [asyncio.create_task(stubborn()), asyncio.create_task(asyncio.sleep(HOUR_S))]
    try:
        async with lock, asyncio.timeout(HOUR_S), asyncio.TaskGroup() as group:
            group.create_task(stubborn())
            await fluxo.aio.wait_signal("never")
    finally:
        try:
            await asyncio.sleep(1)
        finally:
            await asyncio.wait(children)
            await echo("cleanup")


@workflow(name="asyncio.dropped_in_a_generator")
async def dropped_in_a_generator() -> None:
    async def numbers() -> AsyncIterator[int]:
        try:
            yield await echo(1)
        finally:
            await echo("cleanup")

    async for _ in numbers():
        await fluxo.aio.wait_signal("never")


@workflow(name="asyncio.forbidden")
async def forbidden(what: str) -> None:
    answer = tried[what]()
    if isinstance(answer, Awaitable):
        await answer


@workflow(name="asyncio.as_completed_of_coroutines")
async def as_completed_of_coroutines() -> None:
    for first in asyncio.as_completed([asyncio.sleep(0)]):
        await first


@pytest.mark.parametrize("name", PROGRAMS)
def test_asyncio_observes_the_same_on_every_replay(name: str) -> None:
    program = PROGRAMS[name]
    recording = record(program.workflow)
    state, observed = recording.outcome
    assert state == "completed"
    assert program.expected is ANYTHING or observed == program.expected
    recording.assert_replays()


def test_a_set_of_tasks_is_taken_in_the_same_order_whichever_steps_were_replayed() -> None:
    """Steps answered from the history need fewer futures than live ones; no task may get another number for it."""
    program = PROGRAMS["aborted_task_group_after_steps_in_a_task"]
    recording = record(program.workflow)
    state, order = recording.outcome
    assert state == "completed"
    assert sorted(order) == list(range(40))
    recording.assert_replays(range(1, 9))


def test_runs_that_share_a_loop_and_its_commits_do_not_disturb_each_other() -> None:
    """Beside others a run's steps are committed in batches, and its workflow is stepped from their answers."""
    names = [name for name, program in PROGRAMS.items() if not program.sleeps]
    store = MemoryStore()
    with Engine(store) as engine:
        for turn in range(3):
            for name in names:
                engine.start(PROGRAMS[name].workflow.options(id=f"{name} {turn}"))
        handles = [engine.get(f"{name} {turn}") for turn in range(3) for name in names]
        outcomes = {handle.id: outcome_of(handle) for handle in handles}
    for run_id, outcome in outcomes.items():
        name = run_id.split()[0]
        assert outcome[0] == "completed"
        assert PROGRAMS[name].expected is ANYTHING or outcome[1] == PROGRAMS[name].expected
        recording = Recording(store, run_id, outcome)
        recording.assert_replays([len(recording.history) - 1])


def test_a_failing_task_group_fails_alike_on_every_replay() -> None:
    recording = record(failing_group)
    assert recording.outcome[:2] == ("failed", "ExceptionGroup")
    recording.assert_replays()


def test_a_run_that_waited_for_signals_and_timers_replays_from_every_event() -> None:
    recording = record(waiting, signals=[("first", "a"), ("second", "b")])
    assert recording.outcome == ("completed", [1, "a", "b", True, 2])
    recording.assert_replays()


def test_a_parked_run_goes_on_elsewhere_and_observes_the_same(timed_place: Place) -> None:
    for wait in range(3):
        facts = Facts()
        engine = timed_place.engine(observers=[facts])
        handle = engine.get("parked") if wait else engine.start(waiting.options(id="parked"))
        if wait:
            handle.signal("first" if wait == 1 else "second", f"{wait}")
        facts.wait("run_waiting", "parked")
        engine.close()
    timed_place.forward(2 * HOUR_S)
    with timed_place.engine() as engine:
        handle = engine.get("parked")
        assert outcome_of(handle) == ("completed", [1, "1", "2", True, 2])
        parks = [event for event in handle.history() if isinstance(event, RunWaiting)]
    assert [len(park.waits) for park in parks] == [1, 2, 1]


def test_a_cancelled_run_cleans_up_alike_on_every_replay(memory_place: Place) -> None:
    facts = Facts()
    engine = memory_place.engine(observers=[facts])
    handle = engine.start(cancellable.options(id="recorded"))
    facts.wait("run_waiting")
    assert handle.cancel()
    assert outcome_of(handle) == ("cancelled",)
    engine.close()
    recording = Recording(memory_place.look(), "recorded", ("cancelled",))
    steps = [event.name for event in recording.history if isinstance(event, StepCompleted)]
    assert steps == ["asyncio.echo", "asyncio.echo", "asyncio.slowly"]
    recording.assert_replays()


@pytest.mark.parametrize("flow", [giving_up, giving_up_async], ids=["sync", "async"])
def test_a_wait_that_was_given_up_takes_no_signal_and_is_not_waited_for(
    memory_place: Place, flow: fluxo.Workflow[[], str]
) -> None:
    facts = Facts()
    engine = memory_place.engine(observers=[facts])
    handle = engine.start(flow.options(id="recorded"))
    facts.wait("run_waiting")
    handle.cancel()
    facts.wait("run_waiting", times=2)
    parks = [event for event in handle.history() if isinstance(event, RunWaiting)]
    assert [[wait.name for wait in park.waits] for park in parks] == [["given up"], ["second"]]
    handle.signal("given up", "not taken")
    handle.signal("second", "taken")
    assert outcome_of(handle) == ("completed", "taken")
    taken = [event.signal for event in handle.history() if isinstance(event, SignalReceived)]
    assert taken == ["second"]
    engine.close()


def test_a_run_that_outlived_its_time_ends_alike_on_every_replay() -> None:
    recording = record(late)
    assert recording.outcome[:2] == ("failed", "RunTimeoutError")
    recording.assert_replays()


def test_retries_in_parallel_tasks_keep_their_own_attempts() -> None:
    program = PROGRAMS["retried_beside_others"]
    recording = record(program.workflow)
    attempts = [(event.scope, event.attempt) for event in recording.history if isinstance(event, StepRetried)]
    assert sorted(attempts) == [("0", 1), ("0", 2), ("2", 1), ("2", 2)]


def test_timers_fire_in_the_order_of_their_times() -> None:
    program = PROGRAMS["sleepers"]
    recording = record(program.workflow)
    fired = [event for event in recording.history if isinstance(event, TimerFired)]
    assert [int(event.args or b"") for event in fired] == sorted(int(event.args or b"") for event in fired)


def test_a_dropped_workflow_does_nothing_in_its_finally_blocks() -> None:
    """Its tasks are closed, not cancelled: what they await then raises, and no coroutine is left behind."""
    with Engine("memory://") as engine:
        handle = engine.start(dropped)
        for _ in range(2):
            assert hanging.acquire(timeout=PATIENCE_S)
        before = len(executed)
        events = handle.history()
        engine.close(drain=False)
    gc.collect()
    assert len(executed) == before
    assert len(events) == 1


def test_a_dropped_workflows_generators_do_nothing_either() -> None:
    facts = Facts()
    with Engine("memory://", observers=[facts]) as engine:
        engine.start(dropped_in_a_generator)
        facts.wait("run_waiting")
        before = len(executed)
        engine.close()
    gc.collect()
    assert len(executed) == before


def try_it(name: str) -> Callable[[Callable[[], Any]], Callable[[], Any]]:
    def register(fn: Callable[[], Any]) -> Callable[[], Any]:
        tried[name] = fn
        return fn

    return register


@try_it("a thread")
def use_a_thread() -> Any:
    return asyncio.to_thread(threading.get_ident)


@try_it("an executor")
def use_an_executor() -> Any:
    return asyncio.get_running_loop().run_in_executor(None, threading.get_ident)


@try_it("a connection")
def use_a_connection() -> Any:
    return asyncio.open_connection("127.0.0.1", 9)


@try_it("a name server")
def use_a_name_server() -> Any:
    return asyncio.get_running_loop().getaddrinfo("localhost", 80)


@try_it("a process")
def use_a_process() -> Any:
    return asyncio.create_subprocess_exec("true")


@try_it("another thread's callback")
def use_a_callback() -> Any:
    return asyncio.get_running_loop().call_soon_threadsafe(print)


@pytest.mark.parametrize("what", tried)
def test_a_workflow_is_told_to_put_what_no_replay_repeats_into_a_step(what: str) -> None:
    state, kind, text = record(forbidden, what).outcome
    assert (state, kind) == ("failed", "UsageError")
    assert "put the call into a @step and await it" in text


def test_as_completed_refuses_coroutines_since_it_takes_them_from_a_set() -> None:
    state, kind, text = record(as_completed_of_coroutines).outcome
    assert (state, kind) == ("failed", "UsageError")
    assert "asyncio.create_task" in text
    assert "fluxo.aio.as_completed" in text
