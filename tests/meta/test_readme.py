"""
The README: its commands exist, its guarantee is whole, its example runs.

Owns: that what a newcomer reads first is true. Must not know how the engine does it.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
MAKEFILE = (ROOT / "Makefile").read_text("utf-8")
GUARANTEE = (
    "a step's body runs at least once, its result is recorded exactly once, "
    "and everything after it sees only that result"
)


def targets() -> set[str]:
    """Targets of the Makefile that `make help` shows."""
    return set(re.findall(r"^([a-z-]+):.*##", MAKEFILE, re.MULTILINE))


def test_every_make_target_named_in_the_readme_exists() -> None:
    named = set(re.findall(r"(?:^|`)make ([a-z-]+)", README, re.MULTILINE))
    assert {"demo", "test"} <= named
    assert named - targets() == set()


def test_every_target_shown_by_make_help_is_phony() -> None:
    phony = re.search(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)
    assert phony is not None
    assert targets() == set(phony[1].split())


def test_the_readme_states_the_guarantee_word_for_word() -> None:
    assert GUARANTEE in " ".join(README.split())


def test_the_readme_names_the_distribution_that_the_project_file_builds() -> None:
    assert 'name = "fluxo-durable"' in (ROOT / "pyproject.toml").read_text("utf-8")
    assert "fluxo-durable" in README


EXAMPLES = re.findall(r"```python\n(.*?)```[^`]*?(?:It prints:\n\n)?```text\n(.*?)```", README, re.DOTALL)


def test_every_python_block_of_the_readme_is_followed_by_what_it_prints() -> None:
    assert len(EXAMPLES) == README.count("```python") >= 2


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example[1].splitlines()[0])
def test_an_example_of_the_readme_runs_and_prints_what_it_says(example: tuple[str, str], tmp_path: Path) -> None:
    source, printed = example
    script = tmp_path / "example.py"
    script.write_text(source, "utf-8")
    result = subprocess.run(
        [sys.executable, script.name],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout == printed
