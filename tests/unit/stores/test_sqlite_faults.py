"""
What the SQLite store answers when the database fails.

Owns: busy, full, failing and interrupted writes, and values that cannot be stored. Must not repeat the
conformance suite.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fluxo.errors import FluxoInternalError, LimitExceededError, StoreError, StoreUnavailableError
from fluxo.model.run import RunStatus
from fluxo.store import Append, Committed, Conflict, Unknown
from fluxo.stores.sql import SqlStore
from fluxo.stores.sql.sqlite import store as store_module
from fluxo.testing.conformance.suite import (
    HOUR_US,
    NAMESPACE,
    Activation,
    chain,
    message,
    new_run,
    projection,
    worker,
)
from tests.unit.stores.faulty import Faults, driver_error


@pytest.fixture
def faults() -> Faults:
    return Faults()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "faults.db"


@pytest.fixture
def store(faults: Faults, path: Path) -> Iterator[SqlStore]:
    engine = faults.engine(path)
    store = SqlStore(engine)
    store.open()
    yield store
    store.close()
    engine.dispose()


def lone(run: Activation) -> list[Append]:
    return [run.next()]


def with_projection(run: Activation) -> list[Append]:
    return [run.next(2, projection=projection(RunStatus.WAITING))]


Appends = Callable[[Activation], list[Append]]
APPENDS = pytest.mark.parametrize("appends", [lone, with_projection])


@APPENDS
def test_a_busy_file_is_waited_for(
    store: SqlStore, path: Path, monkeypatch: pytest.MonkeyPatch, appends: Appends
) -> None:
    run = Activation.of_new(store, new_run())
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    pauses: list[float] = []

    def pause(pause_s: float) -> None:
        pauses.append(pause_s)
        if len(pauses) == 3:
            holder.execute("COMMIT")

    monkeypatch.setattr("time.sleep", pause)
    assert store.append(appends(run)) == [Committed(run.key)]
    holder.close()
    assert len(pauses) == 3
    assert all(0.0005 <= pause_s <= 0.004 for pause_s in pauses)


@APPENDS
def test_a_file_that_stays_busy_is_unavailable(
    faults: Faults, path: Path, monkeypatch: pytest.MonkeyPatch, appends: Appends
) -> None:
    monkeypatch.setattr(store_module, "SQLITE_BUSY_S", 0.0)
    engine = faults.engine(path)
    store = SqlStore(engine)
    store.open()
    run = Activation.of_new(store, new_run())
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailableError, match="is locked by another process"):
        store.append(appends(run))
    holder.close()
    assert len(run.log()) == 1
    assert store.append(appends(run)) == [Committed(run.key)]
    store.close()
    engine.dispose()


@APPENDS
def test_a_full_disk_refuses_cleanly_and_goes_on_when_there_is_room(
    store: SqlStore, faults: Faults, appends: Appends
) -> None:
    run = Activation.of_new(store, new_run())
    writer = faults.connections[0]
    (pages,) = writer.execute("PRAGMA page_count").fetchone()
    writer.execute(f"PRAGMA max_page_count = {pages}")
    filler = Activation.of_new(store, new_run("filler"))
    with pytest.raises(StoreUnavailableError, match="is full; free space"):
        filler.append(body=b"x" * 100_000)
    with pytest.raises(StoreUnavailableError, match="is full; free space"):
        filler.append(2, body=b"x" * 100_000)
    assert len(filler.log()) == 1
    writer.execute("PRAGMA max_page_count = 1000000")
    assert isinstance(filler.append(body=b"x" * 100_000), Committed)
    assert store.append(appends(run)) == [Committed(run.key)]


@APPENDS
@pytest.mark.parametrize("done", [False, True])
def test_a_failed_commit_is_unknown_and_may_be_sent_again(
    store: SqlStore, faults: Faults, appends: Appends, done: bool
) -> None:
    run = Activation.of_new(store, new_run())
    batch = appends(run)
    commit = "INSERT" if len(batch[0].events) == 1 else "COMMIT"
    faults.raise_at(commit, driver_error(sqlite3.SQLITE_IOERR_FSYNC, "disk I/O error"), done=done)
    (outcome,) = store.append(batch)
    assert isinstance(outcome, Unknown)
    assert "disk I/O error" in outcome.problem
    assert store.append(batch) == [Committed(run.key)]
    assert run.log()[1:] == batch[0].events


@APPENDS
@pytest.mark.parametrize("done", [False, True])
def test_a_failed_commit_is_unknown_for_every_append_of_its_batch(
    store: SqlStore, faults: Faults, appends: Appends, done: bool
) -> None:
    runs = [Activation.of_new(store, new_run(run_id)) for run_id in "abc"]
    batch = [runs[0].next(), *appends(runs[1]), runs[2].next()]
    commit = "INSERT" if appends is lone else "COMMIT"
    faults.raise_at(commit, driver_error(sqlite3.SQLITE_IOERR_WRITE), done=done)
    assert [type(outcome) for outcome in store.append(batch)] == [Unknown] * 3
    assert store.append(batch) == [Committed(run.key) for run in runs]
    assert [run.log()[1:] for run in runs] == [append.events for append in batch]


def test_a_failed_commit_of_another_method_says_that_its_outcome_is_unknown(store: SqlStore, faults: Faults) -> None:
    Activation.of_new(store, new_run())
    faults.raise_at("COMMIT", driver_error(sqlite3.SQLITE_IOERR_FSYNC))
    with pytest.raises(StoreUnavailableError, match="outcome is unknown; read again"):
        store.deliver([message("k")])
    faults.raise_at("INSERT OR REPLACE INTO fluxo_workers", driver_error(sqlite3.SQLITE_IOERR_FSYNC))
    with pytest.raises(StoreUnavailableError, match="outcome is unknown; read again"):
        store.register(worker("w"))


@pytest.mark.parametrize(
    "code, says",
    [
        (sqlite3.SQLITE_IOERR, "could not be read or written"),
        (sqlite3.SQLITE_READONLY, "is read-only; make the file"),
        (sqlite3.SQLITE_CORRUPT, "is damaged; restore it from a backup"),
        (sqlite3.SQLITE_CANTOPEN, "cannot be opened"),
        (sqlite3.SQLITE_NOMEM, "out of memory"),
        (sqlite3.SQLITE_ERROR, "refused what was asked (injected)"),
    ],
)
def test_an_error_before_the_commit_is_definite_and_names_the_cure(
    store: SqlStore, faults: Faults, path: Path, code: int, says: str
) -> None:
    run = Activation.of_new(store, new_run())
    cause = driver_error(code)
    faults.raise_at("INSERT", cause)
    with pytest.raises(StoreUnavailableError) as caught:
        store.append(with_projection(run))
    assert says in str(caught.value)
    assert str(path) in str(caught.value)
    assert caught.value.__cause__ is cause
    assert len(run.log()) == 1
    assert store.append(with_projection(run)) == [Committed(run.key)]


def test_a_busy_transaction_runs_again_from_its_start(
    store: SqlStore, faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda pause_s: None)
    runs = [Activation.of_new(store, new_run(run_id)) for run_id in "ab"]
    for statement in ("BEGIN", "INSERT", "COMMIT"):
        faults.raise_at(statement, driver_error(sqlite3.SQLITE_BUSY))
        batch = [run.next(2, projection=projection(RunStatus.WAITING)) for run in runs]
        assert store.append(batch) == [Committed(run.key) for run in runs]
        for run, append in zip(runs, batch, strict=True):
            run.moved_past(append)
    assert [len(run.log()) for run in runs] == [7, 7]


def test_a_read_of_a_busy_file_is_tried_again(store: SqlStore, faults: Faults, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda pause_s: None)
    run = Activation.of_new(store, new_run())
    faults.raise_at("SELECT", driver_error(sqlite3.SQLITE_BUSY_RECOVERY))
    assert len(run.log()) == 1


def test_a_failed_read_is_unavailable(store: SqlStore, faults: Faults) -> None:
    run = Activation.of_new(store, new_run())
    faults.raise_at("SELECT", driver_error(sqlite3.SQLITE_IOERR_READ))
    with pytest.raises(StoreUnavailableError, match="could not be read"):
        run.log()


@pytest.mark.parametrize("statement", ["BEGIN", "INSERT", "COMMIT"])
@pytest.mark.parametrize("done", [False, True])
def test_an_interrupt_leaves_no_transaction_open(
    store: SqlStore, faults: Faults, path: Path, statement: str, done: bool
) -> None:
    run = Activation.of_new(store, new_run())
    batch = with_projection(run)
    faults.raise_at(statement, KeyboardInterrupt(), done=done)
    with pytest.raises(KeyboardInterrupt):
        store.append(batch)
    other = sqlite3.connect(path, isolation_level=None, timeout=0)
    other.execute("BEGIN IMMEDIATE")
    other.close()
    assert len(run.log()) == (3 if done and statement == "COMMIT" else 1)
    assert store.append(batch) == [Committed(run.key)]
    assert run.log()[1:] == batch[0].events


def test_a_second_interrupt_during_the_rollback_is_made_good_by_the_next_write(
    store: SqlStore, faults: Faults, path: Path
) -> None:
    run = Activation.of_new(store, new_run())
    faults.connections[0].execute("BEGIN IMMEDIATE")
    assert isinstance(run.append(), Committed)
    other = sqlite3.connect(path, isolation_level=None)
    assert other.execute("SELECT count(*) FROM fluxo_events").fetchone() == (2,)
    other.close()


def test_one_number_that_no_log_may_hold_refuses_the_whole_batch(store: SqlStore) -> None:
    good, bad = (Activation.of_new(store, new_run(run_id)) for run_id in "ab")
    too_large = Append(bad.key, bad.seq, bad.digest, [(2, 2**63, 1, b"")])
    for batch in ([good.next(), too_large], [too_large]):
        with pytest.raises(FluxoInternalError, match="too large to convert"):
            store.append(batch)
    assert [len(run.log()) for run in (good, bad)] == [1, 1]
    assert store.append([good.next()]) == [Committed(good.key)]


def test_a_bad_number_is_found_out_also_after_another_error(
    store: SqlStore, faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The driver then raises the earlier error once more, with the new one as its context.
    run = Activation.of_new(store, new_run())
    with pytest.raises(sqlite3.OperationalError):
        faults.connections[0].execute("SELECT * FROM nothing")
    with pytest.raises(FluxoInternalError, match="too large to convert"):
        store.append([Append(run.key, run.seq, run.digest, [(2, 2**63, 1, b"")])])


def test_one_body_that_is_too_big_refuses_the_whole_batch(store: SqlStore, faults: Faults) -> None:
    faults.connections[0].setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 100_000)
    good, bad = (Activation.of_new(store, new_run(run_id)) for run_id in "ab")
    for batch in ([good.next(), bad.next(body=b"x" * 200_000)], [bad.next(body=b"x" * 200_000)]):
        with pytest.raises(LimitExceededError, match="store smaller payloads"):
            store.append(batch)
    assert [len(run.log()) for run in (good, bad)] == [1, 1]


def test_a_text_that_is_not_unicode_is_refused_before_anything_is_written(store: SqlStore) -> None:
    with pytest.raises(FluxoInternalError, match="surrogates not allowed"):
        Activation.of_new(store, new_run(workflow="\ud800"))
    assert store.stats(NAMESPACE).events == 0


def test_a_hole_behind_a_won_event_is_an_error_and_not_a_log(store: SqlStore, faults: Faults) -> None:
    run = Activation.of_new(store, new_run())
    faults.connections[0].execute("INSERT INTO fluxo_events VALUES (?, 3, 9, 9, x'')", (run.key,))
    with pytest.raises(FluxoInternalError, match="UNIQUE constraint"):
        store.append([run.next(2)])
    assert [row[0] for row in store.read(run.key, 0, 10)] == [1, 3]


@pytest.mark.parametrize(
    "statement",
    ["DELETE FROM fluxo_events", "DELETE FROM fluxo_inbox", "DELETE FROM fluxo_runs"],
)
@pytest.mark.parametrize("done", [False, True])
def test_an_interrupted_purge_is_finished_by_the_next(
    store: SqlStore, faults: Faults, statement: str, done: bool
) -> None:
    run = Activation.of_new(store, new_run(), events=3_000)
    store.deliver([message("k")])
    ending = run.next(projection=projection(RunStatus.COMPLETED))
    store.append([ending])
    run.moved_past(ending)
    faults.raise_at(statement, driver_error(sqlite3.SQLITE_IOERR), done=done)
    with pytest.raises(StoreError):
        store.purge(NAMESPACE, store.now_us() + HOUR_US, 10)

    assert store.get(NAMESPACE, "run") is None
    assert store.stats(NAMESPACE).events == 0
    assert store.append([run.next()]) == [Conflict()], "a zombie"
    assert store.append([ending]) == [Conflict()], "its append sent again"
    assert store.append([run.next(projection=projection(RunStatus.PENDING))]) == [Conflict()], "a resume"
    again = Append(0, 0, 0, chain(0, 0, 7, 1), new=new_run(nonce=7))
    assert store.append([again]) == [Conflict()], "the id is not free yet"

    assert store.purge(NAMESPACE, 0, 10) == 1, "whatever its age, because it was marked before"
    assert store.read(run.key, 0, 10_000) == []
    assert store.append([run.next()]) == [Conflict()]
    assert isinstance(store.append([again])[0], Committed)


def test_the_tail_of_a_run_that_is_being_purged_is_its_own(store: SqlStore, faults: Faults) -> None:
    run = Activation.of_new(store, new_run())
    run.append(projection=projection(RunStatus.COMPLETED))
    faults.raise_at("DELETE FROM fluxo_events", driver_error(sqlite3.SQLITE_IOERR))
    with pytest.raises(StoreError):
        store.purge(NAMESPACE, store.now_us() + HOUR_US, 10)
    assert store.tail(run.key) == (2, 1, run.digest, b"event")
    assert [row[0] for row in run.log()] == [1, 2]


def test_a_store_that_is_not_open_says_so(path: Path, faults: Faults) -> None:
    engine = faults.engine(path)
    store = SqlStore(engine)
    for _ in range(2):
        with pytest.raises(StoreUnavailableError, match="is not open; call open"):
            store.tail(1)
        assert not store.wait(0.0) or not store.wait(0.0)
        store.open()
        assert store.tail(1) is None
        store.close()
    engine.dispose()
