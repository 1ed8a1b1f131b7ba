"""
``fluxo lint PATH...``.

Owns: how findings are printed. Must not know rules.
"""

from __future__ import annotations

import sys
from pathlib import Path

import click
import msgspec

__all__ = ["command"]


@click.command("lint")
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("-o", "--output", type=click.Choice(["text", "jsonl"]), default="text", help="One line per finding.")
def command(paths: tuple[Path, ...], output: str) -> None:
    """Find in the workflows under PATHS what no replay repeats; nothing is imported or executed."""
    from fluxo.testing.lint import lint

    findings = lint(paths)
    for finding in findings:
        click.echo(str(finding) if output == "text" else msgspec.json.encode(finding))
    sys.exit(1 if findings else 0)
