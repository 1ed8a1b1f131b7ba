"""
The bell tells each waiting thread once.

Owns: what `Bell` promises. Must not know who rings it.
"""

from __future__ import annotations

from fluxo.stores.bell import Bell
from fluxo.testing.conformance.suite import at_once


def test_a_bell_that_never_rang_reports_nothing() -> None:
    assert not Bell().wait(0.0)


def test_rings_before_a_wait_are_reported_once() -> None:
    bell = Bell()
    bell.ring()
    bell.ring()
    assert bell.wait(0.0)
    assert not bell.wait(0.0)


def test_each_thread_hears_a_ring() -> None:
    bell = Bell()
    bell.ring()
    assert at_once(*[lambda: (bell.wait(0.0), bell.wait(0.0))] * 4) == [(True, False)] * 4


def test_a_negative_timeout_does_not_wait() -> None:
    assert not Bell().wait(-1.0)
