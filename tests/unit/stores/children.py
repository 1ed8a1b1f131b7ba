"""
What other processes do to a database in these tests: `python -m tests.unit.stores.children <what> <path> <arguments>`.

Owns: the children's work. Each prints "ready", waits for a line, then acts and prints what it saw.
"""

from __future__ import annotations

import os
import sys
from contextlib import closing

from fluxo.errors import StoreUnavailableError
from fluxo.model.run import RunStatus
from fluxo.store import Committed
from fluxo.stores.sql import SqliteStore
from fluxo.testing.conformance.suite import Activation, due_query, new_run, projection, record_of, worker


def say(what: object) -> None:
    """One line to the test."""
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()


def create(path: str, run_id: str) -> None:
    """Open the database, which may be empty, and create one run."""
    with closing(SqliteStore(path)) as store:
        store.open()
        say(Activation.of_new(store, new_run(run_id)).key)


def claim_and_append(path: str, owner: str) -> None:
    """Take whatever is due until nothing is, writing three events to each run taken."""
    with closing(SqliteStore(path)) as store:
        store.open()
        store.register(worker(owner))
        while due := store.due(due_query(limit=5)).runs:
            for run in due:
                # At the tail that was shown as due: a later one may be the end that another process wrote.
                mine = Activation(store, run.key, int(owner), run.tail_seq, run.tail_digest)
                claim = projection(RunStatus.RUNNING, owner=owner, nonce=int(owner))
                if isinstance(mine.append(projection=claim), Committed):
                    outcomes = [mine.append(), mine.append(), mine.append(projection=projection(RunStatus.COMPLETED))]
                    assert outcomes == [Committed(run.key)] * 3
                    say(run.run_id)


def write_until_killed(path: str, run_id: str) -> None:
    """Append for ever; print each seq once it is acknowledged."""
    store = SqliteStore(path)
    store.open()
    run = Activation.of_new(store, new_run(run_id, status=RunStatus.RUNNING, owner="w"))
    while True:
        run.append(1 + run.seq % 3)
        say(run.seq)


def fork(path: str, run_id: str) -> None:
    """Use a store on both sides of a fork."""
    store = SqliteStore(path)
    store.open()
    run = Activation.of_new(store, new_run(run_id))
    child = os.fork()
    if child == 0:
        try:
            run.append()
        except StoreUnavailableError as error:
            say(error)
        say("woken" if store.wait(0.0) and store.wait(0.0) else "not woken")
        store.close()
        store = SqliteStore(path)
        store.open()
        say(record_of(store, run_id).key)
        store.close()
        os._exit(0)
    os.waitpid(child, 0)
    say(isinstance(run.append(), Committed))
    store.close()


if __name__ == "__main__":
    say("ready")
    sys.stdin.readline()
    {work.__name__: work for work in (create, claim_and_append, write_until_killed, fork)}[sys.argv[1]](*sys.argv[2:])
