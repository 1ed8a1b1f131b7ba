"""
What `import fluxo` costs: which modules it loads, and how much processor time it takes.

Owns: the promise that fluxo starts light (DESIGN §1.11). Must not know what is in the package.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
# msgspec itself takes typing_extensions where it is installed (other tools bring it); it is no dependency of either.
OWN_MODULES = {"fluxo", "msgspec", "typing_extensions"}
EXTRA_CPU_S_MAX = 0.060
ASYNCIO_CPU_S = 0.050
"""What `import asyncio` takes on the machine the bound was set for: the bound grows with it on a slower one."""
ROUNDS = 9


def modules_after(statement: str) -> set[str]:
    """Names in `sys.modules` of a fresh interpreter that ran `statement`."""
    code = f"{statement}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
    return set(json.loads(result.stdout))


def cpu_s(statement: str) -> float:
    """
    User and system time of a fresh interpreter that runs `statement`, in seconds.

    Processor time rather than wall time: what other processes do on the machine hardly shows in it.
    """
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, "-c", f"import os; os.chdir({str(ROOT)!r})\n{statement}"]
    process = os.posix_spawn(sys.executable, command, environment)
    _, status, usage = os.wait4(process, 0)
    assert os.waitstatus_to_exitcode(status) == 0, f"{statement!r} failed"
    return usage.ru_utime + usage.ru_stime


def test_importing_fluxo_loads_only_msgspec_and_the_standard_library() -> None:
    loaded = {name.partition(".")[0] for name in modules_after("import fluxo") - modules_after("pass")}
    assert loaded - OWN_MODULES - sys.stdlib_module_names == set()
    assert "fluxo" in loaded


def test_importing_fluxo_does_not_load_asyncio() -> None:
    assert "asyncio" not in modules_after("import fluxo")


def test_importing_fluxo_takes_at_most_60_ms_of_processor_time_more_than_bare_python() -> None:
    cpu_s("import fluxo")  # writes the bytecode caches, which is not what is measured
    statements = "pass", "import asyncio", "import fluxo"
    rounds = [[cpu_s(statement) for statement in statements] for _ in range(ROUNDS)]
    bare_s, asyncio_s, fluxo_s = (statistics.median(times) for times in zip(*rounds, strict=True))
    slowness = max(1.0, (asyncio_s - bare_s) / ASYNCIO_CPU_S)
    extra_s = (fluxo_s - bare_s) / slowness
    assert extra_s <= EXTRA_CPU_S_MAX, (
        f"import fluxo takes {extra_s * 1000:.0f} ms more than bare python, on a machine {slowness:.1f} times slower"
    )
