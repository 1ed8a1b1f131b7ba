"""
The process that executes, and that gets killed: ``python -m examples.orders.worker <folder>``.

Owns: nothing that must survive. Must not know the supervisor, except that it ends when the pipe to it breaks. There is
no code here to recover anything: opening the engine does that.
"""

from __future__ import annotations

import os
import sys
import threading
from datetime import timedelta
from pathlib import Path

from examples.orders.flow import fulfil
from examples.orders.folder import Folder
from examples.orders.ledger import Ledger
from examples.orders.stock import Stock
from fluxo import Engine

__all__ = ["resources_of"]

LATENCY_S = 0.025
# Short, so that a dead worker is noticed soon also where the system cannot say which processes are alive.
LEASE = timedelta(seconds=2)


def main() -> None:
    """Work until told to stop."""
    folder = Folder(Path(sys.argv[1]))
    threading.Thread(target=_end_with_the_supervisor, daemon=True).start()
    engine = Engine(folder.store, resources=resources_of(folder), lease=LEASE, name="order worker")
    print(f"worker {os.getpid()} executes {fulfil.name!r}", flush=True)
    engine.serve()


def resources_of(folder: Folder) -> dict[str, object]:
    """What the steps need at hand."""
    return {"ledger": Ledger(folder.ledger, LATENCY_S), "stock": Stock(folder.stock)}


def _end_with_the_supervisor() -> None:
    os.read(sys.stdin.fileno(), 1)
    os._exit(1)


if __name__ == "__main__":
    main()
