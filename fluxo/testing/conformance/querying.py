"""
Conformance: reading the projection.

Owns: what `get`, `find`, `stats` and `now_us` must do. Must not know any store.
"""

from __future__ import annotations

from fluxo.model.run import RunStatus
from fluxo.store import RunQuery, Store
from fluxo.testing.conformance.suite import (
    NAMESPACE,
    Activation,
    StoreSuite,
    expect,
    message,
    new_run,
    projection,
    record_of,
    worker,
)

__all__ = ["QueryConformance"]


def _ids(store: Store, query: RunQuery) -> list[str]:
    return [run.run_id for run in store.find(query).runs]


class QueryConformance(StoreSuite):
    """The projection shows each namespace its own runs, newest first."""

    def test_a_run_that_does_not_exist_is_none(self) -> None:
        with self.opened() as store:
            Activation.of_new(store, new_run(namespace="elsewhere"))
            expect("run", store.get(NAMESPACE, "run"), None)

    def test_names_of_any_script_come_back(self) -> None:
        with self.opened() as store:
            new = new_run("заказ-42 🧾", namespace="naïve", workflow="流程", version="β", queue="früh")
            Activation.of_new(store, new)
            row = record_of(store, "заказ-42 🧾", "naïve")
            expect("names", (row.workflow, row.version, row.queue), ("流程", "β", "früh"))

    def test_ids_differ_by_case_and_by_length(self) -> None:
        with self.opened() as store:
            for run_id in ("a", "A", "a ", "ä", "a" * 255):
                Activation.of_new(store, new_run(run_id))
            expect("runs", len(store.find(RunQuery(NAMESPACE)).runs), 5)
            expect("upper", record_of(store, "A").run_id, "A")

    def test_find_answers_newest_first(self) -> None:
        with self.opened() as store:
            for run_id in "abc":
                Activation.of_new(store, new_run(run_id))
            page = store.find(RunQuery(NAMESPACE))
            expect("ids", [run.run_id for run in page.runs], ["c", "b", "a"])
            expect("rows", page.runs[0], record_of(store, "c"))
            expect("no further page", page.before_key, None)

    def test_find_filters_by_everything_it_is_asked(self) -> None:
        with self.opened() as store:
            Activation.of_new(store, new_run("a"))
            Activation.of_new(store, new_run("b", queue="vip"))
            Activation.of_new(store, new_run("c", workflow="other"))
            Activation.of_new(store, new_run("d")).append(projection=projection(RunStatus.FAILED))
            Activation.of_new(store, new_run("e", queue="vip")).append(projection=projection(RunStatus.FAILED))
            Activation.of_new(store, new_run("f", namespace="elsewhere"))
            for query, ids in (
                (RunQuery(NAMESPACE), "edcba"),
                (RunQuery("elsewhere"), "f"),
                (RunQuery("nowhere"), ""),
                (RunQuery(NAMESPACE, status=(RunStatus.FAILED,)), "ed"),
                (RunQuery(NAMESPACE, status=(RunStatus.FAILED, RunStatus.PENDING)), "edcba"),
                (RunQuery(NAMESPACE, status=(RunStatus.BLOCKED,)), ""),
                (RunQuery(NAMESPACE, workflow="other"), "c"),
                (RunQuery(NAMESPACE, queue="vip"), "eb"),
                (RunQuery(NAMESPACE, status=(RunStatus.FAILED,), queue="vip", workflow="flow"), "e"),
            ):
                expect(repr(query), "".join(_ids(store, query)), ids)

    def test_find_knows_when_runs_were_created(self) -> None:
        with self.opened() as store:
            Activation.of_new(store, new_run())
            created_us = record_of(store).created_at_us
            expect("since then", _ids(store, RunQuery(NAMESPACE, since_us=created_us)), ["run"])
            expect("since later", _ids(store, RunQuery(NAMESPACE, since_us=created_us + 1)), [])

    def test_pages_hold_every_run_once(self) -> None:
        with self.opened() as store:
            for n in range(7):
                Activation.of_new(store, new_run(f"run {n}"))
            ids: list[str] = []
            before_key = None
            for size in (3, 3, 1):
                page = store.find(RunQuery(NAMESPACE, before_key=before_key, limit=3))
                expect("size", len(page.runs), size)
                ids += [run.run_id for run in page.runs]
                before_key = page.before_key
            expect("no further page", before_key, None)
            expect("ids", ids, [f"run {n}" for n in reversed(range(7))])

    def test_a_full_last_page_is_the_last(self) -> None:
        with self.opened() as store:
            for n in range(4):
                Activation.of_new(store, new_run(f"run {n}"))
            page = store.find(RunQuery(NAMESPACE, limit=2))
            assert page.before_key is not None, "two runs are left, there must be a cursor"
            expect("cursor", store.find(RunQuery(NAMESPACE, limit=2, before_key=page.before_key)).before_key, None)

    def test_pages_stay_put_while_runs_are_written(self) -> None:
        with self.opened() as store:
            runs = [Activation.of_new(store, new_run(f"run {n}")) for n in range(6)]
            first = store.find(RunQuery(NAMESPACE, limit=3))
            Activation.of_new(store, new_run("newer"))
            runs[0].append(projection=projection(RunStatus.WAITING))
            runs[4].append(projection=projection(RunStatus.COMPLETED))
            store.deliver([message("k", "run 1")])
            store.purge(NAMESPACE, store.now_us() + 1, 10)
            second = store.find(RunQuery(NAMESPACE, limit=3, before_key=first.before_key))
            expect("pages", [run.run_id for run in first.runs + second.runs], [f"run {n}" for n in reversed(range(6))])

    def test_stats_count_one_namespace(self) -> None:
        with self.opened() as store:
            empty = store.stats(NAMESPACE)
            expect("statuses", set(empty.runs_by_status), {status.value for status in RunStatus})
            expect("nothing", (sum(empty.runs_by_status.values()), empty.events, empty.workers), (0, 0, 0))
            Activation.of_new(store, new_run("a"), events=3)
            Activation.of_new(store, new_run("b")).append(2, projection=projection(RunStatus.WAITING))
            Activation.of_new(store, new_run("c")).append(projection=projection(RunStatus.WAITING))
            Activation.of_new(store, new_run("a", namespace="elsewhere"), events=9)
            store.deliver([message("1", "a"), message("2", "a"), message("1", "a", namespace="elsewhere")])
            store.register(worker("w"))
            store.register(worker("v", namespace="elsewhere"))
            stats = store.stats(NAMESPACE)
            expect(
                "runs",
                {status: number for status, number in stats.runs_by_status.items() if number},
                {"pending": 1, "waiting": 2},
            )
            expect("counts", (stats.events, stats.messages_unconsumed, stats.workers), (8, 2, 1))

    def test_the_stores_clock_moves_forward(self) -> None:
        with self.opened() as store:
            first_us = store.now_us()
            assert first_us > 0, "now_us counts microseconds since the epoch"
            assert store.now_us() >= first_us, "now_us must not run backwards while nobody sets the clock"
