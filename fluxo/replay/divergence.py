"""
The report of a run that left its recorded path.

Owns: the table of recorded against produced, and its wording. Must not know how the divergence was found.
"""

from __future__ import annotations

from fluxo.errors import NonDeterminismError
from fluxo.model.events import CommandEvent, Event, RunWaiting, Wait
from fluxo.replay.command import Command
from fluxo.replay.operations import kind_of

__all__ = ["differing", "diverged", "row_of_command", "row_of_end", "row_of_event", "row_of_wait"]

_SHOWN_ARGS = 120
_SHOWN_DIFFERENCE = 24

Row = tuple[str, str, str, str, str]
"""(scope and position, kind, name, arguments, call site)"""


def diverged(run_id: str, seq: int, recorded: Row | None, produced: Row | None, difference: str) -> NonDeterminismError:
    """
    The error for event `seq`: what the history holds against what the code asked for.

    Either row may be missing: a recorded command that the code no longer issues, or one that the
    history has no place for.
    """
    lines = [f"first difference: {difference}", _line("", ("place", "kind", "name", "arguments", "call site"))]
    lines.append(_line("recorded", recorded or ("-", "-", "nothing", "-", "-")))
    lines.append(_line("produced", produced or ("-", "-", "nothing", "-", "-")))
    lines.append(
        "Either the code changed since this run began (put it back, or give the new code a new version=), "
        "or the workflow is not deterministic (clock, random, set order or I/O outside a step)."
    )
    return NonDeterminismError(run_id, seq, _short(recorded), _short(produced), "\n".join(lines))


def differing(recorded: bytes, produced: bytes) -> str:
    """Where two encoded argument lists part, and what stands there."""
    shorter = min(len(recorded), len(produced))
    same = next((n for n in range(shorter) if recorded[n] != produced[n]), shorter)
    return f"arguments, from byte {same}: recorded {_part(recorded, same)}, produced {_part(produced, same)}"


def row_of_event(event: Event | CommandEvent) -> Row:
    """How a recorded event is shown."""
    if isinstance(event, CommandEvent):
        return (_place(event.scope, event.position), kind_of(event), event.name, _args(event.args), event.site)
    if isinstance(event, RunWaiting) and event.waits:
        return row_of_wait(event.waits[0])
    return ("-", "-", type(event).__name__, "-", "-")


def row_of_wait(wait: Wait) -> Row:
    """How a recorded wait is shown."""
    return (_place(wait.scope, wait.position), wait.kind, wait.name, _args(wait.args), wait.site)


def row_of_command(command: Command) -> Row:
    """How a produced command is shown."""
    return (_place(command.scope, command.position), command.kind, command.name, _args(command.args), command.site)


def row_of_end(how: str, site: str) -> Row:
    """How the end of the workflow is shown where the history goes on."""
    return ("main", "end", how, "-", site)


def _place(scope: str, position: int) -> str:
    return f"{scope or 'main'}#{position}"


def _args(args: bytes | None) -> str:
    if args is None:
        return "not recorded"
    text = args.decode("utf-8", "replace")
    return text if len(text) <= _SHOWN_ARGS else f"{text[:_SHOWN_ARGS]}… ({len(args)} bytes)"


def _part(args: bytes, start: int) -> str:
    return repr(args[start : start + _SHOWN_DIFFERENCE].decode("utf-8", "replace"))


def _short(row: Row | None) -> str:
    return "nothing" if row is None else f"{row[1]} {row[2]!r} at {row[4]}"


def _line(title: str, row: Row) -> str:
    place, kind, name, args, site = row
    return f"  {title:<9} {place:<10} {kind:<7} {name:<24} {site:<32} {args}"
