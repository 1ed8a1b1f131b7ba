"""
Whether a trial kept what fluxo promises, measured against the same case played without any fault.

Owns: the rules, and the words for what breaks them. Must not know how trials are made. The principle is Durable
Functions' observational equivalence (reliability.md §1): a workflow's course is a function of what it was told, so two
trials that were told the same must have asked for the same and ended alike; and a result that is recorded is never
computed again.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from fluxo.authoring.registry import find_step
from fluxo.codec.failure import error_of
from fluxo.codec.payload import ANY
from fluxo.errors import CodecError
from fluxo.model.events import Event, RunStarted, StepCompleted, StepFailed
from fluxo.model.run import ENDED, RunStatus
from fluxo.testing.trial import Fact, Trial

__all__ = ["Problem", "judge", "judge_alone", "unfaithful_payload"]


@dataclass(frozen=True)
class Problem:
    """
    What is wrong with a trial.

    Attributes:
        what: In a sentence.
        seq: The first event that shows it; 0 if none does.
        sites: Where the code stood: recorded, and now.
    """

    what: str
    seq: int = 0
    sites: tuple[str, str] | None = None


def judge_alone(trial: Trial) -> Problem | None:
    """What can be said of a trial by itself: it ended, and nothing was done twice."""
    outcome = trial.outcome
    if outcome.status is RunStatus.BLOCKED:
        seq = getattr(trial.history[-1], "seq", len(trial.history))
        return Problem(f"the run was blocked: {outcome.report}", seq)
    if outcome.status not in ENDED:
        waits = getattr(trial.history[-1], "waits", ()) if trial.history else ()
        waited = ", ".join(f"{wait.kind} {wait.name!r} at {wait.site}" for wait in waits)
        return Problem(
            f"the run never ends; it is {outcome.status}"
            + (f" and waits for {waited}" if waited else "")
            + ". If it waits for a signal, say what it is sent: check_durable.options(sent=[Sent(name, payload)])"
        )
    if trial.repeated:
        return Problem(f"step {trial.repeated[0]} was executed again although its result was recorded")
    return _too_often(trial)


def judge(base: Trial, trial: Trial) -> Problem | None:
    """A trial against the one without faults."""
    problem = judge_alone(trial)
    if problem is not None:
        return problem
    for before, now in zip(base.facts, trial.facts, strict=False):
        if before == now:
            continue
        if before.place == now.place and before.command != now.command:
            # Told the same up to here, it must ask for the same.
            return Problem(
                f"after the same results the code asked for {_shown(now)} instead of {_shown(before)}",
                _seq(trial, now),
                (before.site, now.site),
            )
        # A race went the other way, or a step answered otherwise: from here on the courses may differ.
        return None
    if base.outcome != trial.outcome or not _only_losers(base, trial):
        ends = f"{base.outcome} without a fault, {trial.outcome} with it"
        return Problem(f"the workflow was told the same and ended otherwise: {ends}", len(trial.history))
    return None


def _only_losers(base: Trial, trial: Trial) -> bool:
    """
    Whether what one of two trials was told beyond the other is of no consequence.

    A step that has lost a race may be recorded just before the end of its run, or never; but one that the other
    trial has not even begun was asked for by a code that went on where it should have ended.
    """
    shorter, longer = sorted((base, trial), key=lambda one: len(one.facts))
    begun = {call.key.split("/", 2)[2] for call in shorter.bodies.calls}
    beyond = [fact for fact in longer.facts[len(shorter.facts) :] if fact.command[0] == "step"]
    return all(f"{fact.place[0] or 'main'}/{fact.place[1]}" in begun for fact in beyond)


def unfaithful_payload(trial: Trial) -> Problem | None:
    """A payload of the log that, read and written again, is not what it was."""
    for seq, event in enumerate(trial.history, 1):
        try:
            written = _rewritten(event)
        except CodecError as problem:
            return Problem(f"a payload cannot be read and written again: {problem}", seq)
        if written is not None and written[0] != written[1]:
            return Problem(
                f"the payload of {type(event).__name__} is read and written again as another: "
                f"{written[0][:200]!r} became {written[1][:200]!r}",
                seq,
            )
    return None


def _rewritten(event: Event) -> tuple[bytes, bytes] | None:
    if isinstance(event, StepCompleted):
        step = find_step(event.name)
        codec = ANY if step is None else step.result
        return event.result, codec.encode(codec.decode(event.result, event.name), event.name)
    if isinstance(event, StepFailed):
        error_of(event.failure, event.name)
    if isinstance(event, RunStarted):
        from fluxo.authoring.registry import find_workflow

        definition = find_workflow(event.workflow, event.version)
        if definition is not None:
            args, kwargs = definition.arguments.decode(event.input, definition.where)
            return event.input, definition.arguments.encode(args, kwargs, definition.where)
    return None


def _too_often(trial: Trial) -> Problem | None:
    """An attempt runs once, and once more for each crash at most."""
    for (key, attempt), times in Counter((call.key, call.attempt) for call in trial.bodies.calls).items():
        if times > 1 + len(trial.crashes):
            return Problem(f"attempt {attempt} of {key} ran {times} times, with {len(trial.crashes)} crashes")
    return None


def _shown(fact: Fact) -> str:
    kind, name, args = fact.command
    text = "" if args is None else args.decode("utf-8", "replace")
    return f"{kind} {name!r} {text[:120]}"


def _seq(trial: Trial, fact: Fact) -> int:
    for seq, event in enumerate(trial.history, 1):
        if (getattr(event, "scope", None), getattr(event, "position", None)) == fact.place:
            return seq
    return 0
