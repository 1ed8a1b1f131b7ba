"""
Conformance: what a durable store keeps.

Owns: closing and opening again. Must not know any store, or how a crash is made: that is tested per store.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Generator
from contextlib import contextmanager

from fluxo.model.run import RunStatus
from fluxo.store import Committed, Conflict, Delivered, Store
from fluxo.testing.conformance.suite import (
    HOUR_US,
    NAMESPACE,
    Activation,
    StoreSuite,
    chain,
    due_query,
    expect,
    message,
    new_run,
    projection,
    record_of,
    worker,
)

__all__ = ["DurableConformance"]


class DurableConformance(StoreSuite):
    """A store that is closed and opened again has forgotten nothing."""

    @abstractmethod
    def reopen(self, store: Store) -> Store:
        """Another store object over the database of `store`, not open."""

    @contextmanager
    def opened_again(self, store: Store) -> Generator[Store, None, None]:
        """The database of `store` through another store object, open for the length of the block."""
        again = self.reopen(store)
        again.open()
        try:
            yield again
        finally:
            again.close()

    def test_everything_is_there_after_a_reopen(self) -> None:
        with self.opened() as store:
            run = Activation.of_new(store, new_run(status=RunStatus.RUNNING, owner="w", nonce=5))
            run.append(10)
            store.deliver([message("a"), message("b")])
            run.append(projection=projection(RunStatus.WAITING, consumed=1, nonce=5), consumed=((1, 12),))
            store.register(worker("w"))
            before = record_of(store), run.log(), store.inbox(run.key, 0), store.workers(), store.stats(NAMESPACE)
        with self.opened_again(store) as again:
            after = (
                record_of(again),
                again.read(run.key, 0, 100),
                again.inbox(run.key, 0),
                again.workers(),
                again.stats(NAMESPACE),
            )
            for what, now, then in zip(("row", "log", "inbox", "workers", "stats"), after, before, strict=True):
                expect(what, now, then)

    def test_the_log_goes_on_after_a_reopen(self) -> None:
        with self.opened() as store:
            run = Activation.of_new(store, new_run())
            sent = run.next()
            store.append([sent])
            zombie = run.takeover(nonce=9)
            run.moved_past(sent)
        with self.opened_again(store) as again:
            run.store = zombie.store = again
            expect("sent again", again.append([sent]), [Committed(run.key)])
            expect("a stale owner", zombie.append(), Conflict())
            expect("the owner", run.append(), Committed(run.key))
            expect("log", run.log(), chain(0, 0, 1, 3))

    def test_keys_of_messages_are_remembered_after_a_reopen(self) -> None:
        with self.opened() as store:
            run = Activation.of_new(store, new_run())
            store.deliver([message("a")])
            run.append(consumed=((1, 2),))
        with self.opened_again(store) as again:
            old, new = again.deliver([message("a"), message("b")])
            expect("answers", (old.verdict, new.n), (Delivered.REPEATED, 2))

    def test_keys_of_purged_runs_are_not_used_again_after_a_reopen(self) -> None:
        with self.opened() as store:
            run = Activation.of_new(store, new_run())
            run.append(projection=projection(RunStatus.COMPLETED))
            store.purge(NAMESPACE, store.now_us() + HOUR_US, 10)
        with self.opened_again(store) as again:
            assert Activation.of_new(again, new_run()).key != run.key, "a key must never be used again"

    def test_two_stores_on_one_database_share_it(self) -> None:
        with self.opened() as store, self.opened_again(store) as other:
            run = Activation.of_new(store, new_run())
            expect("due there", [found.run_id for found in other.due(due_query()).runs], ["run"])
            claim = Activation(other, run.key, 2, run.seq, run.digest)
            claim.append(projection=projection(RunStatus.RUNNING, owner="w", nonce=2))
            expect("a conflict here", run.append(), Conflict())
            expect("owner here", record_of(store).owner, "w")

    def test_a_store_hears_what_another_one_writes(self) -> None:
        with self.opened() as store, self.opened_again(store) as other:
            while store.wait(0.0):
                pass
            Activation.of_new(other, new_run())
            expect("heard", store.wait(20.0), True)
