"""
``python -m tests.zoo``: the bug zoo. Each patch here breaks one rule; the suite must notice.

Owns: applying each patch to a copy of the tree and running the tests that its header names, the likeliest first. Must
not know what a patch does. A patch that no longer applies, and one that survives, fail the zoo: the first must be
written anew, the second says that a rule can be removed and nobody sees it.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
ZOO = Path(__file__).parent
COPIED = ("fluxo", "tests", "pyproject.toml", "examples", "bench", "README.md")
SIMULATION = ["-m", "tests.simulation", "--crashes", "3000", "--seed", "0", "--jobs", "1"]
PYTEST = ["-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "--hypothesis-seed=0"]
TIMEOUT_S = 240


@dataclass
class Verdict:
    """What became of one patch; `killer` is empty if it survived."""

    name: str
    killer: str
    said: str
    took_s: float


def killers_of(patch: Path) -> list[str]:
    """The tests that the header names."""
    head = patch.read_text().partition("--- ")[0]
    return [line.partition(": ")[2] for line in head.splitlines() if line.startswith("Killed by: ")]


def judged(patch: Path) -> Verdict:
    """Apply a patch to a copy and run what should fail."""
    began_s = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="fluxo-zoo-") as folder:
        copy = Path(folder)
        for name in COPIED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, copy / name)
        applied = subprocess.run(["git", "apply", str(patch)], cwd=copy, capture_output=True, text=True, check=False)
        if applied.returncode:
            return Verdict(patch.stem, "", f"does not apply: {applied.stderr}", time.perf_counter() - began_s)
        killers = killers_of(patch)
        for killer in killers:
            if _fails(copy, killer):
                return Verdict(patch.stem, killer, "", time.perf_counter() - began_s)
    return Verdict(patch.stem, "", f"survived {', '.join(killers)}", time.perf_counter() - began_s)


def _fails(copy: Path, killer: str) -> bool:
    command = [sys.executable, *(SIMULATION if killer == "sim" else [*PYTEST, killer])]
    environment = {**os.environ, "PYTHONPATH": str(copy), "PYTHONWARNINGS": "ignore" if killer == "sim" else ""}
    try:
        done = subprocess.run(
            command, cwd=copy, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return True  # whoever hangs is noticed, too
    return done.returncode == 1  # tests failed; anything else says that they could not be run


def main() -> int:
    """Judge every patch; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.zoo", description=__doc__)
    parser.add_argument("names", nargs="*", help="patches, by name; all by default")
    parser.add_argument("--jobs", type=int, default=multiprocessing.cpu_count())
    options = parser.parse_args()
    patches = [patch for patch in sorted(ZOO.glob("*.patch")) if not options.names or patch.stem in options.names]
    survivors = 0
    with ThreadPoolExecutor(options.jobs) as pool:
        for future in as_completed([pool.submit(judged, patch) for patch in patches]):
            verdict = future.result()
            survivors += not verdict.killer
            told = f"killed by {verdict.killer}" if verdict.killer else verdict.said
            print(f"{verdict.name:<40} {told} ({verdict.took_s:.0f} s)", flush=True)
    print(f"{len(patches)} patches, {len(patches) - survivors} killed")
    return 1 if survivors or not patches else 0


if __name__ == "__main__":
    sys.exit(main())
