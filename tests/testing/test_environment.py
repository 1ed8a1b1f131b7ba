"""
`Environment`: time passes when the test says so, and the process dies where the test says so.

Owns: what a user's test may rely on. Must not know how the simulation works.
"""

from __future__ import annotations

from datetime import timedelta

import pytest

import fluxo
from fluxo import RunCancelledError, RunFailedError, RunStatus, UsageError
from fluxo.testing import Environment, SimulationStuckError
from tests.testing import flows


def test_a_run_goes_as_far_as_it_comes_without_time_passing() -> None:
    with Environment() as env:
        run = env.start(flows.order_total, flows.Order("a", [1, 2]))
        assert run.status is RunStatus.WAITING
        assert run.step("price").attempts == 2
        env.advance("2d")
        assert run.status is RunStatus.WAITING
        env.advance(timedelta(days=1))
        assert run.status is RunStatus.COMPLETED
        assert run.result() == 9


def test_result_skips_to_the_end() -> None:
    with Environment() as env:
        began = env.now
        assert env.run(flows.order_total, flows.Order("a", [1, 2]), discount=2) == 7
        assert env.now - began == timedelta(days=3)


def test_async_workflows_take_no_real_time_either() -> None:
    with Environment() as env:
        assert env.run(flows.gathered, 1) == 12


def test_a_signal_reaches_the_run_and_a_late_one_does_not() -> None:
    with Environment() as env:
        run = env.start(flows.approved, 1)
        run.signal("approval", "yes")
        assert run.result() == "yes"
        late = env.start(flows.approved, 1)
        env.advance("1h1s")
        assert late.result() == "expired"
        assert late.step("refund").results == [-1]


def test_waiting_for_a_signal_that_nobody_sends_is_said() -> None:
    with Environment() as env:
        run = env.start(flows.patient, 1)
        with pytest.raises(SimulationStuckError, match=r"waiting and waits for signal 'go' at flows.py"):
            run.result()
        run.signal("go", 4)
        assert run.result() == 7


def test_attempts_their_arguments_results_and_errors_can_be_looked_at() -> None:
    def third_time(line: int) -> int | Exception:
        return ConnectionError(f"attempt {fluxo.info().attempt}") if fluxo.info().attempt < 3 else line * 2

    with Environment(fakes={"fragile": third_time}) as env:
        run = env.start(flows.compensated, 21)
        assert run.step("fragile").attempts == 1
        assert run.result() == 42
        calls = run.step("fragile")
        assert calls.attempts == 3
        assert calls.args == [(21,)] * 3
        assert calls.results == [42]
        assert [str(error) for error in calls.errors] == ["attempt 1", "attempt 2"]
        assert [call.attempt for call in calls.calls] == [1, 2, 3]


def test_a_fake_may_be_changed_later() -> None:
    with Environment(fakes={"fragile": ConnectionError("down")}) as env:
        run = env.start(flows.compensated, 1)
        with pytest.raises(RunFailedError) as caught:
            run.result()
        assert isinstance(caught.value.__cause__, ConnectionError)
        env.fake("fragile", 5)
        run.resume()
        assert run.result() == 5


@pytest.mark.parametrize("moment, attempts", [("before:price", 2), ("after:price", 2), ("recorded:price", 1)])
def test_a_process_dies_where_the_test_says_and_the_run_goes_on_in_the_next(moment: str, attempts: int) -> None:
    with Environment() as env:
        env.crash_at(moment)
        first = env.engine
        run = env.start(flows.patient, 1)
        run.signal("go", 4)
        assert run.result() == 7
        assert env.crashes == 1
        assert env.engine is not first
        assert run.step("price").attempts == attempts
        assert len({call.key for call in run.step("price").calls}) == 1


def test_a_crash_in_an_async_step_is_no_other() -> None:
    with Environment() as env:
        env.crash_at("after:fetch", times=2)
        run = env.start(flows.gathered, 1)
        assert run.result() == 12
        assert env.crashes == 2
        assert run.step("fetch").attempts == 5


def test_a_process_may_die_while_its_run_waits() -> None:
    with Environment() as env:
        run = env.start(flows.approved, 1)
        env.crash()
        assert run.status is RunStatus.WAITING
        run.signal("approval", "after all")
        assert run.result() == "after all"
        assert run.step("price").attempts == 1


def test_a_run_may_be_cancelled() -> None:
    with Environment() as env:
        run = env.start(flows.approved, 1)
        assert run.cancel()
        with pytest.raises(RunCancelledError):
            run.result()


def test_resources_reach_steps_and_ids_are_the_callers() -> None:
    with Environment(resources={"rate": 3}) as env:
        env.fake("price", lambda line: line * fluxo.resource("rate"))
        run = env.start(flows.ten_steps.options(id="mine"), 1)
        assert run.id == "mine"
        assert run.result() == 3**10 % 1000
        assert type(run.history()[-1]).__name__ == "RunCompleted"


@pytest.mark.parametrize("moment", ["charge", "between:charge", "after:"])
def test_a_moment_that_is_none_is_refused(moment: str) -> None:
    with Environment() as env, pytest.raises(UsageError, match="is no moment"):
        env.crash_at(moment)


def test_the_plugin_brings_an_environment(fluxo_environment: Environment) -> None:
    assert fluxo_environment.run(flows.gathered, 1) == 12


def test_the_plugin_brings_an_engine_in_memory(fluxo_engine: fluxo.Engine) -> None:
    assert fluxo_engine.run(flows.compensated, 2) == 2


def test_the_time_of_the_next_attempt_outlives_the_process() -> None:
    with Environment(fakes={"fragile": ConnectionError("down")}) as env:
        run = env.start(flows.compensated, 1)
        env.advance("1s")
        env.crash()  # while a thread still waits with the run, so that it is taken over before it is due
        env.advance("40s")
        assert run.step("fragile").attempts == 1
        env.fake("fragile", 8)
        env.advance("30s")
        assert run.step("fragile").attempts == 2
        assert run.result() == 8
