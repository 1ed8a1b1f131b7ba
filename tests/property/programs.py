"""
Random programs of steps, failures, retries, timers, races, signals and branches.

Owns: how a program is written down, how it is carried out by a sync and by an async workflow, and strategies that draw
one. Must not know what is asked of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeAlias

from hypothesis import strategies as st

import fluxo
from fluxo import Retry, SignalTimeoutError, step, workflow
from tests.replaying import body_ran

Node: TypeAlias = list[Any]
"""A program: the kind of a node, then what it needs."""

HOUR_S = 3600.0
FOR_EVER_S = 1e9
world = {"broken": False}


@step(name="laws.echo")
def echo(value: int) -> int:
    body_ran()
    return value


@step(name="laws.echo_async")
async def echo_async(value: int) -> int:
    body_ran()
    for _ in range(value % 3):
        await asyncio.sleep(0)
    return value


@step(name="laws.refuse")
def refuse(value: int) -> None:
    body_ran()
    raise ValueError(f"no {value}")


@step(name="laws.flaky", retry=Retry(max_attempts=3, initial=60))
def flaky(value: int) -> int:
    if fluxo.info().attempt <= value % 3:
        raise ConnectionError("not yet")
    body_ran()
    return value


@step(name="laws.never")
async def never() -> None:
    await asyncio.Event().wait()


@step(name="laws.fragile")
def fragile(value: int) -> int:
    body_ran()
    if world["broken"]:
        raise ConnectionError(f"{value} is away")
    return value


@workflow(name="laws.sync")
def sync_program(program: Node) -> list[Any]:
    observed: list[Any] = []
    return [play(program, observed), observed]


@workflow(name="laws.async")
async def async_program(program: Node) -> list[Any]:
    observed: list[Any] = []
    return [await play_async(program, observed), observed]


@workflow(name="laws.cancellable_sync")
def cancellable(program: Node) -> None:
    try:
        play(program, [])
    except fluxo.Cancelled:
        echo(1)
        flaky(2)
        raise


@workflow(name="laws.cancellable_async")
async def cancellable_async(program: Node) -> None:
    try:
        await play_async(program, [])
    except asyncio.CancelledError:
        await asyncio.gather(echo_async(1), flaky.aio(2))
        raise


LEAVES: dict[str, Any] = {"step": echo, "fail": refuse, "flaky": flaky}


def play(node: Node, observed: list[Any]) -> Any:
    """Carry out a node in a sync workflow; note each outcome when it is seen."""
    kind, what = node
    result: Any = what
    if kind in LEAVES:
        try:
            result = LEAVES[kind](what)
        except ValueError as error:
            result = str(error)
    elif kind == "sequence":
        return [play(child, observed) for child in what]
    elif kind == "parallel":
        futures = [LEAVES[leaf].submit(value) for leaf, value in what]
        observed += [futures.index(future) for future in fluxo.as_completed(futures)]
        return [str(one) if isinstance(one, ValueError) else one for one in settled(futures)]
    elif kind == "fragile":
        result = fragile(what)
    elif kind == "sleep":
        fluxo.sleep(what)
    elif kind == "late":
        try:
            fluxo.wait_signal("never", timeout=what)
        except SignalTimeoutError:
            result = "late"
    elif kind == "signal":
        result = fluxo.wait_signal("s", int)
    elif kind == "chance":
        result = [fluxo.random().random(), str(fluxo.uuid4())]
    observed.append(result)
    return result


def settled(futures: list[Any]) -> list[Any]:
    return fluxo.gather(*futures, return_exceptions=True)


async def play_async(node: Node, observed: list[Any]) -> Any:
    """Carry out a node in an async workflow; note each outcome when it is seen."""
    kind, what = node
    result: Any = what
    if kind in LEAVES:
        leaf = echo_async if kind == "step" and what % 2 else LEAVES[kind].aio
        try:
            result = await leaf(what)
        except ValueError as error:
            result = str(error)
    elif kind == "sequence":
        return [await play_async(child, observed) for child in what]
    elif kind in ("parallel", "branches"):
        return list(await asyncio.gather(*(play_async(child, observed) for child in what)))
    elif kind == "fragile":
        result = await fragile.aio(what)
    elif kind == "sleep":
        await asyncio.sleep(what)
    elif kind == "late":
        with suppress(TimeoutError):
            async with asyncio.timeout(what):
                await never()
        result = "late"
    elif kind == "in time":
        async with asyncio.timeout(FOR_EVER_S):
            return await play_async(what, observed)
    elif kind == "aborted":
        result = await abort(what, observed)
    elif kind == "signal":
        result = await fluxo.aio.wait_signal("s", int)
    elif kind == "chance":
        result = [fluxo.random().random(), str(fluxo.uuid4())]
    observed.append(result)
    return result


async def abort(children: list[Node], observed: list[Any]) -> str:
    """Children under a group that fails at once; each notes that it was stopped."""

    async def child(number: int, node: Node) -> None:
        try:
            await asyncio.sleep(FOR_EVER_S)
            await play_async(node, observed)
        finally:
            observed.append(f"stopped {number}")
            await echo_async(number)

    try:
        async with asyncio.TaskGroup() as group:
            for number, node in enumerate(children):
                group.create_task(child(number, node))
            group.create_task(fail_now())
    except* ValueError:
        pass
    return "aborted"


async def fail_now() -> None:
    raise ValueError("now")


values = st.integers(0, 9)
leaf = st.tuples(st.sampled_from(sorted(LEAVES)), values).map(list)
timed = st.tuples(st.sampled_from(["sleep", "late"]), st.sampled_from([0, 0.5, 60, HOUR_S])).map(list)
signal = st.just(["signal", None])
chance = st.just(["chance", None])
parallel = st.tuples(st.just("parallel"), st.lists(leaf, min_size=1, max_size=4)).map(list)


def several(kind: str) -> Callable[[st.SearchStrategy[Node]], st.SearchStrategy[Node]]:
    return lambda children: st.tuples(st.just(kind), st.lists(children, min_size=1, max_size=4)).map(list)


def within_time(children: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
    return st.tuples(st.just("in time"), children).map(list)


plain = st.recursive(leaf | timed | signal | parallel, several("sequence"), max_leaves=8)
"""Programs for both colours."""

unprompted = st.recursive(leaf | timed | parallel, several("sequence"), max_leaves=8)
"""Those that wait for no signal."""


def tangle(children: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
    kinds = [several(kind)(children) for kind in ("sequence", "branches", "aborted")]
    return st.one_of(*kinds, within_time(children))


tangled = st.recursive(leaf | timed | chance, tangle, max_leaves=8)
"""Programs that only tasks can carry out."""

needy = st.tuples(st.just("fragile"), values).map(list)
failing = st.recursive(leaf | timed | parallel | needy, several("sequence"), max_leaves=8)
failing_tangled = st.recursive(leaf | timed | needy, tangle, max_leaves=8)
"""Programs with steps that fail as long as the world is broken."""
