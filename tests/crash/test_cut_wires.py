"""
The connection breaks in the middle of an append, at every place.

Owns: the enumeration of bytes, and what must hold: what is answered is true, what is unknown is settled by sending the
same again (PROTOCOL rule 4), and the log holds each event once. Must not know wire protocols.
"""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from fluxo import StoreUnavailableError
from fluxo.model.run import RunStatus
from fluxo.store import Append, Committed, Outcome, Store, Unknown
from fluxo.stores import MongoStore, open_store
from fluxo.testing.conformance.suite import Activation, new_run, projection
from tests.crash.proxy import Proxy
from tests.servers import SERVERS, url_of_its_own

PLACES = {"postgresql": 24, "redis": 24, "mongodb": 5}
"""After each cut, MongoDB's client takes half a second to find its server again."""
TRIES = 20


@pytest.fixture(params=SERVERS)
def wire(request: pytest.FixtureRequest) -> Iterator[tuple[Store, Proxy, int]]:
    url = url_of_its_own(request.param)
    port = urlsplit(url).port
    assert port is not None
    proxy = Proxy(port)
    through = url.replace(f":{port}", f":{proxy.port}")
    if request.param == "mongodb":
        # Else the client goes to where the replica set says that it is, past the proxy.
        through = through.replace("replicaSet=rs0", "directConnection=true&retryWrites=false")
    if request.param == "postgresql":
        through += "&listen=false"
    store = open_store(through)
    store.open()
    yield store, proxy, PLACES[request.param]
    proxy.disarm()
    store.close()
    proxy.close()


def send(store: Store, append: Append) -> Outcome | None:
    """The answer; None if the store says that it could not."""
    try:
        return store.append([append])[0]
    except StoreUnavailableError:
        return None


def settle(store: Store, append: Append) -> tuple[Outcome, bool]:
    """Send until there is an answer; it, and whether it was ever unknown."""
    unknown = False
    for _ in range(TRIES):
        outcome = send(store, append)
        if outcome is not None and not isinstance(outcome, Unknown):
            return outcome, unknown
        unknown = unknown or isinstance(outcome, Unknown)
    raise AssertionError("no answer")


@pytest.mark.timeout(180)
@pytest.mark.parametrize("direction", ["there", "back"])
@pytest.mark.parametrize("kind", ["a step", "an end"])
def test_an_append_whose_wire_is_cut_at_any_byte_is_settled_by_sending_it_again(
    wire: tuple[Store, Proxy, int], direction: str, kind: str
) -> None:
    store, proxy, places = wire
    end = projection(RunStatus.RUNNING, owner="w", nonce=7) if kind == "an end" else None
    run = Activation.of_new(store, new_run(nonce=7, owner="w", status=RunStatus.RUNNING))
    for _ in range(3):
        assert isinstance(run.append(projection=end), Committed)
    proxy.disarm()
    assert isinstance(run.append(projection=end), Committed)
    length = proxy.passed[direction]
    assert length > 0
    unknowns = 0
    for after in sorted({round(n * length / places) for n in range(places)} | {0, 1, length - 1}):
        append = run.next(projection=end)
        proxy.arm(direction, after)
        first = send(store, append)
        proxy.disarm()
        outcome, unknown = settle(store, append)
        assert isinstance(outcome, Committed), f"cut after byte {after} of {length} {direction}: {outcome}"
        if isinstance(first, Committed):
            assert store.read(run.key, run.seq, 1)[0][0] == run.seq + 1
        unknowns += unknown or isinstance(first, Unknown)
        run.moved_past(append)
    assert [row[0] for row in run.log()] == list(range(1, run.seq + 1))
    # A commit of MongoDB's is asked for again, and settled, inside of the store.
    assert unknowns > 0 or (kind == "an end" and isinstance(store, MongoStore)), "no cut left anybody in doubt"
