"""
What a failed check tells its reader.

Owns: the story of a trial, and a regression test to paste. Must not know how the failure was found.
"""

from __future__ import annotations

from collections.abc import Sequence

from fluxo.model.events import CommandEvent, Event
from fluxo.testing.judging import Problem
from fluxo.testing.trial import Case, Trial

__all__ = ["regression", "story"]

_SHOWN_EVENTS = 6


def story(problem: Problem, trial: Trial, schedule: Sequence[int], how: str) -> str:
    """What was done, where it died, and the events around the first that differs."""
    lines = [f"found: {how}"]
    for point, (name, events) in zip(schedule, trial.crashes, strict=False):
        last = f", the last {_shown(trial.history[events - 1])}" if 0 < events <= len(trial.history) else ""
        lines.append(f"crash at point {point}, {name}: the log held {events} events{last}")
    if problem.sites is not None:
        lines += [f"recorded at: {problem.sites[0]}", f"produced at: {problem.sites[1]}"]
    if problem.seq:
        lines.append(f"first diverging event: {problem.seq}")
        first = max(1, problem.seq - _SHOWN_EVENTS + 1)
        for seq in range(first, min(len(trial.history), problem.seq + 1) + 1):
            mark = ">" if seq == problem.seq else " "
            lines.append(f"  {mark} {seq:>4} {_shown(trial.history[seq - 1])}")
    return "\n".join(lines)


def regression(case: Case, schedule: Sequence[int]) -> str:
    """A test that plays the same case with the same schedule."""
    workflow = case.workflow
    fn = workflow.fn
    options: list[str] = []
    if schedule:
        options.append(f"schedules=[{tuple(schedule)!r}]")
    if case.sent:
        options.append(f"sent={list(case.sent)!r}")
    if case.fakes:
        options.append(f"fakes={dict(case.fakes)!r}")
    if case.resources:
        options.append("resources=...")
    call = f"check_durable.options({', '.join(options)})" if options else "check_durable"
    given = [repr(arg) for arg in case.args] + [f"{name}={value!r}" for name, value in case.kwargs.items()]
    name = fn.__name__
    return (
        "a test to keep:\n"
        "    from fluxo.testing import Sent, check_durable\n"
        f"    from {fn.__module__} import {fn.__qualname__.split('.')[0]}\n\n"
        f"    def test_{name}_is_durable() -> None:\n"
        f"        {call}({', '.join([fn.__qualname__, *given])})"
    )


def _shown(event: Event) -> str:
    if isinstance(event, CommandEvent):
        place = f"{event.scope or 'main'}#{event.position}"
        return f"{type(event).__name__} {event.name!r} ({place}) at {event.site}"
    return type(event).__name__
