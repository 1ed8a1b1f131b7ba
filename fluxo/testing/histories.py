"""
Golden histories: logs kept in files, to be replayed by every later version of the code.

Owns: the files' format and finding the code for each. Must not know what a replay does. A file is JSON: one run, its
rows in base64, and beside each row what it says, for people who review a change. Only data is read from it.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Final

import msgspec

from fluxo.authoring.registry import find_workflow, workflows
from fluxo.codec.event import decode_event
from fluxo.engine import Engine, Handle
from fluxo.engine.rehearsal import Rehearsal, Rehearsed
from fluxo.errors import UsageError
from fluxo.model.events import CommandEvent, Event
from fluxo.runtime.reading import read_rows
from fluxo.store import EventRow
from fluxo.testing.environment import EnvironmentRun
from fluxo.testing.errors import HistoriesError

__all__ = ["read_history_file", "record_history", "replay_histories"]

FORMAT: Final = 1
SUFFIX: Final = ".history.json"


class _Row(msgspec.Struct):
    seq: int
    nonce: int
    digest: int
    body: str
    says: str


class _File(msgspec.Struct):
    format: int
    run_id: str
    workflow: str
    version: str
    rows: list[_Row]


def record_history(run: Handle[Any] | EnvironmentRun[Any], folder: str | PathLike[str]) -> Path:
    """
    Keep a run's log as it is now; the file is named after workflow, version and run, and replaced if it is there.

    Args:
        run: A handle, or a run of an `Environment`.
        folder: Made if it is not there.

    Returns:
        The file.
    """
    engine = run.engine if isinstance(run, EnvironmentRun) else None
    node = run.node if isinstance(run, Handle) else _node_of(engine)
    node.ready()
    record = node.control.find(run.id)
    rows = [_row(row) for row in read_rows(node.core.store, record.key)]
    kept = _File(FORMAT, run.id, record.workflow, record.version, rows)
    path = Path(folder) / f"{_plain(record.workflow)}-{_plain(record.version)}-{_plain(run.id)}{SUFFIX}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(kept), indent=1) + b"\n")
    return path


def replay_histories(folder: str | PathLike[str]) -> list[Rehearsed]:
    """
    Replay every history in a folder against the code at hand; nothing is executed.

    The workflows must have been imported. A new version of a workflow does not replay the histories of an older one:
    keep the old code registered under its version for as long as there are runs of it.

    Raises:
        HistoriesError: an AssertionError that lists what would break, and where.
        UsageError: there are no histories, or a file is none.
    """
    paths = sorted(Path(folder).rglob(f"*{SUFFIX}"))
    if not paths:
        raise UsageError(f"there are no histories (*{SUFFIX}) in {folder}: make some with record_history(run, folder)")
    replayed: list[Rehearsed] = []
    with Rehearsal() as rehearsal:
        for path in paths:
            run_id, workflow, version, rows = read_history_file(path)
            definition = find_workflow(workflow, version)
            if definition is None:
                known = ", ".join(f"{name} ({number})" for name, number in workflows()) or "none"
                problem = f"no workflow {workflow!r}, version {version!r}, is registered; there are: {known}"
                replayed.append(Rehearsed(run_id, workflow, version, len(rows), problem))
            else:
                replayed.append(rehearsal.replay(run_id, rows, definition))
    broken = [(path.name, str(one.problem)) for path, one in zip(paths, replayed, strict=True) if not one.holds]
    if broken:
        raise HistoriesError(len(paths), broken)
    return replayed


def read_history_file(path: Path) -> tuple[str, str, str, Sequence[EventRow]]:
    """
    (run id, workflow, version, rows) of a file.

    Raises:
        UsageError: it is no history of this format.
    """
    try:
        kept = msgspec.json.decode(path.read_bytes(), type=_File)
        rows = [(row.seq, row.nonce, row.digest, base64.b64decode(row.body, validate=True)) for row in kept.rows]
    except (msgspec.DecodeError, UnicodeDecodeError, binascii.Error) as problem:
        raise UsageError(f"{path} is no history: {problem}") from None
    if kept.format != FORMAT:
        raise UsageError(f"{path} has format {kept.format}; this fluxo reads format {FORMAT}")
    return kept.run_id, kept.workflow, kept.version, rows


def _node_of(engine: Engine | None) -> Any:
    if engine is None:
        raise UsageError("record_history takes a handle, or a run of an Environment")
    return engine._node  # pyright: ignore[reportPrivateUsage]  # an environment has no handles that outlive a crash


def _row(row: EventRow) -> _Row:
    return _Row(row[0], row[1], row[2], base64.b64encode(row[3]).decode(), _says(decode_event(row[3])))


def _says(event: Event) -> str:
    kind = type(event).__name__
    if not isinstance(event, CommandEvent):
        return kind
    return f"{kind} {event.name} {event.scope or 'main'}#{event.position} at {event.site}"


def _plain(name: str) -> str:
    """A name as part of a file name."""
    return re.sub(r"[^A-Za-z0-9_.]+", "_", name)
