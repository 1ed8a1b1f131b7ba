"""
The same seed gives the same trace, in this process and in one with another hash seed (I15).

Owns: the digest of everything that a storm wrote. Must not know what a storm is made of.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SEEDS = range(100, 124)
PROGRAM = f"""
import json, sys
from tests.simulation.proofs import trace_of
print(json.dumps([trace_of(seed) for seed in range({SEEDS.start}, {SEEDS.stop})]))
"""


def traces(hash_seed: str) -> str:
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.timeout(120)
def test_the_same_seed_gives_the_same_trace_under_any_hash_seed() -> None:
    first, second, third = traces("0"), traces("1"), traces("4242")
    assert first == second == third
    assert len(set(first.split(","))) > len(SEEDS) / 2
