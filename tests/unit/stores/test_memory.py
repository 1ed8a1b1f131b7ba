"""
What is particular to the memory store.

Owns: sharing one store between engines. Must not repeat the conformance suite.
"""

from __future__ import annotations

from fluxo.stores import MemoryStore
from fluxo.testing.conformance.suite import Activation, at_once, message, new_run


def test_the_content_stays_when_an_engine_closes_the_store() -> None:
    store = MemoryStore()
    run = Activation.of_new(store, new_run())
    store.close()
    store.open()
    assert len(run.log()) == 1


def test_every_engine_that_waits_on_one_store_hears_of_a_change() -> None:
    store = MemoryStore()
    Activation.of_new(store, new_run())
    store.deliver([message("k")])
    assert at_once(*[lambda: store.wait(0.0)] * 3) == [True] * 3


def test_a_plain_event_wakes_nobody() -> None:
    store = MemoryStore()
    run = Activation.of_new(store, new_run())
    assert store.wait(0.0)
    run.append()
    assert not store.wait(0.0)
