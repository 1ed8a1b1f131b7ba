"""
``python -m tests.simulation``: proofs by the thousand, on all cores.

Owns: counting, printing, and the demand that what should have been tested was. Must not know what a proof is. The first
seed is printed, and so is the seed of what fails: ``--seed N --crashes 1`` does it again.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import random
import sys
import time
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait

from tests.simulation.proofs import Tally, prove_some

CHUNK = 8
SAY_EVERY_S = 10
WORKFLOWS_MIN = 1_000
PAIRED_WORKFLOWS_MIN = 400
"""All pairs of crashes are a thousand and more for each workflow."""
REQUIRED = (
    "attempt failed and is tried again",
    "cancel during a wait",
    "clean takeover",
    "clock set",
    "crash",
    "crash inside recovery",
    "executed, then error",
    "fence lost the race",
    "hint lost",
    "hint repeated",
    "outage",
    "signal taken after a takeover",
    "slow call",
    "stop",
    "timer fired after a takeover",
    "unclean takeover",
    "unknown append found absent",
    "unknown append found committed",
    "zombie fenced",
)
"""Situations that must really have happened; a suite that meets none of them has tested nothing."""


def main() -> int:
    """Prove until enough crashes have been survived; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--crashes", type=int, default=50_000, help="how many must be survived")
    parser.add_argument("--seed", type=int, default=None, help="the first seed; drawn if not given")
    parser.add_argument("--jobs", type=int, default=multiprocessing.cpu_count())
    parser.add_argument("--pairs", action="store_true", help="every pair of crashes for short runs")
    options = parser.parse_args()
    first = options.seed if options.seed is not None else random.SystemRandom().randrange(10**9) * CHUNK
    print(f"first seed {first}, {options.jobs} processes")
    began_s = time.perf_counter()
    total, said_s = Tally(), 0.0
    seeds = itertools.count(first, CHUNK)
    with ProcessPoolExecutor(options.jobs, multiprocessing.get_context("spawn")) as pool:
        pending = {pool.submit(prove_some, next(seeds), CHUNK, pairs=options.pairs) for _ in range(2 * options.jobs)}
        while pending:
            done, pending = wait(pending, return_when=FIRST_COMPLETED)
            for tally, problem in (future.result() for future in done):
                total.add(tally)
                if problem:
                    print(f"FAILED after {total.runs:,} runs: {problem}")
                    pool.shutdown(cancel_futures=True)
                    return 1
                if total.crashes < options.crashes:
                    pending.add(pool.submit(prove_some, next(seeds), CHUNK, pairs=options.pairs))
            passed_s = time.perf_counter() - began_s
            if passed_s - said_s > SAY_EVERY_S:
                said_s = passed_s
                print(f"  {total.crashes:>9,} crashes survived in {passed_s:5.0f} s", flush=True)
    least = 0 if options.crashes < 10_000 else PAIRED_WORKFLOWS_MIN if options.pairs else WORKFLOWS_MIN
    return verdict(total, time.perf_counter() - began_s, least)


def verdict(total: Tally, passed_s: float, least: int) -> int:
    """Print what was done, and whether it was enough: nothing required is missing, nor one of `least` workflows."""
    print(
        f"{len(total.programs):,} distinct workflows, {total.storms:,} storms, {total.runs:,} runs, "
        f"{total.crashes:,} crashes survived, 0 violations, {passed_s:.0f} s"
    )
    for what in sorted(total.situations):
        print(f"  {total.situations[what]:>9,} × {what}")
    missing = [what for what in REQUIRED if not total.situations.get(what)]
    if least and missing:
        print(f"FAILED: never happened: {', '.join(missing)}")
        return 1
    if len(total.programs) < least:
        print(f"FAILED: fewer than {least:,} distinct workflows")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
