"""
Finding runs: pages, filters, counts, purging.

Owns: `list`, `stats`, `purge` and namespaces. Must not know how a run is advanced.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

import fluxo
from fluxo import (
    RunNotFoundError,
    RunStatus,
    UsageError,
    step,
    workflow,
)
from tests.e2e.places import Place


@step
def price(item: str, pieces: int) -> Decimal:
    return Decimal(len(item)) * pieces


@workflow
def total(item: str, pieces: int = 1) -> Decimal:
    return price(item, pieces)


@workflow
def wait_for_go() -> str:
    return fluxo.wait_signal("go", str)


@workflow
def fail(text: str) -> None:
    raise ValueError(text)


def test_list_pages_from_the_newest_to_the_oldest(place: Place) -> None:
    with place.engine() as engine:
        for number in range(5):
            engine.run(total.options(id=f"order-{number}"), "chair")
        pages, cursor = [], None
        while True:
            page = engine.list(limit=2, cursor=cursor)
            pages.append([run.run_id for run in page.runs])
            cursor = page.next_cursor
            if cursor is None:
                break
    assert pages == [["order-4", "order-3"], ["order-2", "order-1"], ["order-0"]]


def test_new_runs_do_not_shift_the_next_page(place: Place) -> None:
    with place.engine() as engine:
        for number in range(3):
            engine.run(total.options(id=f"order-{number}"), "chair")
        first = engine.list(limit=2)
        engine.run(total.options(id="order-3"), "chair")
        second = engine.list(limit=2, cursor=first.next_cursor)
    assert [run.run_id for run in second.runs] == ["order-0"]


def test_list_filters_by_status_workflow_queue_and_age(place: Place) -> None:
    with place.engine(queues=("default", "vip")) as engine:
        engine.run(total.options(id="done"), "chair")
        engine.run(total.options(id="vip", queue="vip"), "chair")
        engine.start(fail.options(id="broken"), "no stock").wait(timeout=10)

        def found(**filters: object) -> list[str]:
            return [run.run_id for run in engine.list(**filters).runs]  # type: ignore[arg-type]

        assert found(status="failed") == found(status=RunStatus.FAILED) == ["broken"]
        assert found(workflow="total") == ["vip", "done"]
        assert found(workflow="total", queue="vip") == ["vip"]
        assert found(since=datetime.now(UTC) + timedelta(hours=1)) == []
        assert found(since=datetime.now(UTC) - timedelta(hours=1)) == ["broken", "vip", "done"]


def test_list_refuses_filters_that_cannot_be_meant(place: Place) -> None:
    with place.engine() as engine:
        with pytest.raises(UsageError, match="no status 'finished': one of pending"):
            engine.list(status="finished")
        with pytest.raises(UsageError, match="limit must be between 1 and 1000"):
            engine.list(limit=0)
        with pytest.raises(UsageError, match="aware datetime"):
            engine.list(since=datetime(2026, 1, 1))  # noqa: DTZ001 - what is refused
        with pytest.raises(UsageError, match="next_cursor of an earlier page"):
            engine.list(cursor="yesterday")


def test_namespaces_do_not_see_each_other(place: Place) -> None:
    with place.engine(namespace="shop") as shop, place.engine(namespace="bank") as bank:
        assert shop.run(total.options(id="order"), "chair") == Decimal(5)
        assert bank.list().runs == ()
        with pytest.raises(RunNotFoundError, match="namespace 'bank'"):
            bank.get("order")
        assert bank.run(total.options(id="order"), "table", 2) == Decimal(10)
        assert bank.stats().runs["completed"] == shop.stats().runs["completed"] == 1


def test_stats_count_runs_events_and_commits(place: Place) -> None:
    with place.engine() as engine:
        engine.run(total, "chair")
        waiting = engine.start(wait_for_go)
        waiting.signal("stay")
        stats = engine.stats()
        assert stats.runs["completed"] == 1
        assert sum(stats.runs.values()) == 2
        assert (stats.messages_unconsumed, stats.workers) == (1, 1)
        assert stats.events >= 4
        assert 0 < stats.commits <= stats.appends
        waiting.signal("go", "on")
        waiting.result(timeout=10)
        place.until(lambda: engine.stats().active == 0)


def test_purge_deletes_ended_runs_that_are_old_enough(timed_place: Place) -> None:
    with timed_place.engine() as engine:
        engine.run(total.options(id="old"), "chair")
        waiting = engine.start(wait_for_go.options(id="open"))
        timed_place.forward(3600)
        engine.run(total.options(id="new"), "chair")
        timed_place.forward(1)
        assert engine.purge(older_than=timedelta(minutes=30)) == 1
        assert engine.purge(older_than=1800) == 0
        assert [run.run_id for run in engine.list().runs] == ["new", "open"]
        with pytest.raises(RunNotFoundError, match="purged"):
            engine.get("old")
        assert engine.run(total.options(id="old"), "table", 3) == Decimal(15)
        waiting.signal("go", "on")
        assert waiting.result(timeout=10) == "on"
