"""
What the edited programs have in common: steps, the switch that deploys an edit, and the table they fill.

Owns: `reported` and `tolerated`, which register a program that takes whether it is the edited one. Must not know what
is done with them. A comment at the end of a line says which of the two rows of the report that line must stand in.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from os.path import basename
from typing import Any, NamedTuple

import fluxo
from fluxo import Retry, step, workflow
from tests.replaying import body_ran

Body = Callable[[bool], Any]
HOUR_S = 3600.0


class Edit(NamedTuple):
    """
    A program with its edit.

    Attributes:
        difference: How the report names the first difference; empty where nothing may be reported.
        produced: What the produced row says where no line of the program stands in it.
    """

    body: Body
    difference: str
    produced: str

    def site(self, row: str) -> str:
        """``file:line`` of the program's line that must stand in this row of the report; empty if none does."""
        lines, first = inspect.getsourcelines(self.body)
        marked = [first + n for n, line in enumerate(lines) if "# " in line and row in line.rpartition("# ")[2].split()]
        assert len(marked) <= 1
        return f"{basename(inspect.getsourcefile(self.body) or '')}:{marked[0]} in" if marked else ""


EDITS: dict[str, Edit] = {}
"""By colour and name."""

deployed = {"edited": False}


def reported(difference: str, produced: str = "") -> Callable[[Body], Body]:
    """Register a program whose edit leaves a trace in what is recorded."""

    def register(body: Body) -> Body:
        colour = "async" if inspect.iscoroutinefunction(body) else "sync"
        EDITS[f"{colour} {body.__name__}"] = Edit(body, difference, produced)
        return body

    return register


def tolerated(body: Body) -> Body:
    """Register a program whose edit is none of replay's business."""
    return reported("")(body)


@workflow(name="edits.sync")
def sync_flow(name: str) -> Any:
    return EDITS[name].body(deployed["edited"])


@workflow(name="edits.async")
async def async_flow(name: str) -> Any:
    return await EDITS[name].body(deployed["edited"])


@step(name="edits.add")
def add(number: float) -> float:
    body_ran()
    return number


@step(name="edits.take")
def take(number: float) -> float:
    body_ran()
    return -number


@step(name="edits.unrecorded", record_args=False)
def unrecorded(number: float) -> float:
    body_ran()
    return number


@step(name="edits.flaky", retry=Retry(initial=HOUR_S, maximum=HOUR_S))
def flaky(number: float) -> float:
    if fluxo.info().attempt == 1:
        raise ConnectionError("not yet")
    body_ran()
    return number


@step(name="edits.add_async")
async def add_async(number: float) -> float:
    body_ran()
    return number


@step(name="edits.take_async")
async def take_async(number: float) -> float:
    body_ran()
    return -number


@step(name="edits.unrecorded_async", record_args=False)
async def unrecorded_async(number: float) -> float:
    body_ran()
    return number


@step(name="edits.flaky_async", retry=Retry(initial=HOUR_S, maximum=HOUR_S))
async def flaky_async(number: float) -> float:
    if fluxo.info().attempt == 1:
        raise ConnectionError("not yet")
    body_ran()
    return number
