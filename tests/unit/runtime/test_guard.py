"""
The guard, asked about one call at a time.

Owns: which calls it advises on, by who called what. Must not know how the interpreter reports calls: tests report them
by hand, because no tracer sees what runs inside of a profile function. What users meet is in tests/e2e.
"""

from __future__ import annotations

import io
import random
import sys
import time
import types
from collections.abc import Callable
from datetime import datetime
from types import FrameType
from typing import Any

import pytest

from fluxo import Engine, UsageError, step, workflow
from fluxo.runtime.guard import guard_for, guarded
from fluxo.stores import MemoryStore

GUARD = guard_for("raise")
clock, date, chance = time.time, datetime.now, random.random  # noqa: TID251 - what a guard is for
said: list[str] = []


def tell(event: str, called: Any, frame: FrameType) -> None:
    """Report a call to the guard and keep what it says."""
    try:
        GUARD(frame, event, called)
    except UsageError as advice:
        said.append(str(advice))
    else:
        said.append("")


def function_of(module: str, name: str) -> Callable[..., Any]:
    """A function that seems to be this module's, and reports its own frame."""
    space: dict[str, Any] = {"__name__": module, "sys": sys}
    exec(f"def {name}(report, self=None): report(sys._getframe())", space)  # noqa: S102 - the test's own text
    made: types.FunctionType = space[name]
    return made


def report(frame: FrameType) -> None:
    tell("call", None, frame)


@workflow
def calls_builtins() -> None:
    for called in (clock, date, chance, len, io.StringIO().write, print):
        tell("c_call", called, sys._getframe())


@workflow
def calls_functions() -> None:
    function_of("uuid", "uuid4")(report)
    function_of("random", "choice")(report, random._inst)  # type: ignore[attr-defined]
    function_of("random", "choice")(report, random.Random(1))
    function_of("__main__", "anything")(report)
    tell("return", None, sys._getframe())


@step
def asks() -> None:
    tell("c_call", clock, sys._getframe())


@workflow
def calls_a_step() -> None:
    asks()


def told(flow: Any) -> list[str]:
    said.clear()
    with Engine(MemoryStore()) as engine:
        engine.run(flow)
    return [advice.split(":")[0].rpartition(" at ")[0] for advice in said]


def test_builtins_are_known_by_their_owner() -> None:
    assert [advice.split()[1:] for advice in told(calls_builtins)] == [
        ["time.time"],
        ["datetime.datetime.now"],
        ["random.random"],
        [],
        [],
        [],
    ]


def test_functions_are_known_by_their_module_and_chance_by_the_shared_generator() -> None:
    ids, shared, *rest = told(calls_functions)
    assert (ids.split()[1:], shared.split()[1:]) == (["uuid.uuid4"], ["random.choice"])
    assert rest == ["", "", ""]


def test_a_step_may_call_anything_and_so_may_code_outside_of_a_run() -> None:
    assert told(calls_a_step) == [""]
    said.clear()
    tell("c_call", clock, sys._getframe())
    assert said == [""]


def test_a_warning_names_the_line_of_the_call() -> None:
    warn = guard_for("warn")

    @workflow(name="warned")
    def warned() -> None:
        warn(sys._getframe(), "c_call", clock)
        warn(sys._getframe(), "c_call", len)

    with Engine(MemoryStore()) as engine, pytest.warns(RuntimeWarning, match=r"time\.time at test_guard\.py") as caught:
        engine.run(warned)
    assert caught[0].filename == __file__


def test_a_profiler_that_was_there_is_there_afterwards() -> None:
    standing = sys.getprofile()
    with guarded(GUARD):
        assert sys.getprofile() is GUARD
    assert sys.getprofile() is standing
