"""
``fluxo worker APP``: a process that executes runs until it is told to stop.

Owns: which engine it is. Must not know how one serves: SIGTERM and SIGINT drain, a second one ends at once.
"""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING

import click

from fluxo.cli.application import attribute_of, import_application

if TYPE_CHECKING:
    from fluxo.engine import Engine

__all__ = ["command"]

UNREACHABLE = 5


@click.command("worker")
@click.argument("app")
@click.option("--store", "url", envvar="FLUXO_STORE", default=None, help="URL of the store, if APP names no engine.")
@click.option("--namespace", default="default", show_default=True, help="Of runs, if APP names no engine.")
@click.option("--queues", default=None, help="Names, with commas between them; others than the engine's own.")
@click.option("--concurrency", type=click.IntRange(1), default=None, help="Sync runs at once; a thread each.")
@click.option("--drain", type=float, default=None, help="Seconds that steps under way get after SIGTERM.")
def command(
    app: str, url: str | None, namespace: str, queues: str | None, concurrency: int | None, drain: float | None
) -> None:
    """
    Execute runs until SIGTERM or SIGINT; then let steps finish, hand runs back, and exit with 0.

    APP is module:engine, where engine is a fluxo.Engine that is not open; or a module or file, whose workflows are then
    executed on the store of --store.
    """
    from fluxo.errors import FluxoError, UsageError
    from fluxo.limits import DRAIN_S

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    import_application(app)
    try:
        engine = _engine(app, url, namespace)
        names = None if queues is None else [name.strip() for name in queues.split(",")]
        engine.serve(queues=names, concurrency=concurrency, drain=DRAIN_S if drain is None else drain)
    except UsageError as problem:
        raise click.UsageError(str(problem)) from problem
    except FluxoError as problem:
        click.echo(f"worker: {problem}", err=True)
        sys.exit(UNREACHABLE)


def _engine(app: str, url: str | None, namespace: str) -> Engine:
    from fluxo.engine import Engine

    found = attribute_of(app)
    if found is None:
        return Engine(url, namespace=namespace)
    if not isinstance(found, Engine):
        raise click.UsageError(f"{app} is {type(found).__name__}, not a fluxo.Engine")
    return found
