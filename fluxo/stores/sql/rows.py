"""
Rows of the common schema.

Owns: the order of a run's columns, and a run from its row. Must not know any dialect.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from fluxo.model.run import RunRecord, RunStatus

__all__ = ["RUN_COLUMNS", "run_record"]

RUN_COLUMNS: Final = ", ".join(RunRecord.__struct_fields__)
"""The columns of a run, in the order of `RunRecord`'s fields."""

_STATUSES: Final = {status.value: status for status in RunStatus}
_COLUMNS: Final = len(RunRecord.__struct_fields__)
_STATUS_COLUMN: Final = RunRecord.__struct_fields__.index("status")


def run_record(row: Sequence[Any]) -> RunRecord:
    """A run from a row whose columns are those of `RunRecord`, in order; what follows them is ignored."""
    columns = list(row[:_COLUMNS])
    columns[_STATUS_COLUMN] = _STATUSES[columns[_STATUS_COLUMN]]
    return RunRecord(*columns)
