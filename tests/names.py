"""
Names for each test file: what one file decorates does not exist for another.

Owns: the process-wide registry during collection and around each test. Must not know any test. In an application a
second function under a taken name is an error; here every file is an application of its own, so `flow` may stand in
many.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from fluxo.authoring import registry

_TABLES: tuple[dict[Any, Any], ...] = (registry._workflows, registry._steps)
_shared: list[dict[Any, Any]] = [{}, {}]
_own: dict[str, list[dict[Any, Any]]] = {}


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Iterator[None]:
    """Collect a file with the shared names alone; note which of the new ones are its own."""
    if not isinstance(collector, pytest.Module):
        return (yield)
    file = str(collector.path)
    _install([{}, {}])
    report = yield
    own = _own.setdefault(file, [{}, {}])
    for table, shared, mine in zip(_TABLES, _shared, own, strict=True):
        for name, definition in table.items():
            (mine if definition.fn.__code__.co_filename == file else shared)[name] = definition
    return report


@pytest.fixture(autouse=True)
def own_names(request: pytest.FixtureRequest) -> None:
    """A test sees the names of its own file and of what files share."""
    _install(_own.get(str(request.path), [{}, {}]))


def _install(own: list[dict[Any, Any]]) -> None:
    for table, shared, mine in zip(_TABLES, _shared, own, strict=True):
        table.clear()
        table.update(shared)
        table.update(mine)
