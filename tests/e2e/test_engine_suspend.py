"""
Waiting without a thread: a sync run that waits long unwinds, and acts on nothing while it does.

Owns: suspension as workflow code sees it, and what `close` leaves behind. Must not know timers.
"""

from __future__ import annotations

import asyncio
import logging
import threading

import pytest

import fluxo
from fluxo import RunStatus, step, workflow
from fluxo.model.events import StepCompleted
from tests.e2e.places import Facts, Place


@pytest.fixture
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """A waiting sync run gives its thread back at once."""
    monkeypatch.setattr("fluxo.runtime.sync_run.THREAD_WAIT_S", 0.005)


@step
def act(what: str) -> str:
    return what


def test_a_waiting_run_gives_its_thread_back_and_goes_on_when_it_is_due(place: Place, short_waits: None) -> None:
    bodies: list[str] = []

    @workflow
    def waits() -> list[str]:
        bodies.append(threading.current_thread().name)
        done = [act("before")]
        done.append(fluxo.wait_signal("go", str))
        return [*done, act("after")]

    with place.engine() as engine:
        handle = engine.start(waits)
        place.until(lambda: engine.stats().active == 0)
        assert handle.status() is RunStatus.WAITING
        assert handle.info().owner is None
        handle.signal("go", "signal")
        assert handle.result(timeout=10) == ["before", "signal", "after"]
        assert len([event for event in handle.history() if isinstance(event, StepCompleted)]) == 2
    assert len(bodies) == 2


def test_one_thread_serves_many_waiting_runs(place: Place, short_waits: None) -> None:
    @workflow
    def waits(number: int) -> int:
        return number + fluxo.wait_signal("go", int)

    with place.engine(concurrency=1) as engine:
        handles = [engine.start(waits, number) for number in range(10)]
        place.until(lambda: engine.stats().runs["waiting"] == 10 and engine.stats().active == 0)
        for handle in handles:
            handle.signal("go", 100)
        assert [handle.result(timeout=10) for handle in handles] == [100 + number for number in range(10)]


def test_a_caller_of_run_keeps_its_thread(place: Place, short_waits: None) -> None:
    threads: list[int] = []

    @workflow
    def waits() -> str:
        threads.append(threading.get_ident())
        return fluxo.wait_signal("go", str)

    with place.engine() as engine:

        def send() -> None:
            place.until(lambda: engine.list(status="waiting").runs != ())
            engine.signal("kept", "go", "on")

        sender = threading.Thread(target=send)
        sender.start()
        assert engine.run(waits.options(id="kept")) == "on"
        sender.join()
    assert threads == [threading.get_ident()]


def test_cleaning_up_while_unwinding_acts_on_nothing(place: Place, short_waits: None) -> None:
    cleaned: list[str] = []

    @workflow
    def careful() -> str:
        try:
            return fluxo.wait_signal("go", str)
        finally:
            cleaned.append("tried")
            act("clean up")
            cleaned.append("done")

    with place.engine() as engine:
        handle = engine.start(careful)
        place.until(lambda: engine.stats().active == 0)
        assert cleaned == ["tried"]
        assert not [event for event in handle.history() if isinstance(event, StepCompleted)]
        handle.signal("go", "on")
        assert handle.result(timeout=10) == "on"
        assert len([event for event in handle.history() if isinstance(event, StepCompleted)]) == 1
    assert cleaned == ["tried", "tried", "done"]


def test_an_ordinary_except_does_not_see_the_suspension(place: Place, short_waits: None) -> None:
    caught: list[Exception] = []

    @workflow
    def guarded() -> str:
        try:
            return fluxo.wait_signal("go", str)
        except Exception as error:
            caught.append(error)
            raise

    with place.engine() as engine:
        handle = engine.start(guarded)
        place.until(lambda: engine.stats().active == 0)
        handle.signal("go", "on")
        assert handle.result(timeout=10) == "on"
    assert caught == []


@pytest.mark.parametrize("outcome", ["something", None, ValueError])
def test_a_body_that_swallows_the_suspension_is_found_out_and_its_outcome_discarded(
    place: Place, short_waits: None, caplog: pytest.LogCaptureFixture, outcome: object
) -> None:
    @workflow
    def greedy() -> str | None:
        try:
            return fluxo.wait_signal("go", str)
        except BaseException:
            if outcome is ValueError:
                raise ValueError("after it") from None
            return "wrong" if outcome else None

    with place.engine() as engine:
        handle = engine.start(greedy)
        place.until(lambda: engine.stats().active == 0)
        assert handle.status() is RunStatus.WAITING
        warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
        assert [text for text in warnings if "swallowed fluxo's suspension" in text and "greedy" in text]
        handle.signal("go", "right")
        assert handle.result(timeout=10) == "right"


def test_a_body_that_lets_it_pass_is_not_warned_of(
    place: Place, short_waits: None, caplog: pytest.LogCaptureFixture
) -> None:
    @workflow
    def polite() -> int:
        try:
            return fluxo.wait_signal("go", int)
        finally:
            fluxo.now()

    with place.engine() as engine:
        handle = engine.start(polite)
        place.until(lambda: engine.stats().active == 0)
        handle.signal("go", "not a number")
        handle.wait(timeout=10)
        assert handle.status() is RunStatus.BLOCKED
    assert "swallowed" not in caplog.text


def test_a_step_in_a_swallowed_suspension_does_not_run(place: Place, short_waits: None) -> None:
    effects: list[str] = []

    @step
    def effect() -> None:
        effects.append("seen")

    @workflow
    def greedy() -> str:
        try:
            return fluxo.wait_signal("go", str)
        except BaseException:
            try:
                effect()
            except BaseException:
                effects.append("refused")
            return "wrong"

    with place.engine() as engine:
        handle = engine.start(greedy)
        place.until(lambda: engine.stats().active == 0)
        assert effects == ["refused"]
        handle.signal("go", "right")
        assert handle.result(timeout=10) == "right"


def test_closing_lets_steps_under_way_finish_and_hands_runs_back(place: Place) -> None:
    started, may_end = threading.Event(), threading.Event()
    ran: list[str] = []

    @step
    def slow() -> str:
        started.set()
        assert may_end.wait(10)
        ran.append("slow")
        return "slow"

    @step
    def quick() -> str:
        ran.append("quick")
        return "quick"

    @workflow
    def works() -> list[str]:
        return [slow(), quick()]

    engine = place.engine()
    with engine:
        engine.start(works.options(id="works"))
        assert started.wait(10)
        closing = threading.Thread(target=engine.close)
        closing.start()
        place.until(lambda: engine_is_closing(engine))
        may_end.set()
        closing.join()
    assert ran == ["slow"]
    with place.engine(worker=False) as client:
        info = client.get("works").info()
        assert (info.status, info.owner) == (RunStatus.PENDING, None)
        assert client.stats().workers == 0
    with place.engine() as engine:
        assert engine.get("works").result(timeout=10) == ["slow", "quick"]
    assert ran == ["slow", "quick"]


def engine_is_closing(engine: fluxo.Engine) -> bool:
    try:
        engine.stats()
    except fluxo.UsageError:
        return True
    return False


def test_closing_does_not_begin_what_stands_in_line(place: Place) -> None:
    started, may_end = threading.Event(), threading.Event()
    ran: list[int] = []

    @step
    def slow(number: int) -> None:
        ran.append(number)
        started.set()
        assert may_end.wait(10)

    @workflow
    def works(number: int) -> None:
        slow(number)
        slow(number)

    engine = place.engine(concurrency=1)
    with engine:
        for number in range(3):
            engine.start(works, number)
        assert started.wait(10)
        closing = threading.Thread(target=engine.close)
        closing.start()
        place.until(lambda: engine_is_closing(engine))
        may_end.set()
        closing.join(10)
        assert not closing.is_alive()
    assert ran == [0]
    with place.engine(worker=False) as client:
        assert {(run.status, run.owner) for run in client.list().runs} == {(RunStatus.PENDING, None)}


def test_closing_lets_go_of_who_waits_for_a_result(place: Place) -> None:
    @workflow
    def waits() -> str:
        return fluxo.wait_signal("go", str)

    told: list[str] = []
    engine = place.engine()
    with engine:
        handle = engine.start(waits)
        place.until(lambda: handle.status() is RunStatus.WAITING)

        def wait() -> None:
            try:
                handle.result()
            except fluxo.UsageError as error:
                told.append(str(error))

        waiting = threading.Thread(target=wait)
        waiting.start()
        place.until(lambda: handle.id in engine._node.watch.waited_for())
    waiting.join(10)
    assert told == [
        (
            f"the engine was closed while run {handle.id!r} was waited for; it goes on where a worker has it: "
            "ask an engine that is open"
        )
    ]


def test_closing_lets_go_of_who_awaits_a_result(place: Place) -> None:
    @workflow
    async def waits() -> str:
        return await fluxo.aio.wait_signal("go", str)

    async def main() -> None:
        async with place.engine().aio as engine:
            handle = await engine.start(waits)
            waiting = asyncio.create_task(handle.aio.result())
            await asyncio.sleep(0)
        with pytest.raises(fluxo.UsageError, match="the engine was closed while run"):
            await waiting

    asyncio.run(main())


def test_closing_hands_waiting_runs_back_as_they_are(place: Place) -> None:
    @workflow
    def waits() -> str:
        return fluxo.wait_signal("go", str)

    @workflow
    async def waits_later() -> str:
        return await fluxo.aio.wait_signal("go", str)

    facts = Facts()
    with place.engine(observers=[facts]) as engine:
        engine.start(waits.options(id="sync"))
        engine.start(waits_later.options(id="async"))
        facts.wait("run_waiting", "sync")
        facts.wait("run_waiting", "async")
    with place.engine(worker=False) as client:
        for run_id in ("sync", "async"):
            info = client.get(run_id).info()
            assert (info.status, info.owner) == (RunStatus.WAITING, None)


def test_leaving_a_loop_hands_its_runs_back(place: Place) -> None:
    @workflow
    async def waits() -> str:
        first = await fluxo.aio.wait_signal("go", str)
        return first + await fluxo.aio.wait_signal("go", str)

    async def first() -> None:
        async with place.engine().aio as engine:
            await engine.start(waits.options(id="moves"))
            await engine.signal("moves", "go", "a")

    async def second() -> str:
        async with place.engine().aio as engine:
            await engine.signal("moves", "go", "b")
            return await (await engine.get("moves")).aio.result(timeout=10)

    asyncio.run(first())
    assert asyncio.run(second()) == "ab"


def test_a_run_that_waits_for_nothing_says_so(memory_place: Place, caplog: pytest.LogCaptureFixture) -> None:
    @workflow
    async def stuck() -> None:
        await asyncio.Event().wait()

    facts = Facts()
    with memory_place.engine(observers=[facts]) as engine:
        handle = engine.start(stuck)
        facts.wait("run_waiting")
        assert handle.status() is RunStatus.WAITING
        assert f"run {handle.id} waits for nothing" in caplog.text
        handle.cancel(force=True)
