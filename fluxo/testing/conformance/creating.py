"""
Conformance: creating runs.

Owns: what `append` with `new` must do. Must not know any store.
"""

from __future__ import annotations

from fluxo.model.run import RunStatus
from fluxo.store import Append, Committed, Existing
from fluxo.testing.conformance.suite import (
    NAMESPACE,
    Activation,
    StoreSuite,
    at_once,
    chain,
    expect,
    new_run,
    record_of,
)

__all__ = ["CreateConformance"]


class CreateConformance(StoreSuite):
    """A run is created once, with its first events, under an id that is unique in its namespace."""

    def test_a_new_run_stands_with_its_row_and_its_events(self) -> None:
        with self.opened() as store:
            before_us = store.now_us()
            new = new_run(
                status=RunStatus.RUNNING, owner="w", nonce=7, priority=3, wake_at_us=5, queue="q", version="2"
            )
            run = Activation.of_new(store, new, events=2)
            row = record_of(store)
            for field in new.__struct_fields__:
                expect(field, getattr(row, field), getattr(new, field))
            expect("key", row.key, run.key)
            expect("counters", (row.delivered, row.consumed, row.base_seq), (0, 0, 0))
            expect("tail", (row.tail_seq, row.tail_digest), (run.seq, run.digest))
            assert before_us <= row.created_at_us <= store.now_us(), "created_at_us must be the store's time"
            expect("updated_at_us", row.updated_at_us, row.created_at_us)
            expect("log", run.log(), chain(0, 0, 7, 2))

    def test_keys_are_positive_and_differ(self) -> None:
        with self.opened() as store:
            keys = [Activation.of_new(store, new_run(run_id)).key for run_id in ("a", "b", "c")]
            assert min(keys) > 0, f"a key must be positive, got {keys}"
            expect("different keys", len(set(keys)), 3)

    def test_a_second_run_with_the_id_is_answered_with_the_first(self) -> None:
        with self.opened() as store:
            first = Activation.of_new(store, new_run(nonce=1))
            second = Append(0, 0, 0, chain(0, 0, 2, 3), new=new_run(nonce=2, workflow="other", queue="other"))
            expect("answer", store.append([second]), [Existing(record_of(store))])
            expect("workflow", record_of(store).workflow, "flow")
            expect("log", first.log(), chain(0, 0, 1, 1))

    def test_a_create_that_is_sent_again_is_answered_as_committed(self) -> None:
        with self.opened() as store:
            append = Append(0, 0, 0, chain(0, 0, 5, 2), new=new_run(nonce=5))
            answers = store.append([append]) + store.append([append])
            expect("second answer", answers[1], answers[0])
            expect("events", store.stats(NAMESPACE).events, 2)

    def test_a_create_sent_again_later_changes_nothing(self) -> None:
        with self.opened() as store:
            append = Append(0, 0, 0, chain(0, 0, 5, 1), new=new_run(nonce=5))
            (outcome,) = store.append([append])
            assert isinstance(outcome, Committed), f"a new run must be committed, the answer was {outcome}"
            run = Activation(store, outcome.key, 5, append.events[-1][0], append.events[-1][2])
            run.append()
            before = record_of(store), run.log()
            expect("answer", store.append([append]), [Committed(run.key)])
            expect("row and log", (record_of(store), run.log()), before)

    def test_the_same_id_in_another_namespace_is_another_run(self) -> None:
        with self.opened() as store:
            here = Activation.of_new(store, new_run())
            there = Activation.of_new(store, new_run(namespace="elsewhere", nonce=2))
            assert here.key != there.key, "two namespaces must not share a run"
            expect("here", record_of(store).nonce, 1)
            expect("there", record_of(store, namespace="elsewhere").nonce, 2)

    def test_of_two_creates_in_one_batch_the_first_wins(self) -> None:
        with self.opened() as store:
            appends = [Append(0, 0, 0, chain(0, 0, nonce, 2), new=new_run(nonce=nonce)) for nonce in (1, 2)]
            first, second = store.append(appends)
            expect("answers", (first, second), (Committed(record_of(store).key), Existing(record_of(store))))
            expect("nonce", record_of(store).nonce, 1)

    def test_one_create_twice_in_a_batch_is_committed_twice(self) -> None:
        with self.opened() as store:
            append = Append(0, 0, 0, chain(0, 0, 1, 2), new=new_run())
            outcomes = store.append([append, append])
            expect("answers", outcomes, [Committed(record_of(store).key)] * 2)
            expect("events", store.stats(NAMESPACE).events, 2)

    def test_a_batch_creates_many_runs_beside_one_that_exists(self) -> None:
        with self.opened() as store:
            Activation.of_new(store, new_run("run 50", nonce=9))
            appends = [
                Append(0, 0, 0, chain(0, 0, n + 100, 1 + n % 3), new=new_run(f"run {n}", nonce=n + 100))
                for n in range(99)
            ]
            outcomes = store.append(appends)
            for n, outcome in enumerate(outcomes):
                row = record_of(store, f"run {n}")
                expect(f"run {n}", outcome, Existing(row) if n == 50 else Committed(row.key))
                expect(f"events of run {n}", len(store.read(row.key, 0, 10)), 1 if n == 50 else 1 + n % 3)

    def test_of_two_threads_creating_one_run_exactly_one_does(self) -> None:
        with self.opened() as store:
            for n in range(20):
                appends = [
                    Append(0, 0, 0, chain(0, 0, nonce, 1), new=new_run(f"run {n}", nonce=nonce)) for nonce in (1, 2)
                ]
                answers = at_once(*(lambda append=append: store.append([append])[0] for append in appends))
                won = [type(answer) for answer in answers]
                expect("one created, one found", sorted(map(repr, won)), sorted(map(repr, (Committed, Existing))))
                expect("the winner's nonce", record_of(store, f"run {n}").nonce, 1 if won[0] is Committed else 2)
                expect("the log", len(store.read(record_of(store, f"run {n}").key, 0, 10)), 1)
