"""
`lint`: what a workflow does that no replay repeats, found by reading its source.

Owns: `Finding`, the order of findings, and the comment that accepts one. Must not know how they are found. Theory: a
static check sees what is spelled out; what it misses, the comparison with the history still finds.
"""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Iterable
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Final

from fluxo.replay import advice as rules
from fluxo.testing.lint.checks import checked
from fluxo.testing.lint.program import load

__all__ = ["Finding", "lint"]

_ACCEPTED: Final = re.compile(r"#\s*fluxo:\s*ok\b((?:[\s,]+FX\d+)*)")


@dataclass(frozen=True, order=True)
class Finding:
    """One place that no replay would repeat; `workflow` is one of the workflows that lead there."""

    path: str
    line: int
    column: int
    code: str
    message: str
    safe: str
    workflow: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}:{self.column}: {self.code} {self.message} — {self.safe}"


def lint(paths: Iterable[str | PathLike[str]]) -> list[Finding]:
    """
    Findings in the workflows under `paths` (files or folders), and in the functions there that they call.

    Nothing is imported or executed. A line with the comment ``# fluxo: ok`` is accepted; with codes, as in
    ``# fluxo: ok FX101``, for those only.

    Raises:
        FileNotFoundError: there is nothing at one of the paths.
    """
    given = [Path(path) for path in paths]
    for path in given:
        if not path.exists():
            raise FileNotFoundError(f"no such file or folder: {path}")
    program = load(given)
    syntax = rules.SYNTAX
    findings = {
        Finding(bad.path, bad.line, bad.column, syntax.code, f"{syntax.what}: {bad.problem}", syntax.safe, "")
        for bad in program.unreadable
    }
    comments: dict[str, dict[int, set[str]]] = {}
    for function, workflow, places in checked(program):
        module = function.module
        accepted = comments.setdefault(module.path, _accepted(module.source))
        for line, column, rule, what in places:
            codes = accepted.get(line)
            if codes is None or (codes and rule.code not in codes):
                message = f"{what}: {rule.what}"
                findings.add(Finding(module.path, line, column, rule.code, message, rule.safe, workflow.name))
    return sorted(findings)


def _accepted(source: str) -> dict[int, set[str]]:
    """The lines with the comment, and the codes it names; none means all."""
    accepted: dict[int, set[str]] = {}
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        match = _ACCEPTED.search(token.string) if token.type == tokenize.COMMENT else None
        if match is not None:
            accepted[token.start[0]] = set(re.findall(r"FX\d+", match[1]))
    return accepted
