"""
Conformance: which runs are due.

Owns: the eligibility table, filters, order and limit of `due`. Must not know any store.
"""

from __future__ import annotations

from itertools import product
from typing import Final

from fluxo.model.run import RunStatus
from fluxo.store import Store
from fluxo.testing.conformance.suite import (
    HOUR_US,
    NAMESPACE,
    Activation,
    StoreSuite,
    due_query,
    expect,
    message,
    new_run,
    projection,
    worker,
)

__all__ = ["DueConformance"]

_OWNERS: Final = (None, "alive", "dead", "missing")
_WAKES: Final = ("none", "past", "future")
_DUE_UNOWNED: Final = {
    # (status, wake): (without, with an unread message)
    (RunStatus.PENDING, "none"): (True, True),
    (RunStatus.PENDING, "past"): (True, True),
    (RunStatus.PENDING, "future"): (False, False),
    (RunStatus.RUNNING, "none"): (False, True),
    (RunStatus.RUNNING, "past"): (True, True),
    (RunStatus.RUNNING, "future"): (False, True),
    (RunStatus.WAITING, "none"): (False, True),
    (RunStatus.WAITING, "past"): (True, True),
    (RunStatus.WAITING, "future"): (False, True),
}
_OPEN: Final = (RunStatus.PENDING, RunStatus.RUNNING, RunStatus.WAITING)


def _place(
    store: Store, run_id: str, status: RunStatus, owner: str | None, wake_at_us: int | None, *, unread: bool
) -> None:
    """Bring a new run into this state."""
    run = Activation.of_new(store, new_run(run_id))
    if unread:
        store.deliver([message("k", run_id)])
    run.append(projection=projection(status, owner=owner, wake_at_us=wake_at_us))


def _due_ids(store: Store, *, queues: tuple[str, ...] = ("default",), dead: tuple[str, ...] = ()) -> list[str]:
    return [run.run_id for run in store.due(due_query(queues=queues, dead=dead)).runs]


class DueConformance(StoreSuite):
    """A worker is shown what it could take now, best first, and nothing else."""

    def test_every_row_of_the_eligibility_table(self) -> None:
        with self.opened() as store:
            store.register(worker("alive"))
            store.register(worker("dead"))
            now_us = store.now_us()
            wakes = {"none": None, "past": now_us - HOUR_US, "future": now_us + HOUR_US}
            expected: set[str] = set()
            for status, owner, wake, unread in product(RunStatus, _OWNERS, _WAKES, (False, True)):
                run_id = f"{status} {owner} {wake} {unread}"
                _place(store, run_id, status, owner, wakes[wake], unread=unread)
                if status not in _OPEN:
                    continue
                due = _DUE_UNOWNED[status, wake][unread] if owner is None else owner != "alive"
                if due:
                    expected.add(run_id)
            found = store.due(due_query(dead=("dead",), limit=1000)).runs
            expect("due, not expected", {run.run_id for run in found} - expected, set())
            expect("expected, not due", expected - {run.run_id for run in found}, set())
            expect("each once", len(found), len(expected))

    def test_a_due_run_comes_with_its_row(self) -> None:
        with self.opened() as store:
            Activation.of_new(store, new_run(priority=2))
            expect("runs", store.due(due_query()).runs, [store.get(NAMESPACE, "run")])

    def test_the_answer_carries_the_stores_time(self) -> None:
        with self.opened() as store:
            before_us = store.now_us()
            now_us = store.due(due_query()).now_us
            assert before_us <= now_us <= store.now_us(), "now_us of an answer must be the store's time"

    def test_only_the_asked_namespace_queues_and_workflows_are_due(self) -> None:
        with self.opened() as store:
            Activation.of_new(store, new_run("default"))
            Activation.of_new(store, new_run("vip", queue="vip"))
            Activation.of_new(store, new_run("newer", version="2"))
            Activation.of_new(store, new_run("other", workflow="other"))
            Activation.of_new(store, new_run("elsewhere", namespace="elsewhere"))
            expect("default", _due_ids(store), ["default"])
            expect("two queues", _due_ids(store, queues=("vip", "default")), ["default", "vip"])
            both = store.due(due_query(workflows=(("flow", "2"), ("other", "1")))).runs
            expect("two workflows", [run.run_id for run in both], ["newer", "other"])
            crossed = store.due(due_query(workflows=(("other", "2"),))).runs
            expect("a pair that does not exist", crossed, [])
            expect("another namespace", store.due(due_query(namespace="elsewhere")).runs[0].run_id, "elsewhere")

    def test_without_queues_or_workflows_nothing_is_due(self) -> None:
        with self.opened() as store:
            Activation.of_new(store, new_run())
            expect("no queues", store.due(due_query(queues=())).runs, [])
            expect("no workflows", store.due(due_query(workflows=())).runs, [])

    def test_orphans_are_filtered_like_all_others(self) -> None:
        with self.opened() as store:
            Activation.of_new(store, new_run("mine", owner="gone"))
            Activation.of_new(store, new_run("vip", owner="gone", queue="vip"))
            Activation.of_new(store, new_run("elsewhere", owner="gone", namespace="elsewhere"))
            expect("due", _due_ids(store), ["mine"])

    def test_higher_priority_comes_first_then_age(self) -> None:
        with self.opened() as store:
            past_us = store.now_us() - HOUR_US
            Activation.of_new(store, new_run("low", priority=-1))
            Activation.of_new(store, new_run("old timer", status=RunStatus.WAITING, wake_at_us=past_us))
            Activation.of_new(store, new_run("old orphan", status=RunStatus.RUNNING, owner="gone"))
            Activation.of_new(store, new_run("plain"))
            Activation.of_new(store, new_run("urgent orphan", status=RunStatus.RUNNING, owner="gone", priority=5))
            Activation.of_new(store, new_run("urgent timer", status=RunStatus.WAITING, wake_at_us=past_us, priority=5))
            Activation.of_new(store, new_run("urgent", priority=5))
            order = ["urgent orphan", "urgent timer", "urgent", "old timer", "old orphan", "plain", "low"]
            expect("order", _due_ids(store), order)
            for limit in range(len(order) + 2):
                runs = store.due(due_query(limit=limit)).runs
                expect(f"first {limit}", [run.run_id for run in runs], order[:limit])

    def test_the_next_wake_is_the_earliest_future_timer_of_an_unowned_open_run(self) -> None:
        with self.opened() as store:
            now_us = store.now_us()
            store.register(worker("alive"))
            expect("without runs", store.due(due_query()).next_wake_at_us, None)
            for run_id, status, owner, hours in (
                ("past", RunStatus.WAITING, None, -1),
                ("owned", RunStatus.RUNNING, "alive", 1),
                ("ended", RunStatus.COMPLETED, None, 1),
                ("later", RunStatus.WAITING, None, 4),
                ("soon", RunStatus.PENDING, None, 3),
            ):
                _place(store, run_id, status, owner, now_us + hours * HOUR_US, unread=False)
            Activation.of_new(store, new_run("queued elsewhere", queue="vip", wake_at_us=now_us + 2 * HOUR_US))
            expect("default queue", store.due(due_query()).next_wake_at_us, now_us + 3 * HOUR_US)
            expect("both queues", store.due(due_query(queues=("default", "vip"))).next_wake_at_us, now_us + 2 * HOUR_US)

    def test_a_claimed_run_is_not_due_until_its_worker_is_gone(self) -> None:
        with self.opened() as store:
            store.register(worker("w"))
            run = Activation.of_new(store, new_run())
            run.append(projection=projection(RunStatus.RUNNING, owner="w"))
            expect("while the worker lives", _due_ids(store), [])
            expect("when it is called dead", _due_ids(store, dead=("w",)), ["run"])
            store.unregister("w")
            expect("when it has left", _due_ids(store), ["run"])

    def test_a_consumed_message_makes_nothing_due(self) -> None:
        with self.opened() as store:
            run = Activation.of_new(store, new_run())
            store.deliver([message("k")])
            run.append(projection=projection(RunStatus.WAITING), consumed=())
            expect("unread", _due_ids(store), ["run"])
            run.append(projection=projection(RunStatus.WAITING, consumed=1), consumed=((1, 3),))
            expect("read", _due_ids(store), [])
