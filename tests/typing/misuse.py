"""
Uses that a type checker must refuse.

Owns: that each line is an error: an ignore that is not needed is itself one under `mypy --strict`. Must not be run.
"""

from __future__ import annotations

from fluxo import Engine, step, workflow


@step
def add(a: int, b: int = 1) -> int:
    return a + b


@workflow
def flow(a: int) -> int:
    return add(a)


@workflow
async def later(a: int) -> int:
    return await add.aio(a)


add("one")  # type: ignore[arg-type]
add(1, c=2)  # type: ignore[call-arg]
add.submit()  # type: ignore[call-arg]
add.map(["one"])  # type: ignore[list-item]
wrong: str = add(1)  # type: ignore[assignment]
add.options(retries=3)  # type: ignore[call-arg]
step(retries=3)  # type: ignore[call-overload]
flow("one")  # type: ignore[arg-type]

with Engine("memory://") as engine:
    engine.run(flow)  # type: ignore[call-overload]
    engine.run(flow, "one")  # type: ignore[call-overload]
    engine.start(later, 1, 2)  # type: ignore[call-overload]
    engine.start(add, 1)  # type: ignore[call-overload]
    text: str = engine.run(flow, 1)  # type: ignore[assignment]
