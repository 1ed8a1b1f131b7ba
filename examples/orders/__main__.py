"""
``python -m examples.orders``: run the demo, then audit it.

Owns: the command line, the table at the end, the exit code (0 all is well, 1 an invariant is broken, 2 it could not be
run like this). Must not know how orders are fulfilled, or how the books are compared.
"""

from __future__ import annotations

import argparse
import logging
import random
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import msgspec

from examples.orders.audit import Check, Figures, audit
from examples.orders.folder import Folder, Tally
from examples.orders.orders import Book, BookError, read_book
from examples.orders.place import PRODUCTS, PlaceError, placed
from examples.orders.screen import Screen, open_screen
from examples.orders.stock import Stock
from examples.orders.supervisor import Stuck, Supervisor

OWN_BOOK = Path(__file__).parent / "data"


def main() -> int:
    """Do what the command line asks for; the exit code."""
    options = _options()
    screen = open_screen(sys.stderr if options.json else sys.stdout)
    try:
        return _demo(options, screen) if options.audit is None else _audit_again(options, screen)
    except (BookError, PlaceError, OSError) as problem:
        screen.say(f"orders: {problem}")
        return 2
    except Stuck as problem:
        screen.say(f"orders: {problem}")
        return 1
    except KeyboardInterrupt:
        screen.say("stopped")
        return 130
    finally:
        screen.close()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m examples.orders",
        description="Fulfils an order book while workers are killed again and again, and shows that nothing is lost.",
    )
    add = parser.add_argument
    add("--orders", type=Path, default=OWN_BOOK, metavar="DIR", help="an order book (CSV, Northwind columns)")
    add("--store", default="sqlite", metavar="STORE", help=f"{', '.join(PRODUCTS)}, or a URL; servers are started")
    add("--workers", type=_at_least(1), default=3, metavar="N", help="how many processes execute")
    add("--limit", type=_at_least(1), metavar="N", help="only the first N orders")
    add("--kills", type=_at_least(0), metavar="N", help="how often a worker is killed")
    add("--at-once", type=_at_least(1), metavar="N", help="how many orders are under way at a time")
    add("--seed", type=int, metavar="N", help="decides at which moments the kills fall")
    add("--workdir", type=Path, metavar="DIR", help="a new folder for the log and the ledger; it is kept")
    add("--keep", action="store_true", help="keep the temporary folder that is used without --workdir")
    add("--json", action="store_true", help="a summary as JSON on stdout, everything else on stderr")
    add("--audit", type=Path, metavar="DIR", help="run nothing: check the folder of an earlier demo once more")
    return parser.parse_args()


def _at_least(least: int) -> Callable[[str], int]:
    """A type of argument for argparse."""

    def number(text: str) -> int:
        if int(text) < least:
            raise argparse.ArgumentTypeError(f"must be at least {least}")
        return int(text)

    return number


def _demo(options: argparse.Namespace, screen: Screen) -> int:
    """Fulfil the order book in a fresh folder, which is removed afterwards if all is well and nobody wants it."""
    book = read_book(options.orders, options.limit)
    orders = len(book.orders)
    workers = 0 if options.store == "memory" else options.workers
    kills = max(2, min(8, orders // 6)) if options.kills is None else options.kills
    kills = kills if workers else 0
    at_once = options.at_once or max(4, min(40, orders // 4))
    seed = random.SystemRandom().getrandbits(32) if options.seed is None else options.seed
    if options.workdir is not None:
        options.workdir.mkdir(parents=True)
    folder = Folder(options.workdir or Path(tempfile.mkdtemp(prefix="fluxo-orders-")))
    hands = f"{workers} workers and {kills} kills at random moments" if workers else "all in one process, and no kills"
    screen.say(f"{orders} orders, {at_once} at a time, on {options.store}; {hands} (--seed {seed})")
    logging.basicConfig(filename=folder.engine_log)
    sound = False
    try:
        _open_shop(folder, book)
        with placed(folder, options.store):
            killed, wall_s = Supervisor(folder, book, kills, at_once, seed, workers, screen).run()
            tally = Tally(seed, str(options.orders.absolute()), options.limit, at_once, killed, wall_s)
            folder.write_tally(tally)
            sound = _audit(folder, book, tally, screen, as_json=options.json)
    finally:
        if sound and options.workdir is None and not options.keep:
            shutil.rmtree(folder.path)
            screen.say("\nTo look into the log and the ledger afterwards: --keep")
        else:
            _invite(folder, screen)
    return 0 if sound else 1


def _audit_again(options: argparse.Namespace, screen: Screen) -> int:
    """Check the folder of an earlier demo."""
    folder = Folder(options.audit)
    tally = folder.read_tally()
    logging.basicConfig(filename=folder.engine_log)
    book = read_book(Path(tally.book), tally.limit)
    return 0 if _audit(folder, book, tally, screen, as_json=options.json) else 1


def _open_shop(folder: Folder, book: Book) -> None:
    """An empty ledger, and the opening stock on the shelf."""
    folder.ledger.touch()
    stock = Stock(folder.stock)
    stock.fill(book.products)
    stock.close()


def _audit(folder: Folder, book: Book, tally: Tally, screen: Screen, *, as_json: bool) -> bool:
    """Compare the books and show what came out; whether every invariant holds."""
    figures, checks = audit(folder, book, tally)
    screen.close()
    screen.table("What happened", _rows(figures))
    screen.table("What must hold", [(c.name, "BROKEN" if c.violations else "ok", _brief(c)) for c in checks])
    sound = not any(check.violations for check in checks)
    if as_json:
        summary = {"ok": sound, "seed": tally.seed, **asdict(figures), "checks": {c.name: c.violations for c in checks}}
        print(msgspec.json.format(msgspec.json.encode(summary), indent=2).decode(), flush=True)
    return sound


def _rows(figures: Figures) -> list[tuple[str, str, str]]:
    f = figures
    return [
        ("orders", f"{f.orders}", f"{f.completed} completed"),
        ("lines shipped", f"{f.parcels}", f"and {f.backordered_lines} on back-order: discontinued, too few left"),
        ("deliveries awaited", f"{f.deliveries}", "out of stock: a durable sleep, a restock, another try"),
        ("steps run", f"{f.steps}", "results in the log"),
        ("attempts retried", f"{f.retries}", "the payment service was away"),
        ("kills", f"{f.kills}", f"kill -9; {f.interruptions} times an order was being executed"),
        ("steps repeated", f"{f.repeated}", "effects the ledger saw again, under the same key"),
        ("results lost", f"{f.lost}", ""),
        ("invoiced", f"{f.invoiced}", "and charged, to the cent"),
        ("wall time", f"{f.wall_s:.1f} s", ""),
        ("steps per second", f"{f.steps_per_s:.1f}", "services that take their time, and dead workers, included"),
    ]


def _brief(check: Check) -> str:
    """The first place where a check fails, and how many more there are."""
    if not check.violations:
        return ""
    more = len(check.violations) - 1
    return check.violations[0] + (f" (and {more} more)" if more else "")


def _invite(folder: Folder, screen: Screen) -> None:
    """Where the files are, and what to do with them."""
    if folder.is_file:
        screen.say(f"\nThe log is {folder.log}")
    screen.say(f"The ledger is {folder.ledger}")
    if folder.finished and folder.is_file:
        screen.say(f"Change a line of the ledger, and: python -m examples.orders --audit {folder.path}")


if __name__ == "__main__":
    sys.exit(main())
