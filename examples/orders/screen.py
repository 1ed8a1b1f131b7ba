"""
How the demo looks: a progress bar and tables on a terminal, plain lines anywhere else.

Owns: the two appearances. Must not know what is shown. rich (the extra ``cli``) is used when it is installed
and the output is a terminal.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

__all__ = ["PlainScreen", "Screen", "open_screen"]

REPORTS = 10


class PlainScreen:
    """Lines of text: what a log file sees."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._reported = 0

    def say(self, text: str) -> None:
        """One line."""
        print(text, file=self._out, flush=True)

    def progress(self, done: int, total: int, note: str) -> None:
        """Where the work stands; shown every tenth of the way."""
        tenth = done * REPORTS // max(1, total)
        if tenth > self._reported:
            self._reported = tenth
            self.say(f"          {done} of {total} orders, {note}")

    def table(self, title: str, rows: Sequence[tuple[str, str, str]]) -> None:
        """Three columns: what, how much, and what that means."""
        self.say(f"\n{title}")
        wide = [max((len(row[column]) for row in rows), default=0) for column in (0, 1)]
        for what, value, meaning in rows:
            self.say(f"  {what:<{wide[0]}}  {value:>{wide[1]}}  {meaning}".rstrip())

    def close(self) -> None:
        """Nothing moves any more; `say` and `table` still work."""


class RichScreen(PlainScreen):
    """A progress bar that stays at the bottom, and tables with lines."""

    def __init__(self, out: TextIO) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        super().__init__(out)
        self._console = Console(file=out, highlight=False)
        columns = (
            TextColumn("orders"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.description}"),
        )
        self._bar: Progress = Progress(*columns, console=self._console)
        self._task: TaskID | None = None

    def say(self, text: str) -> None:
        self._console.print(text, markup=False, soft_wrap=True)

    def progress(self, done: int, total: int, note: str) -> None:
        if self._task is None:
            self._task = self._bar.add_task(note, total=total)
            self._bar.start()
        self._bar.update(self._task, completed=done, description=note)

    def table(self, title: str, rows: Sequence[tuple[str, str, str]]) -> None:
        from rich.table import Table

        table = Table(title=title, title_justify="left", show_header=False)
        table.add_column(style="bold", no_wrap=True)
        table.add_column(justify="right", no_wrap=True)
        if any(meaning for _, _, meaning in rows):
            table.add_column()
        for what, value, meaning in rows:
            style = {"ok": "green", "BROKEN": "bold red"}.get(value, "")
            cells = (what, f"[{style}]{value}[/]" if style else value, meaning)
            table.add_row(*cells[: len(table.columns)])
        self._console.print()
        self._console.print(table)

    def close(self) -> None:
        self._bar.stop()


Screen = PlainScreen
"""What the rest of the demo draws on."""


def open_screen(out: TextIO) -> Screen:
    """The best appearance that this output and this installation allow."""
    if out.isatty():
        try:
            return RichScreen(out)
        except ImportError:
            pass
    return PlainScreen(out)
