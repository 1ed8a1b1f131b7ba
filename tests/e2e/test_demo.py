"""
The demo in `examples/orders`, short: a dozen orders, a worker killed twice, and an audit that can tell.

Owns: that the demo ends well, that its figures hold, and that its audit finds what was tampered with. Must not know how
the demo does it; it is run as a newcomer runs it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
KILLS = 2
WORKERS = 3


def orders(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run ``python -m examples.orders``."""
    return subprocess.run(
        [sys.executable, "-m", "examples.orders", *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=55,
        check=False,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo") / "shop"


@pytest.fixture(scope="module")
def summary(folder: Path) -> dict[str, Any]:
    """What one short run says of itself; its files are in `folder`."""
    result = orders("--limit", "12", "--kills", str(KILLS), "--workdir", folder, "--json")
    assert result.returncode == 0, result.stderr
    found: dict[str, Any] = json.loads(result.stdout)
    return found


@pytest.fixture
def tampered(summary: dict[str, Any], folder: Path, tmp_path: Path) -> Callable[[Callable[[str], str]], Path]:
    """A copy of the run's files in which the ledger's first charge has been changed; '' removes its line."""

    def tamper(change: Callable[[str], str]) -> Path:
        copy = tmp_path / "tampered"
        shutil.copytree(folder, copy)
        ledger = copy / "ledger.jsonl"
        lines = ledger.read_text("utf-8").splitlines(keepends=True)
        first_key = next(entry["key"] for entry in map(json.loads, lines) if entry["step"] == "charge")
        ledger.write_text(
            "".join(change(line) if json.loads(line)["key"] == first_key else line for line in lines), "utf-8"
        )
        return copy

    return tamper


def broken(result: subprocess.CompletedProcess[str]) -> set[str]:
    """The names of the checks that failed."""
    return {name for name, violations in json.loads(result.stdout)["checks"].items() if violations}


def test_every_order_is_completed_though_the_worker_is_killed(summary: dict[str, Any]) -> None:
    assert (summary["orders"], summary["completed"], summary["kills"]) == (12, 12, KILLS)


def test_no_result_is_lost_and_no_invariant_is_broken(summary: dict[str, Any]) -> None:
    assert summary["lost"] == 0
    assert summary["ok"] is True
    assert {name: violations for name, violations in summary["checks"].items() if violations} == {}


def test_each_killed_worker_has_a_successor_that_goes_on(summary: dict[str, Any], folder: Path) -> None:
    log = (folder / "engine.log").read_text("utf-8")
    assert len(re.findall(r"^worker \d+ executes", log, re.MULTILINE)) == WORKERS + summary["kills"]


def test_short_stock_leads_to_deliveries_and_to_back_orders(summary: dict[str, Any]) -> None:
    assert summary["deliveries"] > 0
    assert summary["backordered_lines"] > 0


def test_the_ledger_shows_each_repeated_effect_under_its_own_key(summary: dict[str, Any], folder: Path) -> None:
    keys = [json.loads(line)["key"] for line in (folder / "ledger.jsonl").read_text("utf-8").splitlines()]
    assert len(keys) - len(set(keys)) == summary["repeated"]
    assert len(set(keys)) == summary["steps"]


def test_the_sum_of_the_charges_is_what_was_invoiced(summary: dict[str, Any], folder: Path) -> None:
    entries = map(json.loads, (folder / "ledger.jsonl").read_text("utf-8").splitlines())
    charges = {entry["key"]: Decimal(entry["amount"]) for entry in entries if entry["step"] == "charge"}
    assert sum(charges.values()) == Decimal(summary["invoiced"])


def test_the_audit_can_be_repeated(summary: dict[str, Any], folder: Path) -> None:
    again = orders("--audit", folder, "--json")
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout) == summary


def test_a_charge_removed_from_the_ledger_is_a_lost_result(
    tampered: Callable[[Callable[[str], str]], Path],
) -> None:
    result = orders("--audit", tampered(lambda line: ""), "--json")
    assert result.returncode == 1
    assert broken(result) == {"no result is lost", "money charged is money invoiced"}


def test_a_charge_changed_in_the_ledger_is_wrong_money(
    tampered: Callable[[Callable[[str], str]], Path],
) -> None:
    def one_cent_more(line: str) -> str:
        entry = json.loads(line)
        entry["amount"] = str(Decimal(entry["amount"]) + Decimal("0.01"))
        return json.dumps(entry) + "\n"

    result = orders("--audit", tampered(one_cent_more), "--json")
    assert result.returncode == 1
    assert broken(result) == {"money charged is money invoiced"}


def test_a_charge_seen_more_often_than_kills_explain_is_found(
    tampered: Callable[[Callable[[str], str]], Path],
) -> None:
    result = orders("--audit", tampered(lambda line: line * (KILLS + 2)), "--json")
    assert result.returncode == 1
    assert broken(result) == {"only a kill repeats an effect"}


def test_a_folder_without_an_order_book_is_refused_by_name(tmp_path: Path) -> None:
    result = orders("--orders", tmp_path)
    assert result.returncode == 2
    assert "customers.csv cannot be read" in result.stdout


@pytest.mark.timeout(120)
@pytest.mark.parametrize("store", ["postgresql", "redis", "mongodb", "memory"])
def test_the_same_orders_are_fulfilled_on_every_store(store: str) -> None:
    result = orders("--limit", "8", "--kills", str(KILLS), "--store", store, "--json")
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert found["ok"]
    assert found["kills"] == (0 if store == "memory" else KILLS)
    assert not any(found["checks"].values())


def test_a_store_that_does_not_exist_is_refused() -> None:
    result = orders("--store", "oracle")
    assert result.returncode == 2
    assert (
        "--store must be one of sqlite, postgresql, redis, mongodb, memory, or a URL" in result.stderr + result.stdout
    )
