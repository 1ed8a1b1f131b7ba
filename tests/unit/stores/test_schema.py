"""
The common schema and the model say the same.

Owns: the texts of the schema that repeat what the model knows. Must not know any dialect.
"""

from __future__ import annotations

import re

import pytest

from fluxo.model.run import ENDED, OPEN, RunStatus
from fluxo.stores.sql.rows import RUN_COLUMNS
from fluxo.stores.sql.schema import ENDED_SQL, OPEN_SQL, runs


@pytest.mark.parametrize("text, statuses", [(OPEN_SQL, OPEN), (ENDED_SQL, ENDED)], ids=["open", "ended"])
def test_the_statuses_in_sql_are_those_of_the_model(text: str, statuses: frozenset[RunStatus]) -> None:
    assert set(re.findall(r"'(\w+)'", text)) == {status.value for status in statuses}


def test_the_columns_of_a_run_are_its_fields_in_order() -> None:
    assert [column.name for column in runs.c if column.name != "purging"] == RUN_COLUMNS.split(", ")
