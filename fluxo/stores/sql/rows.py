"""
Rows of the common schema.

Owns: a run from its row. Must not know any dialect.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from fluxo.model.run import RunRecord, RunStatus

__all__ = ["run_record"]

_STATUSES: Final = {status.value: status for status in RunStatus}
_COLUMNS: Final = len(RunRecord.__struct_fields__)
_STATUS_COLUMN: Final = RunRecord.__struct_fields__.index("status")


def run_record(row: Sequence[Any]) -> RunRecord:
    """A run from a row whose columns are those of `RunRecord`, in order; what follows them is ignored."""
    columns = list(row[:_COLUMNS])
    columns[_STATUS_COLUMN] = _STATUSES[columns[_STATUS_COLUMN]]
    return RunRecord(*columns)
