"""
The command line `fluxo`.

Owns: the list of commands, each loaded when it is called. Must not import an application, a driver or a testing tool
before it is asked to: ``--help`` answers at once. Standard output carries what was asked for, standard error the rest.
Exit codes: 0 done, 1 findings, 2 not usable like this, 3 a history would not replay, 5 the store cannot be reached.
"""

from __future__ import annotations

import importlib

import click

__all__ = ["main"]

_COMMANDS = {
    "lint": ("fluxo.cli.lint", "Find in workflows what no replay repeats."),
    "worker": ("fluxo.cli.worker", "Execute runs until told to stop."),
    "replay": ("fluxo.cli.replay", "Replay unfinished runs against the code at hand, executing nothing."),
}


class _Commands(click.Group):
    """Commands by name; a module is imported when its command is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = importlib.import_module(_COMMANDS[cmd_name][0]).command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, _COMMANDS[name][1]) for name in self.list_commands(ctx)])


@click.command(cls=_Commands)
def main() -> None:
    """Durable execution for Python: plain functions that survive crashes."""
