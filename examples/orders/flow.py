"""
The life of an order: what an application writes.

Owns: the steps, each with one effect on the outside world, and the workflow that calls them. Must not know that the
process it runs in is killed every few seconds: no code in this file deals with crashes, and that is the point.

A step's body may run more than once (a kill can hit between the effect and the record of it); `fluxo.info()` gives it
the same idempotency key each time, and the services on the other side go by that key.
"""

from __future__ import annotations

import random
from decimal import Decimal

import fluxo
from examples.orders.ledger import Entry, Ledger
from examples.orders.orders import Invoice, Line, Order, PickUp, price
from examples.orders.stock import OutOfStock, Stock
from fluxo import Retry, step, workflow

__all__ = ["fulfil"]

DELIVERY_S = 1.2
BATCH_UNITS = 100


@workflow(name="fulfil")
def fulfil(order: Order) -> Invoice:
    """From an order to its invoice."""
    lines = [line for line in order.lines if secure(order.id, line)]
    backordered = len(order.lines) - len(lines)
    # Pure, so not a step: a replay computes it again and gets the same.
    total = price(lines, order.freight)
    if not lines:
        return Invoice(order.id, total, 0, backordered)

    # Its result is in the log before the next line runs: from here on the customer has been charged, once.
    charge(order.id, total)
    packing = [pack.submit(order.id, line) for line in lines]
    parcels = [parcel.result() for parcel in packing]
    call_carrier(order.id, parcels)
    # May take days; meanwhile the run holds no thread, and a signal that comes early, or amid a kill, is kept.
    pick_up = fluxo.wait_signal("picked_up", PickUp)
    ship(order.id, order.destination, pick_up)
    return write_invoice(order.id, total, len(lines), backordered)


def secure(order_id: str, line: Line) -> bool:
    """Reserve a line's goods, waiting for deliveries if need be; False if they will never come."""
    while True:
        try:
            reserve(order_id, line)
            return True
        except OutOfStock as short:
            if short.discontinued:
                backorder(order_id, line)
                return False
            # The delivery is due at a recorded time: a worker that starts over does not start waiting over.
            fluxo.sleep(DELIVERY_S)
            restock(order_id, line.product, short.missing + BATCH_UNITS)


@step
def reserve(order_id: str, line: Line) -> None:
    """Take a line's goods from the shelf, or raise OutOfStock."""
    stock: Stock = fluxo.resource("stock")
    stock.take(fluxo.info().idempotency_key, line.product, line.quantity)
    tell(order_id, f"{line.quantity} of product {line.product}")


@step
def restock(order_id: str, product: str, units: int) -> None:
    """A delivery arrives at the warehouse."""
    stock: Stock = fluxo.resource("stock")
    stock.put(fluxo.info().idempotency_key, product, units)
    tell(order_id, f"{units} of product {product}")


@step
def backorder(order_id: str, line: Line) -> None:
    """Write to the customer that a line cannot be delivered."""
    tell(order_id, f"{line.quantity} of product {line.product}")


@step(retry=Retry(max_attempts=5, initial=0.05, maximum=0.5, retry_on=(ConnectionError,)))
def charge(order_id: str, amount: Decimal) -> str:
    """Charge the customer through a payment service that is often away; the receipt's number."""
    here = fluxo.info()
    times_away = random.Random(here.idempotency_key).choice((0, 0, 0, 1, 1, 2, 3))
    if here.attempt <= times_away:
        raise ConnectionError("the payment service does not answer")
    return tell(order_id, "card", amount)


@step
def pack(order_id: str, line: Line) -> str:
    """Pack a line; the parcel's number. The lines of an order are packed side by side."""
    return tell(order_id, f"{line.quantity} of product {line.product}")


@step
def call_carrier(order_id: str, parcels: list[str]) -> None:
    """Ask the carrier to come; it answers with the signal `picked_up`, some time later."""
    tell(order_id, f"{len(parcels)} parcels")


@step
def ship(order_id: str, destination: str, pick_up: PickUp) -> None:
    """Send the customer the name of the truck that brings the parcels."""
    tell(order_id, f"to {destination} by {pick_up.truck}, {pick_up.driver} driving")


@step
def write_invoice(order_id: str, total: Decimal, shipped: int, backordered: int) -> Invoice:
    """Write and send the invoice."""
    tell(order_id, f"{shipped} lines shipped, {backordered} on back-order", total)
    return Invoice(order_id, total, shipped, backordered)


def tell(order_id: str, detail: str, amount: Decimal = Decimal(0)) -> str:
    """Have the effect of the current step on the outside world; the key it goes by there."""
    here = fluxo.info()
    ledger: Ledger = fluxo.resource("ledger")
    ledger.add(Entry(here.idempotency_key, here.step or "", order_id, detail, amount))
    return here.idempotency_key
