"""
`check_durable` confirms what is durable and refutes what is not, with a report that can be acted on.

Owns: one test per thing that is tried. Must not know how a trial is played.
"""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

import fluxo
from fluxo import UsageError, step, workflow
from fluxo.testing import DurabilityError, ElsewhereWarning, Sent, check_durable
from fluxo.testing.durable import CheckDurable
from tests.testing import flows

here = check_durable.options(elsewhere=False)
"""Without other processes, which most of what is looked at here does not need."""


def check_all(flow: Any, starts: Iterable[int], check: CheckDurable = here) -> None:
    for start in starts:
        check(flow, start)


def test_a_plain_workflow_survives_a_crash_at_every_point_and_pairs_of_them() -> None:
    checked = check_durable(flows.ten_steps, 7)
    assert checked.elsewhere
    assert checked.outcome.startswith("completed")
    assert checked.points.count("after append") == 12
    assert checked.crashes >= len(checked.points) + 2 * 8
    assert checked.replays >= 12


def test_concurrency_timers_and_retries_survive_too() -> None:
    assert here(flows.gathered, 1).outcome == "completed: 12"
    assert here(flows.order_total, flows.Order("a", [1, 2, 3]), discount=1).outcome == "completed: 17"
    assert here(flows.first_of_two, 5).outcome.startswith("completed")


def test_a_workflow_that_fails_as_it_should_is_durable() -> None:
    checked = here.options(fakes={"fragile": ConnectionError("down")})(flows.compensated, 4)
    assert checked.outcome == "failed: builtins.ConnectionError: down"


def test_all_pairs_are_tried_when_asked_for() -> None:
    some = here.options(pairs=3)(flows.compensated, 4)
    every = here.options(pairs=None)(flows.compensated, 4)
    assert some.trials < len(some.points) + 10
    assert every.crashes > len(every.points) ** 2 / 2


def test_signals_are_sent_twice_and_late() -> None:
    checked = here.options(sent=[Sent("approval", "yes", after="10m")])(flows.approved, 4)
    assert checked.outcome == 'completed: "yes"'
    assert here(flows.approved, 4).outcome == 'completed: "expired"'


def test_a_cancellation_may_be_sent() -> None:
    assert here.options(sent=[Sent(None, after="10m")])(flows.approved, 4).outcome == "cancelled"


def test_fakes_stand_in_for_step_bodies() -> None:
    checked = here.options(fakes={"price": 5}, sent=[Sent("go", 2)])(flows.patient, 1)
    assert checked.outcome == "completed: 7"


def test_a_fake_for_a_step_that_does_not_exist_is_refused() -> None:
    with pytest.raises(UsageError, match="no step 'pricee'"):
        here.options(fakes={"pricee": 5})(flows.patient, 1)


def test_a_workflow_that_nobody_signals_is_told_what_it_waits_for() -> None:
    with pytest.raises(DurabilityError, match=r"waits for signal 'go' at flows.py.*sent=\[Sent") as caught:
        here(flows.patient, 1)
    assert caught.value.schedule == ()


def test_chance_outside_a_step_is_found_with_both_call_sites() -> None:
    with pytest.raises(DurabilityError) as caught:
        check_all(flows.coin, range(20))
    text = str(caught.value)
    assert "recorded at: " in text
    assert "produced at: " in text
    assert "first diverging event: 2" in text
    assert "def test_coin_is_durable" in text
    assert "from tests.testing.flows import coin" in text


def test_a_result_by_chance_is_found() -> None:
    with pytest.raises(DurabilityError, match="had ended otherwise"):
        here(flows.result_by_chance, 1)


def test_state_kept_in_a_module_is_found() -> None:
    flows.counted.clear()
    with pytest.raises(DurabilityError, match="arguments"):
        here(flows.remembers, 1)


@pytest.mark.parametrize("flow", [flows.wall_clock, flows.ordered_by_hash, flows.reads_environment])
def test_what_depends_on_clock_hash_seed_or_environment_is_found_in_another_process(flow: fluxo.Workflow) -> None:
    with pytest.raises(DurabilityError, match="replay in another process differs") as caught:
        check_all(flow, range(5), check_durable)  # hash seeds may agree on one order, but not on this many
    assert caught.value.schedule == ()


def test_a_workflow_that_cannot_be_imported_elsewhere_is_named_in_a_warning() -> None:
    @workflow(name="local to a test")
    def local(start: int) -> int:
        return start

    with pytest.warns(ElsewhereWarning, match="'local to a test' was not replayed in another process"):
        assert not check_durable(local, 1).elsewhere
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        here(local, 1)


def test_an_answer_that_depends_on_the_attempt_is_the_steps_own_affair() -> None:
    """The workflow is told something else after the crash, and may go another way."""
    seen: list[int] = []

    @step(name="answers otherwise each time")
    def otherwise() -> int:
        seen.append(1)
        return len(seen)

    @workflow(name="goes by the answer")
    def by_answer() -> int:
        return price_twice() if otherwise() % 2 else 0

    def price_twice() -> int:
        return flows.price(flows.price(1))

    assert here(by_answer).crashes > 0


def test_a_schedule_that_was_reported_can_be_played_again() -> None:
    checked = here.options(schedules=[(9,), (9, 14)])(flows.ten_steps, 1)
    assert checked.crashes == 3


def test_the_same_case_is_checked_alike_each_time() -> None:
    assert here(flows.gathered, 3) == here(flows.gathered, 3)


def test_the_caller_s_own_loggers_and_fluxo_s_are_silent(caplog: pytest.LogCaptureFixture) -> None:
    here(flows.ten_steps, 1)
    assert caplog.records == []


def test_a_script_is_not_imported_elsewhere(tmp_path: Path) -> None:
    """It would do again what it does, without end."""
    script = tmp_path / "script.py"
    script.write_text(
        "import warnings\n"
        "from fluxo import step, workflow\n"
        "from fluxo.testing import check_durable\n"
        "@workflow\n"
        "def alone(n: int) -> int:\n"
        "    return n\n"
        "warnings.simplefilter('ignore')\n"
        "print(check_durable(alone, 1).elsewhere)\n"
    )
    done = subprocess.run(
        [sys.executable, str(script)], check=True, capture_output=True, text=True, timeout=50, env={**os.environ}
    )
    assert done.stdout == "False\n"
