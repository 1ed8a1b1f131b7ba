"""
A new deploy meets runs of an older one: types that changed, classes that are gone.

Owns: that what cannot be read blocks its run and goes on once it can. Must not know changed commands
(`test_divergence.py`).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

import fluxo
from fluxo import RunBlockedError, RunStatus, step, workflow
from tests.e2e.places import Facts, Place

COLOURS = pytest.mark.parametrize("colour", ["sync", "async"])


def deploy_flow(kind: Any, colour: str) -> Any:
    """The workflow as a deploy has it whose input is annotated as `kind`."""

    def flow(value):  # type: ignore[no-untyped-def]
        return [value, fluxo.wait_signal("go", str)]

    async def flow_later(value):  # type: ignore[no-untyped-def]
        return [value, await fluxo.aio.wait_signal("go", str)]

    chosen = flow if colour == "sync" else flow_later
    chosen.__annotations__ = {"value": kind, "return": list[Any]}
    return workflow(name="changes its input")(chosen)


def deploy_step(kind: Any, colour: str) -> Any:
    """A workflow whose step's result is annotated as `kind`."""

    def number():  # type: ignore[no-untyped-def]
        return 7

    number.__annotations__ = {"return": kind}
    given = step(name="changes its result")(number)

    def flow() -> list[Any]:
        return [given(), fluxo.wait_signal("go", str)]

    async def flow_later() -> list[Any]:
        return [await given.aio(), await fluxo.aio.wait_signal("go", str)]

    return workflow(name="uses a result")(flow if colour == "sync" else flow_later)


def park(place: Place, flow: Any, *args: Any) -> None:
    """Start the run, let it wait for its signal, and close."""
    facts = Facts()
    with place.engine(observers=[facts]) as engine:
        engine.start(flow.options(id="old"), *args)
        facts.wait("run_waiting", "old")


@COLOURS
def test_an_input_that_cannot_be_read_any_more_blocks_the_run_until_it_can(place: Place, colour: str) -> None:
    park(place, deploy_flow(int, colour), 7)
    deploy_flow(list[str], colour)
    with place.engine() as engine:
        engine.signal("old", "go", "on")
        with pytest.raises(RunBlockedError, match=r"blocked \(undecodable\).*'changes its input'"):
            engine.get("old").result(timeout=10)
    deploy_flow(int, colour)
    with place.engine() as engine:
        engine.resume("old")
        assert engine.get("old").result(timeout=10) == [7, "on"]


@COLOURS
def test_a_result_that_cannot_be_read_any_more_blocks_the_run_until_it_can(place: Place, colour: str) -> None:
    park(place, deploy_step(int, colour))
    deploy_step(list[str], colour)
    with place.engine() as engine:
        engine.signal("old", "go", "on")
        with pytest.raises(RunBlockedError, match=r"blocked \(undecodable\).*'changes its result'"):
            engine.get("old").result(timeout=10)
    deploy_step(int, colour)
    with place.engine() as engine:
        engine.resume("old")
        assert engine.get("old").result(timeout=10) == [7, "on"]


@pytest.fixture
def bank() -> Iterator[ModuleType]:
    """A module of the user's with an error class, loaded until a test takes it away."""
    module = ModuleType("bank_of_the_user")
    module.DeclinedError = type("DeclinedError", (Exception,), {"__module__": module.__name__})  # type: ignore[attr-defined]
    sys.modules[module.__name__] = module
    yield module
    sys.modules.pop(module.__name__, None)


@COLOURS
def test_an_error_whose_module_is_not_loaded_blocks_the_run_and_is_never_another_class(
    place: Place, bank: ModuleType, colour: str
) -> None:
    caught: list[str] = []

    @step
    def decline() -> None:
        raise bank.DeclinedError("no funds")

    def note(error: Exception) -> None:
        caught.append(f"{type(error).__name__}: {error}")

    @workflow
    def buy() -> str:
        try:
            decline()
        except Exception as error:
            note(error)
        return fluxo.wait_signal("go", str)

    @workflow
    async def buy_later() -> str:
        try:
            await decline.aio()
        except Exception as error:
            note(error)
        return await fluxo.aio.wait_signal("go", str)

    park(place, buy if colour == "sync" else buy_later)
    del sys.modules[bank.__name__]
    with place.engine() as engine:
        engine.signal("old", "go", "on")
        with pytest.raises(RunBlockedError, match="bank_of_the_user"):
            engine.get("old").result(timeout=10)
        assert engine.get("old").status() is RunStatus.BLOCKED
    assert caught == ["DeclinedError: no funds"]
    sys.modules[bank.__name__] = bank
    with place.engine() as engine:
        engine.resume("old")
        assert engine.get("old").result(timeout=10) == "on"
    assert caught == ["DeclinedError: no funds"] * 2
