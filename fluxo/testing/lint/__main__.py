"""
``python -m fluxo.testing.lint PATH...``: one finding per line.

Owns: the exit code (0 clean, 1 something was found, 2 it could not be run like this). Must not know rules.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from fluxo.testing.lint import lint


def main(arguments: Sequence[str] | None = None) -> int:
    """Print what is found; the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m fluxo.testing.lint",
        description="Finds in workflows what no replay repeats. Nothing is imported or executed.",
    )
    parser.add_argument("paths", nargs="+", metavar="PATH", help="a file or a folder; imports are followed inside them")
    options = parser.parse_args(arguments)
    try:
        findings = lint(options.paths)
    except OSError as problem:
        sys.stderr.write(f"lint: {problem}\n")
        return 2
    for finding in findings:
        sys.stdout.write(f"{finding}\n")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
