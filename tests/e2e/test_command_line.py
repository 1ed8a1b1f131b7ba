"""
`python -m fluxo`: the static check and the gate before a deployment, as a script would call them.

Owns: output and exit codes. Must not know how a replay is made.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from fluxo.cli import main

APP = """
import fluxo
from fluxo import step, workflow

@step
def reserve(order: int) -> int:
    open({ran!r}, "a").write("reserve\\n")
    return order

@step
def ship(order: int) -> int:
    open({ran!r}, "a").write("ship\\n")
    return order

@workflow
def deliver(order: int) -> int:
    {first}(order)
    {wait}
    return ship(order)

@workflow(name="stays", version="{version}")
async def stays(order: int) -> int:
    return await ship.aio(order + await fluxo.aio.wait_signal("go", int))
"""


class Deployment:
    """An application's file, in one version after another, and its database."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ran = folder / "ran.txt"
        self.url = f"sqlite:///{folder / 'runs.db'}"

    def deploy(self, *, first: str = "reserve", wait: str = "fluxo.wait_signal('paid')", version: str = "1") -> None:
        code = APP.format(ran=str(self.ran), first=first, wait=wait, version=version)
        (self.folder / "shop.py").write_text(code)

    def python(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, *arguments]
        return subprocess.run(command, cwd=self.folder, capture_output=True, text=True, timeout=50, check=False)

    def begin(self) -> None:
        """Two runs that wait, one that is over, one that is blocked."""
        done = self.python(
            "-c",
            "import shop\n"
            "from fluxo import Engine\n"
            f"with Engine({self.url!r}) as engine:\n"
            "    first = engine.start(shop.deliver.options(id='first'), 1)\n"
            "    second = engine.start(shop.stays.options(id='second'), 2)\n"
            "    over = engine.start(shop.deliver.options(id='over'), 3)\n"
            "    over.signal('paid')\n"
            "    over.result(30)\n"
            "    while {str(run.status()) for run in (first, second)} != {'waiting'}: pass\n",
        )
        assert done.returncode == 0, done.stderr

    def replay(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.python("-m", "fluxo", "replay", "--store", self.url, "shop", *arguments)


@pytest.fixture
def deployment(tmp_path: Path) -> Deployment:
    made = Deployment(tmp_path)
    made.deploy()
    made.begin()
    return made


def test_the_code_that_made_the_runs_would_go_on_with_them_and_executes_nothing(deployment: Deployment) -> None:
    ran = deployment.ran.read_text()
    done = deployment.replay()
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1] == "2 unfinished runs: 2 would go on, 0 would not"
    assert deployment.ran.read_text() == ran


def test_code_that_breaks_a_run_exits_with_3_and_the_divergence_table(deployment: Deployment) -> None:
    deployment.deploy(first="ship")
    done = deployment.replay()
    assert done.returncode == 3
    assert "first  deliver 1  event 2 of 3" in done.stdout
    assert "recorded  main#0     step    reserve" in done.stdout
    assert "produced  main#0     step    ship" in done.stdout
    assert "second" not in done.stdout
    assert done.stderr.splitlines()[-1] == "2 unfinished runs: 1 would go on, 1 would not"


def test_a_wait_that_was_removed_is_found_too(deployment: Deployment) -> None:
    deployment.deploy(wait="pass")
    assert deployment.replay().returncode == 3


def test_the_verdicts_can_be_had_as_json_lines(deployment: Deployment) -> None:
    deployment.deploy(first="ship")
    lines = [json.loads(line) for line in deployment.replay("-o", "jsonl").stdout.splitlines()]
    verdicts = {line["run_id"]: line["holds"] for line in lines}
    assert verdicts == {"first": False, "second": True}


def test_a_workflow_that_is_gone_counts_as_broken_unless_allowed(deployment: Deployment) -> None:
    deployment.deploy(version="2")
    gone = deployment.replay()
    assert gone.returncode == 3
    assert "no such workflow and version here" in gone.stdout
    assert "(1 of workflows that shop does not have)" in gone.stderr
    assert deployment.replay("--allow-missing").returncode == 0


def test_a_run_that_is_blocked_is_replayed_as_if_it_were_resumed(deployment: Deployment) -> None:
    deployment.deploy(first="ship")
    blocked = deployment.python(
        "-c",
        "import shop\n"
        "from fluxo import Engine\n"
        f"with Engine({deployment.url!r}) as engine:\n"
        "    engine.signal('first', 'paid')\n"
        "    engine.get('first').wait(30)\n"
        "    assert str(engine.get('first').status()) == 'blocked'\n",
    )
    assert blocked.returncode == 0, blocked.stderr
    assert deployment.replay().returncode == 3
    deployment.deploy()
    assert deployment.replay().returncode == 0


def test_what_cannot_be_imported_or_reached_is_said(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("")
    run = CliRunner().invoke
    no_module = run(main, ["replay", "--store", "sqlite:///nowhere.db", "no_such_module"])
    assert no_module.exit_code == 2
    assert "cannot import no_such_module" in no_module.stderr
    no_file = run(main, ["replay", "--store", "sqlite:///nowhere.db", str(tmp_path / "no.py")])
    assert no_file.exit_code == 2
    no_database = run(main, ["replay", "--store", f"sqlite:///{tmp_path}/nowhere.db", str(tmp_path / "app.py")])
    assert no_database.exit_code == 5
    assert "there is no database" in no_database.stderr
    assert not (tmp_path / "nowhere.db").exists()


def test_lint_prints_findings_and_exits_with_1(tmp_path: Path) -> None:
    bad = tmp_path / "bad.py"
    bad.write_text(
        "import time\nfrom fluxo import workflow\n\n@workflow\ndef flow() -> float:\n    return time.time()\n"
    )
    found = CliRunner().invoke(main, ["lint", str(bad)])
    assert found.exit_code == 1
    assert found.stdout == f"{bad}:6:12: FX101 time.time: reads the wall clock — fluxo.now()\n"
    as_json = json.loads(CliRunner().invoke(main, ["lint", "-o", "jsonl", str(bad)]).stdout)
    assert as_json["code"] == "FX101"
    bad.write_text("x = 1\n")
    assert CliRunner().invoke(main, ["lint", str(bad)]).exit_code == 0
    assert CliRunner().invoke(main, ["lint", str(tmp_path / "nowhere")]).exit_code == 2


def test_help_lists_the_commands_and_an_unknown_one_is_refused() -> None:
    shown = CliRunner().invoke(main, ["--help"])
    assert shown.exit_code == 0
    assert "replay  Replay unfinished runs" in shown.stdout
    assert CliRunner().invoke(main, ["dance"]).exit_code == 2


def test_help_imports_neither_driver_nor_testing_tools() -> None:
    heavy = "sqlalchemy", "sqlite3", "hypothesis", "greenlet", "rich", "fluxo.testing", "asyncio"
    code = (
        "import sys\nfrom fluxo.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        f"sys.exit(', '.join(name for name in {heavy!r} if name in sys.modules) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, done.stderr
