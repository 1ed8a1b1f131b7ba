"""
What an order is, and the order book it comes from.

Owns: the domain's types, the price of a line, and the CSV files in the Northwind column layout. Must not know fluxo:
plain frozen dataclasses go in and out of steps and workflows as they are.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from pathlib import Path
from typing import TypeVar

__all__ = ["Book", "BookError", "Invoice", "Line", "Order", "PickUp", "Product", "price", "read_book"]

T = TypeVar("T")
Row = dict[str, str]

CENT = Decimal("0.01")


class BookError(Exception):
    """An order book that cannot be read; the message says which file, and where."""


@dataclass(frozen=True)
class Line:
    """So many units of a product, at the price agreed; `discount` is a fraction."""

    product: str
    quantity: int
    unit_price: Decimal
    discount: Decimal

    @property
    def amount(self) -> Decimal:
        """What the line costs, rounded to the cent as shops do."""
        return (self.unit_price * self.quantity * (1 - self.discount)).quantize(CENT, ROUND_HALF_UP)


@dataclass(frozen=True)
class Order:
    """What a customer wants, and where to. `id` is also the id of its run: starting it twice starts it once."""

    id: str
    customer: str
    destination: str
    freight: Decimal
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class PickUp:
    """The carrier's word that it has fetched the parcels."""

    truck: str
    driver: str


@dataclass(frozen=True)
class Invoice:
    """What became of an order: lines shipped, lines put on back-order, money asked for."""

    order: str
    total: Decimal
    shipped: int
    backordered: int


@dataclass(frozen=True)
class Product:
    """What the warehouse keeps; a discontinued product is never delivered again."""

    id: str
    name: str
    units: int
    discontinued: bool


@dataclass(frozen=True)
class Book:
    """All orders, by date, and all products."""

    orders: tuple[Order, ...]
    products: tuple[Product, ...]


def price(lines: Iterable[Line], freight: Decimal) -> Decimal:
    """The sum of the lines, and freight if there is anything to ship."""
    amounts = [line.amount for line in lines]
    return sum(amounts, freight) if amounts else Decimal("0.00")


def read_book(folder: Path, limit: int | None = None) -> Book:
    """
    The order book in a folder: orders.csv, order_details.csv, products.csv, customers.csv.

    Args:
        folder: Holds the files, UTF-8 with a header line, in the Northwind column layout.
        limit: Only the first so many orders.

    Raises:
        BookError: a file or column is missing, or a value is not what its column promises.
    """
    names = dict(_table(folder / "customers.csv", lambda row: (row["customer_id"], row["company_name"])))
    products = tuple(_table(folder / "products.csv", _product))
    lines: defaultdict[str, list[Line]] = defaultdict(list)
    for order_id, line in _table(folder / "order_details.csv", _line):
        lines[order_id].append(line)
    orders = tuple(_table(folder / "orders.csv", lambda row: _order(row, names, lines[row["order_id"]])))
    known = {product.id for product in products}
    for order in orders:
        for line in order.lines:
            if line.product not in known:
                raise BookError(f"order {order.id} asks for product {line.product}, which products.csv does not have")
    return Book(orders[:limit], products)


def _product(row: Row) -> Product:
    return Product(row["product_id"], row["product_name"], int(row["units_in_stock"]), row["discontinued"] == "1")


def _line(row: Row) -> tuple[str, Line]:
    line = Line(row["product_id"], int(row["quantity"]), Decimal(row["unit_price"]), Decimal(row["discount"]))
    return row["order_id"], line


def _order(row: Row, names: dict[str, str], lines: list[Line]) -> Order:
    return Order(
        id=f"order-{row['order_id']}",
        customer=names[row["customer_id"]],
        destination=f"{row['ship_city']}, {row['ship_country']}",
        freight=Decimal(row["freight"]),
        lines=tuple(lines),
    )


def _table(path: Path, read: Callable[[Row], T]) -> list[T]:
    """Every row of a CSV file, read by `read`."""
    line = 1
    table: list[T] = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            for row in csv.DictReader(file):
                line += 1
                table.append(read(row))
    except OSError as problem:
        raise BookError(f"{path} cannot be read: {problem.strerror}; an order book is a folder with it") from None
    except KeyError as missing:
        raise BookError(f"{path}, row {line}: there is no {missing} to be found") from None
    except (ValueError, InvalidOperation, TypeError) as problem:
        raise BookError(f"{path}, row {line}: {problem}") from None
    return table
