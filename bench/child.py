"""
Measuring in a fresh process.

Owns: starting ``python -m bench.child module:function arguments`` and reading its answer. Must not load fluxo: a
child may be there to time exactly that, or belong to another library's environment.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

__all__ = ["CRASHED", "ChildFailed", "call", "command"]

CRASHED = 17
"""Exit code of a child that was asked to die without any clean-up."""

_MARK = "RESULT "
_ROOT = Path(__file__).resolve().parent.parent


class ChildFailed(Exception):
    """A measuring process ended without an answer."""


def command(target: str, arguments: dict[str, Any], python: str = sys.executable) -> list[str]:
    """The command line of a child that calls `target` ("module:function") with these arguments."""
    return [python, "-m", "bench.child", target, json.dumps(arguments)]


def call(target: str, *, python: str = sys.executable, timeout_s: float = 120.0, **arguments: Any) -> dict[str, Any]:
    """
    Call a function in a fresh process; its answer must be JSON. {} from one that died as it was asked to.

    Raises:
        ChildFailed: it ended otherwise; with the end of what it wrote to stderr.
    """
    done = subprocess.run(
        command(target, arguments, python), capture_output=True, text=True, cwd=_ROOT, timeout=timeout_s, check=False
    )
    if done.returncode == CRASHED:
        return {}
    for line in reversed(done.stdout.splitlines()):
        if line.startswith(_MARK):
            answer: dict[str, Any] = json.loads(line.removeprefix(_MARK))
            return answer
    raise ChildFailed(f"{target} ended with {done.returncode}: {done.stderr.strip()[-1500:]}")


def main() -> None:
    """Carry out one call and leave at once: shutting down is not what is measured."""
    module, _, function = sys.argv[1].partition(":")
    answer = getattr(importlib.import_module(module), function)(**json.loads(sys.argv[2]))
    print(_MARK + json.dumps(answer), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
