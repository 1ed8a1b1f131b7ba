from collections.abc import Callable

import pytest

from fluxo.testing.errors import SimulationStuckError
from fluxo.testing.simulation.fibers import Gone, Scheduler, SimEvent, SimLock, SimProcess


@pytest.fixture
def scheduler() -> Scheduler:
    return Scheduler()


@pytest.fixture
def process() -> SimProcess:
    return SimProcess("process")


def sleeper(scheduler: Scheduler, name: str, seconds: float, seen: list[str]) -> Callable[[], None]:
    def sleep() -> None:
        scheduler.wait(None, seconds)
        seen.append(name)

    return sleep


def test_time_moves_only_when_nobody_can_run_and_then_to_the_next_timer(
    scheduler: Scheduler, process: SimProcess
) -> None:
    seen: list[str] = []
    for name, seconds in [("late", 3600.0), ("soon", 1.0), ("later", 7200.0)]:
        scheduler.spawn(process, sleeper(scheduler, name, seconds, seen), name)
    assert scheduler.run(lambda: len(seen) == 2)
    assert seen == ["soon", "late"]
    assert scheduler.now_us == 3_600_000_000


def test_a_wait_is_over_at_its_limit_and_not_before(scheduler: Scheduler, process: SimProcess) -> None:
    event = SimEvent(scheduler)
    answers: list[tuple[bool, int]] = []
    scheduler.spawn(process, lambda: answers.append((event.wait(0.000_000_3), scheduler.now_us)), "waits")
    scheduler.run(lambda: bool(answers))
    assert answers == [(False, 1)]


def test_an_event_wakes_all_who_wait_in_their_order(scheduler: Scheduler, process: SimProcess) -> None:
    event = SimEvent(scheduler)
    seen: list[int] = []

    def wait(n: int) -> None:
        assert event.wait()
        seen.append(n)

    for n in range(3):
        scheduler.spawn(process, lambda n=n: wait(n), f"waits {n}")
    scheduler.spawn(process, event.set, "sets")
    scheduler.run(lambda: len(seen) == 3)
    assert seen == [0, 1, 2]
    assert scheduler.now_us == 0


def test_a_lock_is_handed_over_in_the_order_in_which_it_was_asked_for(
    scheduler: Scheduler, process: SimProcess
) -> None:
    lock = SimLock(scheduler)
    seen: list[str] = []

    def hold(name: str) -> None:
        with lock:
            seen.append(f"{name} in")
            scheduler.wait(None, 1.0)
            seen.append(f"{name} out")

    for name in "abc":
        scheduler.spawn(process, lambda name=name: hold(name), name)
    scheduler.run(lambda: len(seen) == 6)
    assert seen == ["a in", "a out", "b in", "b out", "c in", "c out"]


def test_a_lock_is_not_waited_for_beyond_the_limit(scheduler: Scheduler, process: SimProcess) -> None:
    lock = SimLock(scheduler)
    assert lock.acquire()
    answers: list[bool] = []
    scheduler.spawn(process, lambda: answers.append(lock.acquire(True, 2.0)), "wants it")
    scheduler.spawn(process, lambda: answers.append(lock.acquire(False)), "asks once")
    scheduler.run(lambda: len(answers) == 2)
    assert answers == [False, False]
    assert scheduler.now_us == 2_000_000


def test_nothing_of_a_dead_process_runs_again(scheduler: Scheduler, process: SimProcess) -> None:
    seen: list[str] = []
    other = SimProcess("other")
    scheduler.spawn(process, sleeper(scheduler, "dead", 5.0, seen), "dead")
    scheduler.spawn(other, sleeper(scheduler, "alive", 10.0, seen), "alive")
    scheduler.later(1_000_000, lambda: setattr(process, "alive", False))
    scheduler.run(lambda: bool(seen))
    assert seen == ["alive"]
    assert not scheduler.run(lambda: False)


def test_what_is_left_of_a_dead_process_cannot_wait(scheduler: Scheduler, process: SimProcess) -> None:
    raised: list[type[BaseException]] = []

    def stubborn() -> None:
        try:
            scheduler.wait(None, 5.0)
        finally:
            try:
                scheduler.wait(None, 5.0)
            except BaseException as error:
                raised.append(type(error))

    scheduler.spawn(process, stubborn, "stubborn")
    scheduler.later(1_000_000, lambda: setattr(process, "alive", False))
    scheduler.run(lambda: False)
    scheduler.end()
    assert raised == [Gone]
    assert not scheduler.failures


def test_a_stopped_process_goes_on_where_it_stood(scheduler: Scheduler, process: SimProcess) -> None:
    seen: list[str] = []
    scheduler.spawn(process, sleeper(scheduler, "stopped", 1.0, seen), "stopped")
    process.stopped = True
    scheduler.spawn(SimProcess("other"), sleeper(scheduler, "other", 50.0, seen), "other")
    scheduler.later(100_000_000, lambda: scheduler.go_on(process))
    scheduler.run(lambda: len(seen) == 2)
    assert seen == ["other", "stopped"]
    assert scheduler.now_us == 101_000_000


def test_what_comes_out_of_a_fiber_is_kept(scheduler: Scheduler, process: SimProcess) -> None:
    def fail() -> None:
        raise ValueError("lost?")

    scheduler.spawn(process, fail, "fails")
    scheduler.run(lambda: bool(scheduler.failures))
    assert [str(error) for error in scheduler.failures] == ["lost?"]


def test_a_fiber_spawned_by_one_that_ends_returns_to_the_scheduler(scheduler: Scheduler, process: SimProcess) -> None:
    seen: list[str] = []

    def outer() -> None:
        scheduler.spawn(process, lambda: seen.append("inner"), "inner")
        seen.append("outer")

    scheduler.spawn(process, outer, "outer")
    scheduler.spawn(process, lambda: seen.append("last"), "last")
    scheduler.run(lambda: len(seen) == 3)
    assert seen == ["outer", "last", "inner"]


def test_the_chooser_says_who_of_the_ready_is_next(process: SimProcess) -> None:
    scheduler = Scheduler(lambda ready: ready - 1)
    seen: list[int] = []
    for n in range(3):
        scheduler.spawn(process, lambda n=n: seen.append(n), str(n))
    scheduler.run(lambda: len(seen) == 3)
    assert seen == [2, 1, 0]


def test_a_test_that_waits_for_what_cannot_come_is_told_so(scheduler: Scheduler) -> None:
    with pytest.raises(SimulationStuckError, match="nothing is left to happen"):
        SimEvent(scheduler).wait()


def test_fibers_that_hand_each_other_control_for_ever_are_stopped(scheduler: Scheduler, process: SimProcess) -> None:
    def spin() -> None:
        while True:
            scheduler.give_way()

    scheduler.switches = 1_999_000
    scheduler.spawn(process, spin, "spins")
    with pytest.raises(SimulationStuckError, match="'spins'"):
        scheduler.run(lambda: False)
    process.alive = False
