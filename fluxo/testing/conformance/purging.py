"""
Conformance: deleting ended runs.

Owns: what `purge` must do and what a stale owner finds afterwards (PROTOCOL rule 6). Must not know any store.
"""

from __future__ import annotations

from fluxo.model.run import ENDED, RunStatus
from fluxo.store import Append, Conflict, Delivered, RunQuery, Store
from fluxo.testing.conformance.suite import (
    HOUR_US,
    NAMESPACE,
    Activation,
    StoreSuite,
    at_once,
    chain,
    expect,
    message,
    new_run,
    projection,
    record_of,
)

__all__ = ["PurgeConformance"]


def _ended(store: Store, run_id: str = "run", *, namespace: str = NAMESPACE) -> Activation:
    run = Activation.of_new(store, new_run(run_id, namespace=namespace))
    run.append(projection=projection(RunStatus.COMPLETED))
    return run


def _purge(store: Store, limit: int = 100) -> int:
    return store.purge(NAMESPACE, store.now_us() + HOUR_US, limit)


class PurgeConformance(StoreSuite):
    """An ended run goes wholly, and nothing can be written where it was."""

    def test_a_purged_run_is_gone_wholly(self) -> None:
        with self.opened() as store:
            run = Activation.of_new(store, new_run())
            store.deliver([message("a"), message("b")])
            run.append(3, projection=projection(RunStatus.COMPLETED, consumed=1), consumed=((1, 2),))
            expect("purged", _purge(store), 1)
            expect("row", store.get(NAMESPACE, "run"), None)
            expect("log", (run.log(), store.tail(run.key)), ([], None))
            expect("inbox", store.inbox(run.key, 0), [])
            expect("found", store.find(RunQuery(NAMESPACE)).runs, [])
            stats = store.stats(NAMESPACE)
            counts = sum(stats.runs_by_status.values()), stats.events, stats.messages_unconsumed
            expect("counts", counts, (0, 0, 0))
            expect("delivery", store.deliver([message("a")])[0].verdict, Delivered.NOT_FOUND)

    def test_only_ended_runs_are_purged(self) -> None:
        with self.opened() as store:
            for status in RunStatus:
                Activation.of_new(store, new_run(status.value)).append(projection=projection(status))
            expect("purged", _purge(store), len(ENDED))
            left = {run.status for run in store.find(RunQuery(NAMESPACE)).runs}
            expect("left", left, set(RunStatus) - ENDED)

    def test_only_runs_of_the_namespace_are_purged(self) -> None:
        with self.opened() as store:
            _ended(store)
            _ended(store, namespace="elsewhere")
            expect("purged", _purge(store), 1)
            expect("elsewhere", record_of(store, namespace="elsewhere").status, RunStatus.COMPLETED)

    def test_a_run_is_purged_only_after_the_age_asked_for(self) -> None:
        with self.opened() as store:
            _ended(store)
            ended_us = record_of(store).updated_at_us
            expect("not before its end", store.purge(NAMESPACE, ended_us, 10), 0)
            expect("after it", store.purge(NAMESPACE, ended_us + 1, 10), 1)

    def test_the_limit_bounds_one_call(self) -> None:
        with self.opened() as store:
            for n in range(5):
                _ended(store, f"run {n}")
            expect("calls", [_purge(store, 2) for _ in range(4)], [2, 2, 1, 0])

    def test_a_long_run_is_purged_in_one_call(self) -> None:
        with self.opened() as store:
            run = Activation.of_new(store, new_run(), events=5_000)
            store.deliver([message(f"k{n}", payload=b"") for n in range(300)])
            run.append(projection=projection(RunStatus.FAILED))
            other = _ended(store, "other")
            expect("purged", _purge(store), 2)
            expect("events", (run.log(), other.log(), store.stats(NAMESPACE).events), ([], [], 0))

    def test_a_stale_owner_finds_nothing_to_append_to(self) -> None:
        with self.opened() as store:
            run = _ended(store)
            last = run.next()
            _purge(store)
            early = Activation(store, run.key, 9, 1, chain(0, 0, 1, 1)[0][2])
            for append in (last, run.next(2, projection=projection(RunStatus.RUNNING)), early.next()):
                expect("answer", store.append([append]), [Conflict()])
            expect("log", run.log(), [])
            expect("row", store.get(NAMESPACE, "run"), None)

    def test_an_append_that_stood_in_a_purged_run_is_a_conflict(self) -> None:
        with self.opened() as store:
            run = Activation.of_new(store, new_run())
            append = run.next(projection=projection(RunStatus.COMPLETED))
            store.append([append])
            _purge(store)
            expect("sent again", store.append([append]), [Conflict()])

    def test_the_id_is_free_again_and_the_key_is_not(self) -> None:
        with self.opened() as store:
            keys: list[int] = []
            for nonce in range(1, 4):
                run = Activation.of_new(store, new_run(nonce=nonce))
                keys.append(run.key)
                expect("a new run's inbox", store.deliver([message("k")])[0].n, 1)
                run.append(projection=projection(RunStatus.CANCELLED))
                expect("purged", _purge(store), 1)
            expect("different keys", len(set(keys)), 3)

    def test_purging_while_the_run_is_reopened_leaves_one_of_the_two(self) -> None:
        with self.opened() as store:
            for n in range(10):
                run = _ended(store, f"run {n}")
                reopen = run.next(projection=projection(RunStatus.PENDING))

                def send(reopen: Append = reopen) -> int:
                    return int(store.append([reopen]) != [Conflict()])

                reopened, purged = at_once(send, lambda: _purge(store))
                expect("exactly one", (reopened, purged), (1 - purged, 1 - reopened))
                expect("log", [row[0] for row in run.log()], [1, 2, 3] if reopened else [])

    def test_two_purges_at_once_leave_nothing(self) -> None:
        with self.opened() as store:
            for n in range(20):
                _ended(store, f"run {n}")
            at_once(lambda: _purge(store), lambda: _purge(store))
            expect("left", (store.find(RunQuery(NAMESPACE)).runs, store.stats(NAMESPACE).events), ([], 0))
