"""
Conformance: workers, heartbeats and handing runs back.

Owns: what the register of workers and `release` must do (PROTOCOL rules 9, 10, 12). Must not know any store.
"""

from __future__ import annotations

from fluxo.model.run import RunStatus
from fluxo.store import Release
from fluxo.testing.conformance.suite import (
    NAMESPACE,
    Activation,
    StoreSuite,
    at_once,
    due_query,
    expect,
    message,
    new_run,
    projection,
    record_of,
    worker,
)

__all__ = ["WorkerConformance"]


class WorkerConformance(StoreSuite):
    """A worker is alive while its counter moves, and holds what the store says it holds."""

    def test_a_registered_worker_is_listed_with_beat_zero(self) -> None:
        with self.opened() as store:
            expect("at first", store.workers(), [])
            store.register(worker("b", namespace="elsewhere"))
            store.register(worker("a"))
            expect("by id, of all namespaces", store.workers(), [worker("a"), worker("b", namespace="elsewhere")])

    def test_a_heartbeat_moves_the_counter_of_its_worker_only(self) -> None:
        with self.opened() as store:
            store.register(worker("a"))
            store.register(worker("b"))
            store.heartbeat("a")
            store.heartbeat("a")
            expect("beats", [row.beat for row in store.workers()], [2, 0])

    def test_registering_again_starts_at_zero(self) -> None:
        with self.opened() as store:
            store.register(worker("a"))
            store.heartbeat("a")
            store.register(worker("a"))
            expect("workers", store.workers(), [worker("a")])

    def test_heartbeats_of_two_threads_are_all_counted(self) -> None:
        with self.opened() as store:
            store.register(worker("a"))
            at_once(*([lambda: [store.heartbeat("a") for _ in range(10)]] * 2))
            expect("beats", [row.beat for row in store.workers()], [20])

    def test_a_heartbeat_answers_the_open_runs_it_owns(self) -> None:
        with self.opened() as store:
            store.register(worker("w"))
            owned = [
                Activation.of_new(store, new_run(run_id, status=RunStatus.RUNNING, owner="w", nonce=nonce))
                for run_id, nonce in (("a", 5), ("b", 6))
            ]
            Activation.of_new(store, new_run("unowned"))
            Activation.of_new(store, new_run("another's", owner="v"))
            Activation.of_new(store, new_run("ended", owner="w")).append(projection=projection(RunStatus.FAILED))
            expect("owned", store.heartbeat("w"), [(owned[0].key, 5), (owned[1].key, 6)])

    def test_a_heartbeat_without_a_row_is_told_so(self) -> None:
        with self.opened() as store:
            expect("never registered", store.heartbeat("w"), None)
            store.register(worker("w"))
            expect("registered", store.heartbeat("w"), [])
            store.unregister("w")
            expect("unregistered", store.heartbeat("w"), None)
            expect("workers", store.workers(), [])
            store.unregister("w")

    def test_a_released_run_is_unowned_and_pending(self) -> None:
        with self.opened() as store:
            store.register(worker("w"))
            run = Activation.of_new(store, new_run(status=RunStatus.RUNNING, owner="w", nonce=5))
            before = record_of(store)
            expect("released", store.release([Release(run.key, "w", 5)]), 1)
            row = record_of(store)
            expect("row", (row.owner, row.status, row.wake_at_us), (None, RunStatus.PENDING, None))
            expect("untouched", (row.tail_seq, row.consumed, row.nonce), (before.tail_seq, before.consumed, 5))
            expect("due", [run.run_id for run in store.due(due_query()).runs], ["run"])

    def test_a_release_sets_status_wake_and_consumed(self) -> None:
        with self.opened() as store:
            run = Activation.of_new(store, new_run(status=RunStatus.RUNNING, owner="w", nonce=5))
            store.deliver([message("k")])
            future_us = store.now_us() + 10**9
            release = Release(run.key, "w", 5, RunStatus.WAITING, future_us, consumed=1)
            expect("released", store.release([release]), 1)
            row = record_of(store)
            expect("row", (row.status, row.wake_at_us, row.consumed), (RunStatus.WAITING, future_us, 1))
            answer = store.due(due_query())
            expect("due later", (answer.runs, answer.next_wake_at_us), ([], future_us))

    def test_a_release_needs_the_owner_and_the_nonce(self) -> None:
        with self.opened() as store:
            run = Activation.of_new(store, new_run(status=RunStatus.RUNNING, owner="w", nonce=5))
            before = record_of(store)
            wrong = [Release(run.key, "v", 5), Release(run.key, "w", 6), Release(run.key + 1, "w", 5)]
            expect("released", store.release(wrong), 0)
            expect("row", record_of(store), before)

    def test_a_release_of_many_counts_those_it_released(self) -> None:
        with self.opened() as store:
            runs = [Activation.of_new(store, new_run(f"run {n}", owner="w", nonce=n + 1)) for n in range(3)]
            releases = [Release(run.key, "w", run.nonce if n != 1 else 99) for n, run in enumerate(runs)]
            expect("released", store.release(releases), 2)
            expect("owners", [record_of(store, f"run {n}").owner for n in range(3)], [None, "w", None])
            expect("released again", store.release(releases), 0)
            expect("nothing to release", store.release([]), 0)

    def test_an_ended_run_is_not_reopened_by_a_release(self) -> None:
        with self.opened() as store:
            run = Activation.of_new(store, new_run(owner="w", nonce=5))
            run.append(projection=projection(RunStatus.COMPLETED, owner="w", nonce=5))
            expect("released", store.release([Release(run.key, "w", 5)]), 0)
            expect("status", record_of(store).status, RunStatus.COMPLETED)

    def test_a_stale_owner_cannot_release_what_was_taken_over(self) -> None:
        with self.opened() as store:
            run = Activation.of_new(store, new_run(status=RunStatus.RUNNING, owner="w", nonce=5))
            run.takeover(nonce=6).append(projection=projection(RunStatus.RUNNING, owner="w", nonce=6))
            expect("released", store.release([Release(run.key, "w", 5)]), 0)
            expect("owner", (record_of(store).owner, record_of(store).nonce), ("w", 6))

    def test_arrivals_names_the_owners_runs_with_unread_messages(self) -> None:
        with self.opened() as store:
            runs = [Activation.of_new(store, new_run(run_id, status=RunStatus.RUNNING, owner="w")) for run_id in "abc"]
            Activation.of_new(store, new_run("unowned"))
            store.deliver([message("1", "a"), message("1", "c"), message("2", "c"), message("1", "unowned")])
            expect("unread", store.arrivals("w"), [(runs[0].key, 1), (runs[2].key, 2)])
            runs[2].append(projection=projection(RunStatus.RUNNING, owner="w", consumed=2))
            expect("one looked at", store.arrivals("w"), [(runs[0].key, 1)])
            expect("of another", store.arrivals("v"), [])
            expect("namespace untouched", store.stats(NAMESPACE).messages_unconsumed, 4)
