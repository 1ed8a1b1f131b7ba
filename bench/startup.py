"""
From nothing to a ready engine.

Owns: the time to open an engine on SQLite, after the import. Must not load fluxo when it is imported.
"""

from __future__ import annotations

import sqlite3
import statistics
import sys
import time
from collections.abc import Iterator

from bench import child
from bench.report import Figure
from bench.setting import Setting

__all__ = ["open_engine", "open_raw", "ready"]


def open_engine(path: str) -> dict[str, float]:
    """In a child: import fluxo, open an engine; seconds for each, and how many modules are loaded then."""
    began = time.perf_counter()
    from fluxo import Engine

    imported = time.perf_counter()
    engine = Engine(f"sqlite:///{path}")
    with engine:
        ready_at = time.perf_counter()
        modules = len(sys.modules)
    return {"import_s": imported - began, "ready_s": ready_at - imported, "modules": modules}


def open_raw(path: str) -> dict[str, float]:
    """In a child: open a SQLite file, create a table, commit."""
    began = time.perf_counter()
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("CREATE TABLE one (n INTEGER)")
    connection.execute("INSERT INTO one VALUES (1)")
    return {"ready_s": time.perf_counter() - began}


def ready(setting: Setting) -> Iterator[Figure]:
    """``Engine("sqlite:///...")`` ready within half a second after the import; on a new file, and again on the same."""
    new: list[float] = []
    again: list[float] = []
    imports: list[float] = []
    raw: list[float] = []
    modules = 0.0
    for _ in range(setting.size(7, 3)):
        raw.append(child.call("bench.startup:open_raw", path=str(setting.path("start-raw")))["ready_s"])
        path = str(setting.path("start"))
        answer = child.call("bench.startup:open_engine", path=path)
        new.append(answer["ready_s"])
        imports.append(answer["import_s"])
        modules = answer["modules"]
        again.append(child.call("bench.startup:open_engine", path=path)["ready_s"])
    for what, seconds in (("a new file", new), ("a file with a schema", again)):
        yield Figure(
            goal="startup",
            what=f"engine ready after the import, {what}",
            raw=f"bare sqlite3 {statistics.median(raw) * 1000:.0f} ms",
            measured=statistics.median(seconds),
            unit="s",
            bound=0.5,
            detail=f"import fluxo {statistics.median(imports) * 1000:.0f} ms; {modules:.0f} modules at the end",
            limited_by="loading SQLAlchemy, and the commits that create the schema",
        )
