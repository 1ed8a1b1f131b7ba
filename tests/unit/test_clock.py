import pytest

from fluxo.clock import StoreClock

WALL_US = 1_700_000_000_000_000


class Machine:
    """A machine's two clocks, each moved by hand."""

    def __init__(self) -> None:
        self.wall_us = WALL_US
        self.running_s = 50.0

    def now_us(self) -> int:
        return self.wall_us

    def monotonic_s(self) -> float:
        return self.running_s


@pytest.fixture
def machine() -> Machine:
    return Machine()


@pytest.fixture
def clock(machine: Machine) -> StoreClock:
    return StoreClock(machine)


def test_until_the_store_is_heard_it_is_the_machines_wall_clock(machine: Machine, clock: StoreClock) -> None:
    assert clock.now_us() == WALL_US
    machine.wall_us += 5
    assert clock.now_us() == WALL_US + 5


def test_what_the_store_says_is_carried_on_by_the_monotonic_clock(machine: Machine, clock: StoreClock) -> None:
    clock.heard(WALL_US - 9_000_000, asked_s=50.0)
    machine.running_s += 2.5
    assert clock.now_us() == WALL_US - 6_500_000


def test_a_wall_clock_that_jumps_moves_nothing(machine: Machine, clock: StoreClock) -> None:
    clock.heard(WALL_US, asked_s=50.0)
    machine.wall_us += 3_600_000_000
    assert clock.now_us() == WALL_US


def test_a_slow_answer_makes_it_late_and_never_early(machine: Machine, clock: StoreClock) -> None:
    machine.running_s = 53.0
    clock.heard(WALL_US, asked_s=50.0)
    assert clock.now_us() == WALL_US


def test_a_quicker_answer_puts_a_late_clock_right(machine: Machine, clock: StoreClock) -> None:
    machine.running_s = 53.0
    clock.heard(WALL_US, asked_s=50.0)
    machine.running_s = 60.0
    clock.heard(WALL_US + 10_000_000, asked_s=60.0)
    assert clock.now_us() == WALL_US + 10_000_000


def test_a_slower_answer_does_not_put_a_right_clock_back(machine: Machine, clock: StoreClock) -> None:
    clock.heard(WALL_US, asked_s=50.0)
    machine.running_s = 60.0
    clock.heard(WALL_US + 4_000_000, asked_s=52.0)
    assert clock.now_us() == WALL_US + 10_000_000


def test_a_store_whose_clock_was_set_back_is_believed(machine: Machine, clock: StoreClock) -> None:
    clock.heard(WALL_US, asked_s=50.0)
    machine.running_s = 60.0
    clock.heard(WALL_US - 5_000_000, asked_s=60.0)
    assert clock.now_us() == WALL_US - 5_000_000
