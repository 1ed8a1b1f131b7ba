"""
``fluxo replay --store URL APP``: would the code at hand go on with the runs there are?

Owns: which runs are looked at, and how the verdict is printed. Must not know how a replay is made. Only reads: no
worker is registered, nothing is claimed or written. Meant for the moment before a deployment; reading happens run by
run, so a run that goes on meanwhile is seen as it was at some moment.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import click
import msgspec

from fluxo.cli.application import import_application

__all__ = ["command"]

DIVERGED = 3
UNREACHABLE = 5


@click.command("replay")
@click.argument("app")
@click.option("--store", "url", envvar="FLUXO_STORE", required=True, help="URL of the store; default $FLUXO_STORE.")
@click.option("--namespace", default="default", show_default=True)
@click.option("--workflow", default=None, help="Look at the runs of this workflow only.")
@click.option("--allow-missing", is_flag=True, help="Pass over runs of workflows that APP does not have.")
@click.option("-o", "--output", type=click.Choice(["table", "jsonl"]), default="table", help="How to print it.")
def command(app: str, url: str, namespace: str, workflow: str | None, allow_missing: bool, output: str) -> None:
    """
    Replay every unfinished run in the store against the workflows of APP, executing nothing.

    APP is a module, module:attribute or file. Exits with 3 when a run would be blocked by this code, or has no workflow
    in it.
    """
    from fluxo.errors import FluxoError

    import_application(app)
    try:
        total = broken = missing = 0
        for line in _verdicts(url, namespace, workflow):
            total += 1
            missing += line.missing
            broken += not line.holds and not (line.missing and allow_missing)
            _print(line, output)
    except FluxoError as problem:
        click.echo(f"replay: {problem}", err=True)
        sys.exit(UNREACHABLE)
    told = f"{total} unfinished runs: {total - broken} would go on, {broken} would not"
    click.echo(told + (f" ({missing} of workflows that {app} does not have)" if missing else ""), err=True)
    sys.exit(DIVERGED if broken else 0)


class Line(msgspec.Struct):
    """One run's verdict, as it is printed."""

    run_id: str
    workflow: str
    version: str
    events: int
    holds: bool
    seq: int
    problem: str
    missing: bool = False


def _verdicts(url: str, namespace: str, workflow: str | None) -> Iterator[Line]:
    from fluxo.authoring.registry import find_workflow
    from fluxo.engine.rehearsal import Rehearsal
    from fluxo.errors import ConfigurationError
    from fluxo.model.run import OPEN, RunStatus
    from fluxo.runtime.reading import read_rows
    from fluxo.store import RunQuery
    from fluxo.stores.url import open_store

    if url.startswith("sqlite:") and not os.path.exists(url.partition(":///")[2]):
        raise ConfigurationError(f"there is no database at {url}")
    store = open_store(url)
    store.open()
    try:
        with Rehearsal() as rehearsal:
            cursor: int | None = None
            while True:
                page = store.find(RunQuery(namespace, (*OPEN, RunStatus.BLOCKED), workflow, before_key=cursor))
                for run in page.runs:
                    definition = find_workflow(run.workflow, run.version)
                    facts = run.run_id, run.workflow, run.version
                    if definition is None:
                        yield Line(*facts, run.tail_seq, False, 0, "no such workflow and version here", True)
                        continue
                    rehearsed = rehearsal.replay(run.run_id, list(read_rows(store, run.key)), definition)
                    problem = "" if rehearsed.holds else str(rehearsed.problem)
                    yield Line(*facts, rehearsed.events, rehearsed.holds, rehearsed.seq, problem)
                if page.before_key is None:
                    return
                cursor = page.before_key
    finally:
        store.close()


def _print(line: Line, output: str) -> None:
    if output == "jsonl":
        click.echo(msgspec.json.encode(line))
    elif not line.holds:
        click.echo(f"{line.run_id}  {line.workflow} {line.version}  event {line.seq} of {line.events}")
        click.echo(f"{line.problem}\n")
