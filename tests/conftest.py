"""
What every test shares: the Hypothesis profiles and the seed of the run.

Owns: which profile is loaded and which seed the run uses. Must not know what any test tests; fixtures live
beside the tests that need them.

Hypothesis loads a profile of its own where it detects CI: derandomised, that is, the same examples for ever.
Ours explore. Each run draws one seed, prints it first and repeats everything when it is given again:
`pytest --hypothesis-seed=<seed>`. No example database is kept, so what a failing run needs to be repeated
stands in its output (the seed, and the blob that Hypothesis prints).
"""

from __future__ import annotations

import os
import random

import pytest
from hypothesis import HealthCheck, settings

from tests.names import own_names, pytest_make_collect_report

__all__ = ["own_names", "pytest_make_collect_report"]

PROFILES = {"dev": 50, "ci": 200}
"""Examples per property, by profile."""

for name, examples in PROFILES.items():
    settings.register_profile(
        name,
        max_examples=examples,
        derandomize=False,
        database=None,
        print_blob=True,
        deadline=None,
        # How fast inputs are generated depends on the machine, and says nothing about fluxo.
        suppress_health_check=[HealthCheck.too_slow],
    )

PROFILE = os.environ.get("FLUXO_HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") else "dev")
settings.load_profile(PROFILE)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    # Before Hypothesis' own hook reads the option, so that the seed in use is one that can be printed.
    if config.option.hypothesis_seed is None:
        config.option.hypothesis_seed = str(random.SystemRandom().getrandbits(32))


def pytest_report_header(config: pytest.Config) -> str:
    chosen = config.getoption("--hypothesis-profile") or PROFILE
    return f"hypothesis: profile {chosen}; to repeat this run: --hypothesis-seed={config.option.hypothesis_seed}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, exitstatus: int) -> None:
    # With -q there is no header; a failure must be repeatable all the same.
    if exitstatus != pytest.ExitCode.OK:
        seed = terminalreporter.config.option.hypothesis_seed
        terminalreporter.write_line(f"to draw the same examples again: pytest --hypothesis-seed={seed}")
