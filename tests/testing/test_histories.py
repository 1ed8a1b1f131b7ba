"""
Golden histories: kept in files, replayed by the code at hand, executed by nobody.

Owns: the files and the verdict. Must not know what a replay does.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fluxo import Engine, UsageError, workflow
from fluxo.testing import Environment, record_history, replay_histories
from fluxo.testing.errors import HistoriesError
from tests.testing import flows


def test_a_finished_and_a_waiting_run_are_kept_and_replayed(tmp_path: Path) -> None:
    with Environment() as env:
        done = env.start(flows.gathered.options(id="done"), 1)
        done.result()
        waiting = env.start(flows.approved.options(id="waiting"), 1)
        paths = [record_history(run, tmp_path / "kept") for run in (done, waiting)]
    assert [path.name for path in paths] == ["gathered-1-done.history.json", "approved-1-waiting.history.json"]
    replayed = {one.run_id: one for one in replay_histories(tmp_path)}
    assert replayed["done"].end is not None
    assert [wait.name for wait in replayed["waiting"].open] == ["approval"]


def test_a_handle_s_history_is_kept_as_well(tmp_path: Path) -> None:
    with Engine("memory://") as engine:
        handle = engine.start(flows.compensated.options(id="real"), 1)
        handle.result(10)
        record_history(handle, tmp_path)
    assert [one.run_id for one in replay_histories(tmp_path)] == ["real"]


def test_nothing_is_executed(tmp_path: Path) -> None:
    flows.counted.clear()
    with Environment() as env:
        run = env.start(flows.remembers, 1)
        run.result()
        record_history(run, tmp_path)
    flows.counted.clear()
    replay_histories(tmp_path)
    assert flows.counted == [1]  # the workflow's own code ran, once, and no step


def edited(then: Callable[[int], Any]) -> None:
    """Register the workflow anew, as an edit of its code does."""

    @workflow(name="edited between versions")
    def flow(start: int) -> int:
        return int(then(start))


def test_an_edit_that_breaks_histories_is_told_with_the_place(tmp_path: Path) -> None:
    edited(flows.price)
    from fluxo.authoring.registry import find_workflow

    flow = find_workflow("edited between versions", "1")
    assert flow is not None
    with Environment() as env:
        start: Any = env.start
        run = start(flow.options(id="old"), 1)
        run.result()
        record_history(run, tmp_path)
    edited(lambda start: flows.price(start + 1))
    with pytest.raises(HistoriesError, match=r"1 of 1 recorded histories .*(?s:.*)arguments, from byte") as caught:
        replay_histories(tmp_path)
    assert caught.value.broken[0][0] == "edited_between_versions-1-old.history.json"


def test_a_history_without_its_workflow_is_told(tmp_path: Path) -> None:
    with Environment() as env:
        run = env.start(flows.compensated, 1)
        run.result()
        path = record_history(run, tmp_path)
    kept = msgspec.json.decode(path.read_bytes())
    path.write_bytes(msgspec.json.encode({**kept, "workflow": "gone"}))
    with pytest.raises(HistoriesError, match="no workflow 'gone', version '1', is registered"):
        replay_histories(tmp_path)


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"format":9,"run_id":"a","workflow":"b","version":"1","rows":[]}'])
def test_a_file_that_is_no_history_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.history.json").write_bytes(content)
    with pytest.raises(UsageError, match=r"is no history|format 9"):
        replay_histories(tmp_path)


def test_a_folder_without_histories_is_refused_rather_than_passed(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no histories"):
        replay_histories(tmp_path)


def test_a_damaged_history_is_told(tmp_path: Path) -> None:
    with Environment() as env:
        run = env.start(flows.compensated, 1)
        run.result()
        path = record_history(run, tmp_path)
    kept = msgspec.json.decode(path.read_bytes())
    del kept["rows"][1]
    path.write_bytes(msgspec.json.encode(kept))
    with pytest.raises(HistoriesError, match="damaged at event 2"):
        replay_histories(tmp_path)
