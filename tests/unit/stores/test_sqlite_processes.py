"""
Several processes on one SQLite file.

Owns: opening together, sharing the work, dying, forking. Must not repeat the conformance suite.
"""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from fluxo.model.run import RunStatus
from fluxo.store import Committed, RunQuery
from fluxo.stores.sql import SqliteStore
from fluxo.testing.conformance.suite import NAMESPACE, Activation, new_run, record_of

ROOT = Path(__file__).parents[3]


class Child:
    """A process that waits for `go`."""

    def __init__(self, what: str, path: Path, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.unit.stores.children", what, str(path), *arguments],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def go(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()

    def kill(self) -> str:
        """Kill it as the kernel would; what it had said until then."""
        self.process.send_signal(signal.SIGKILL)
        said, _ = self.process.communicate()
        assert self.process.returncode == -signal.SIGKILL
        return said

    def said(self) -> list[str]:
        """All it says until its end."""
        said, _ = self.process.communicate()
        return said.split("\n")[:-1] if self.process.returncode == 0 else [f"ended with {self.process.returncode}"]


def started(children: list[Child]) -> None:
    """Let all go at once, when every one of them is ready."""
    assert [child.line() for child in children] == ["ready"] * len(children)
    for child in children:
        child.go()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "shared.db"


def test_eight_processes_may_open_an_empty_file_at_once(path: Path) -> None:
    children = [Child("create", path, f"run {n}") for n in range(8)]
    started(children)
    keys = [int(key) for child in children for key in child.said()]
    assert sorted(keys) == list(range(1, 9))
    with closing(SqliteStore(path)) as store:
        store.open()
        assert {run.run_id for run in store.find(RunQuery(NAMESPACE)).runs} == {f"run {n}" for n in range(8)}


def test_two_processes_share_the_work_and_do_each_run_once(path: Path) -> None:
    runs = [f"run {n}" for n in range(40)]
    with closing(SqliteStore(path)) as store:
        store.open()
        for run_id in runs:
            Activation.of_new(store, new_run(run_id))
        children = [Child("claim_and_append", path, owner) for owner in ("11", "12")]
        started(children)
        done = [child.said() for child in children]
        assert sorted(done[0] + done[1]) == sorted(runs)
        for owner, run_ids in zip((11, 12), done, strict=True):
            for run_id in run_ids:
                record = record_of(store, run_id)
                log = store.read(record.key, 0, 100)
                assert record.status is RunStatus.COMPLETED
                assert [(seq, nonce) for seq, nonce, _, _ in log] == [(1, 1), *((seq, owner) for seq in (2, 3, 4, 5))]


def test_what_was_acknowledged_survives_the_writers_death(path: Path) -> None:
    for n in range(3):
        child = Child("write_until_killed", path, f"run {n}")
        started([child])
        acknowledged = [child.line() for _ in range(20)]
        acknowledged += child.kill().split("\n")[:-1]
        with closing(SqliteStore(path)) as store:
            store.open()
            record = record_of(store, f"run {n}")
            log = store.read(record.key, 0, 100_000)
            assert len(log) >= int(acknowledged[-1])
            assert [row[0] for row in log] == list(range(1, len(log) + 1))
            assert isinstance(Activation(store, record.key, 2, log[-1][0], log[-1][2]).append(), Committed)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_store_does_not_cross_a_fork(path: Path) -> None:
    child = Child("fork", path, "run")
    started([child])
    refusal, waited, opened_anew, parent_goes_on = child.said()
    assert "opened before this process was forked; make a new store" in refusal
    assert (waited, opened_anew, parent_goes_on) == ("not woken", "1", "True")
