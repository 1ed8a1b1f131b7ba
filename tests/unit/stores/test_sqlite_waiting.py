"""
What wakes a thread that waits on a SQLite store.

Owns: which commits are heard of, from this store and from others. Must not repeat the conformance suite.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fluxo.model.run import RunStatus
from fluxo.stores.sql import SqliteStore
from fluxo.testing.conformance.suite import Activation, at_once, message, new_run, projection, worker

HEARD_S = 20.0


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(tmp_path / "waiting.db")
    store.open()
    yield store
    store.close()


@pytest.fixture
def other(store: SqliteStore, tmp_path: Path) -> Iterator[SqliteStore]:
    """The same file as another process would open it."""
    other = SqliteStore(tmp_path / "waiting.db")
    other.open()
    yield other
    other.close()


def settled(store: SqliteStore) -> SqliteStore:
    while store.wait(0.0):
        pass
    return store


def test_a_stores_own_plain_events_wake_nobody(store: SqliteStore) -> None:
    runs = [Activation.of_new(store, new_run(run_id, status=RunStatus.RUNNING, owner="w")) for run_id in "ab"]
    settled(store)
    runs[0].append()
    runs[1].append(3)
    store.append([run.next() for run in runs])
    assert not store.wait(0.0)


def test_a_heartbeat_wakes_nobody(store: SqliteStore) -> None:
    store.register(worker("w"))
    settled(store)
    store.heartbeat("w")
    assert not store.wait(0.0)


def test_a_refused_message_wakes_nobody(store: SqliteStore) -> None:
    settled(store)
    store.deliver([message("k", "nobody")])
    assert not store.wait(0.0)


def test_reading_wakes_nobody(store: SqliteStore, other: SqliteStore) -> None:
    run = Activation.of_new(store, new_run())
    settled(store)
    other.tail(run.key)
    other.workers()
    assert not store.wait(0.0)


def test_a_commit_of_another_store_is_heard_by_every_waiting_thread(store: SqliteStore, other: SqliteStore) -> None:
    settled(store)
    Activation.of_new(other, new_run())
    assert store.wait(HEARD_S)
    assert at_once(*[lambda: store.wait(HEARD_S)] * 2) == [True, True], "other threads have not heard of it yet"


def test_a_change_heard_of_once_is_not_reported_again(store: SqliteStore, other: SqliteStore) -> None:
    settled(store)
    Activation.of_new(other, new_run()).append(projection=projection(RunStatus.WAITING))
    assert store.wait(HEARD_S)
    assert not store.wait(0.0)


def test_closing_wakes_who_waits(store: SqliteStore) -> None:
    settled(store)
    store.close()
    assert store.wait(HEARD_S)
