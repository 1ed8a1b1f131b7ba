"""
Conformance: hearing of changes, opening and closing.

Owns: what `wait`, `nudge`, `open` and `close` must do. Must not know any store.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

from fluxo.model.run import RunStatus
from fluxo.store import Release, Store
from fluxo.testing.conformance.suite import (
    Activation,
    StoreSuite,
    at_once,
    expect,
    message,
    new_run,
    projection,
    worker,
)

__all__ = ["WaitConformance"]

_HEARD_S: Final = 20.0
"""A change is heard at once; only a store that misses it takes this long."""


def _settled(store: Store) -> None:
    """Hear everything that has happened up to now."""
    while store.wait(0.0):
        pass


class WaitConformance(StoreSuite):
    """A waiting thread is woken by what may concern it, and by a nudge."""

    def test_nothing_new_is_not_reported(self) -> None:
        with self.opened() as store:
            _settled(store)
            expect("wait", store.wait(0.0), False)

    def test_a_nudge_before_the_wait_is_reported_once(self) -> None:
        with self.opened() as store:
            _settled(store)
            store.nudge()
            store.nudge()
            expect("waits", [store.wait(_HEARD_S), store.wait(0.0)], [True, False])

    def test_a_nudge_wakes_a_waiting_thread(self) -> None:
        with self.opened() as store:
            expect("woken", self._woken_by(store, store.nudge), True)

    def test_a_message_from_another_thread_wakes_a_waiting_thread(self) -> None:
        with self.opened() as store:
            Activation.of_new(store, new_run())
            expect("woken", self._woken_by(store, lambda: store.deliver([message("k")])), True)

    def _woken_by(self, store: Store, act: Callable[[], object]) -> bool:
        """What a thread's wait answers when another thread acts after the first has heard of all before."""
        settled = threading.Event()

        def wait() -> bool:
            _settled(store)
            settled.set()
            return store.wait(_HEARD_S)

        def act_then() -> bool:
            settled.wait(_HEARD_S)
            act()
            return True

        return at_once(wait, act_then)[0]

    def test_changes_that_may_concern_others_are_heard(self) -> None:
        with self.opened() as store:
            run = Activation.of_new(store, new_run(status=RunStatus.RUNNING, owner="w", nonce=1))

            def change_status() -> object:
                return run.append(projection=projection(RunStatus.RUNNING, owner="w"))

            for what, change in (
                ("a new run", lambda: Activation.of_new(store, new_run("other"))),
                ("a message", lambda: store.deliver([message("k")])),
                ("a change of status", change_status),
                ("a release", lambda: store.release([Release(run.key, "w", 1)])),
                ("a worker", lambda: store.register(worker("w"))),
                ("a worker that leaves", lambda: store.unregister("w")),
            ):
                _settled(store)
                change()
                expect(what, store.wait(_HEARD_S), True)

    def test_opening_twice_is_opening_once(self) -> None:
        with self.opened() as store:
            Activation.of_new(store, new_run())
            store.open()
            expect("log", Activation.of_new(store, new_run("other")).log()[0][0], 1)

    def test_closing_is_idempotent(self) -> None:
        store = self.make_store()
        store.close()
        store.open()
        store.close()
        store.close()
        expect("opened again", self._opened_again(store), True)

    def _opened_again(self, store: Store) -> bool:
        store.open()
        try:
            return Activation.of_new(store, new_run("after a close")).key > 0
        finally:
            store.close()
