"""
The books are compared: the log of the runs on one side, the ledger of the world on the other.

Owns: the invariants and the figures. Must not know how the demo went but for its tally: everything is read back from
the files, through the engine's public names, so that the audit can be repeated later, and be made to fail by tampering.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal

import msgspec

from examples.orders.flow import fulfil
from examples.orders.folder import Folder, Tally
from examples.orders.ledger import Entry, LedgerReader, first_seen, seen
from examples.orders.orders import Book, Invoice
from examples.orders.stock import Stock
from fluxo import Engine, RunInfo, RunStatus
from fluxo.model.events import CommandEvent, Event, RunClaimed, StepCompleted, StepRetried

__all__ = ["Check", "Figures", "audit"]


@dataclass(frozen=True)
class Check:
    """One invariant, and each place where it does not hold."""

    name: str
    violations: tuple[str, ...]


@dataclass(frozen=True)
class Figures:
    """What happened, in numbers. `repeated` effects were seen more than once, `lost` results have no effect."""

    orders: int
    completed: int
    backordered_lines: int
    deliveries: int
    parcels: int
    steps: int
    retries: int
    kills: int
    interruptions: int
    repeated: int
    lost: int
    invoiced: Decimal
    wall_s: float
    steps_per_s: float


class Record:
    """What the log says about one order."""

    def __init__(self, info: RunInfo, history: Sequence[Event], invoice: Invoice | None) -> None:
        self.status = info.status
        self.invoice = invoice
        self.steps = Counter(event.name for event in history if isinstance(event, StepCompleted))
        self.retries = sum(isinstance(event, StepRetried) for event in history)
        # How often a worker died while it was executing this order.
        self.interruptions = sum(isinstance(event, RunClaimed) and event.unclean for event in history)
        self.endings = Counter(
            event.ordinal for event in history if isinstance(event, CommandEvent) and not isinstance(event, StepRetried)
        )


def audit(folder: Folder, book: Book, tally: Tally) -> tuple[Figures, list[Check]]:
    """Read everything back and compare."""
    records = _read_log(folder)
    entries, damage = _read_ledger(folder)
    effects = first_seen(entries)
    charged = _amounts(effects, "charge")
    invoiced = _amounts(effects, "write_invoice")
    lost = list(_missing(_recorded(records), _effective(effects)))
    stock = Stock(folder.stock)
    try:
        checks = {
            "every order is completed": _unfinished(book, records),
            "every result is recorded once": _recorded_twice(records),
            "the ledger can be read": damage,
            "no result is lost": (f"{place} has a result and no effect" for place in lost),
            "no effect is without a result": (
                f"{place} has an effect and no result" for place in _missing(_effective(effects), _recorded(records))
            ),
            "only a kill repeats an effect": _unexplained(entries, records, tally, book),
            "money charged is money invoiced": _wrong_money(records, charged, invoiced),
            "the warehouse's books are right": [*stock.problems(), *_wrong_movements(effects, stock)],
        }
    finally:
        stock.close()
    steps = sum(record.steps.total() for record in records.values())
    invoices = [record.invoice for record in records.values() if record.invoice is not None]
    figures = Figures(
        orders=len(book.orders),
        completed=sum(record.status is RunStatus.COMPLETED for record in records.values()),
        backordered_lines=sum(invoice.backordered for invoice in invoices),
        deliveries=sum(record.steps["restock"] for record in records.values()),
        parcels=sum(record.steps["pack"] for record in records.values()),
        steps=steps,
        retries=sum(record.retries for record in records.values()),
        kills=tally.kills,
        interruptions=sum(record.interruptions for record in records.values()),
        repeated=len(entries) - len(effects),
        lost=len(lost),
        invoiced=sum((invoice.total for invoice in invoices), Decimal(0)),
        wall_s=round(tally.wall_s, 2),
        steps_per_s=round(steps / tally.wall_s, 1),
    )
    return figures, [Check(name, tuple(violations)) for name, violations in checks.items()]


def _read_log(folder: Folder) -> dict[str, Record]:
    """Every order's record; an order's id is its run's."""
    records: dict[str, Record] = {}
    with Engine(folder.store, worker=False, name="audit") as engine:
        cursor: str | None = None
        while True:
            page = engine.list(workflow=fulfil.name, limit=1000, cursor=cursor)
            for info in page.runs:
                handle = engine.get(info.run_id)
                invoice = handle.result() if info.status is RunStatus.COMPLETED else None
                records[info.run_id] = Record(info, handle.history(), invoice)
            cursor = page.next_cursor
            if cursor is None:
                return records


def _read_ledger(folder: Folder) -> tuple[list[Entry], list[str]]:
    try:
        return LedgerReader(folder.ledger).new(), []
    except (OSError, msgspec.DecodeError) as problem:
        return [], [str(problem)]


def _amounts(effects: list[Entry], step: str) -> dict[str, Decimal]:
    """What each order's effects of one step come to."""
    amounts: defaultdict[str, Decimal] = defaultdict(Decimal)
    for effect in effects:
        if effect.step == step:
            amounts[effect.order] += effect.amount
    return amounts


def _recorded(records: dict[str, Record]) -> Counter[str]:
    """How many results of each step each order has in the log."""
    return Counter(
        {f"{step} of {order}": count for order, record in records.items() for step, count in record.steps.items()}
    )


def _effective(effects: list[Entry]) -> Counter[str]:
    """How many effects of each step each order has in the ledger."""
    return Counter(f"{effect.step} of {effect.order}" for effect in effects)


def _missing(wanted: Counter[str], there: Counter[str]) -> Iterator[str]:
    return (wanted - there).elements()


def _unfinished(book: Book, records: dict[str, Record]) -> Iterator[str]:
    for order in book.orders:
        record = records.get(order.id)
        if record is None:
            yield f"{order.id} is not in the log"
        elif record.status is not RunStatus.COMPLETED:
            yield f"{order.id} is {record.status}"


def _recorded_twice(records: dict[str, Record]) -> Iterator[str]:
    for order, record in records.items():
        for ordinal, count in record.endings.items():
            if count > 1:
                yield f"command {ordinal} of {order} ended {count} times"


def _unexplained(entries: list[Entry], records: dict[str, Record], tally: Tally, book: Book) -> Iterator[str]:
    """Effects seen more often than workers died on their order; and more of them than could be under way."""
    orders = {entry.key: entry.order for entry in entries}
    repeated = 0
    for key, times in seen(entries).items():
        repeated += times - 1
        record = records.get(orders[key])
        interruptions = 0 if record is None else record.interruptions
        if times - 1 > interruptions:
            yield f"{key} was seen {times} times, and its order was interrupted {interruptions} times"
    widest = max((len(order.lines) for order in book.orders), default=0)
    under_way = tally.kills * tally.at_once * max(1, widest)
    if repeated > under_way:
        yield f"{repeated} effects were repeated, and {under_way} were under way at {tally.kills} kills"


def _wrong_money(
    records: dict[str, Record], charged: dict[str, Decimal], invoiced: dict[str, Decimal]
) -> Iterator[str]:
    nothing = Decimal(0)
    for order, record in records.items():
        if record.invoice is not None:
            sums = (record.invoice.total, invoiced.get(order, nothing), charged.get(order, nothing))
            if len(set(sums)) > 1:
                yield f"{order}: {sums[0]} by its result, {sums[1]} by the invoice sent, {sums[2]} charged"
    totals = sum(charged.values(), nothing), sum(invoiced.values(), nothing)
    if totals[0] != totals[1]:
        yield f"{totals[0]} charged, {totals[1]} invoiced"


def _wrong_movements(effects: list[Entry], stock: Stock) -> Iterator[str]:
    noted = {effect.key for effect in effects if effect.step in ("reserve", "restock")}
    for key in sorted(noted ^ stock.movements()):
        yield f"{key} stands in the ledger or in the warehouse, not in both"
