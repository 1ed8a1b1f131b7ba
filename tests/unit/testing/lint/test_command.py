"""
The command line of the static check: what it prints, and its exit codes.

Owns: `python -m fluxo.testing.lint`. Must not know the rules beyond one.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from fluxo.testing.lint.__main__ import main

FLOW = "import time\nfrom fluxo import workflow\n@workflow\ndef flow(n):\n    return {}\n"


def test_a_finding_is_a_line_and_the_exit_code_is_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "flow.py"
    file.write_text(FLOW.format("time.time()"), "utf-8")
    assert main([str(file)]) == 1
    assert capsys.readouterr().out == f"{file}:5:12: FX101 time.time: reads the wall clock — fluxo.now()\n"


def test_clean_code_prints_nothing_and_the_exit_code_is_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "flow.py").write_text(FLOW.format("n"), "utf-8")
    assert main([str(tmp_path)]) == 0
    assert capsys.readouterr().out == ""


def test_a_path_that_does_not_exist_is_exit_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "missing")]) == 2
    assert "missing" in capsys.readouterr().err


def test_no_path_is_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([])
    assert stopped.value.code == 2
    assert "PATH" in capsys.readouterr().err
