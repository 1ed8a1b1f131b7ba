"""
Appending a batch.

Owns: who wins. Must not know connections' life. Lone events, the common case of steps, are one unordered insert: the
id (run, seq) is the lock, and that the predecessor stands was seen before (`Tails`). Everything else is one transaction
for the whole batch; only when something in it has lost is each append tried alone, which tells winners from losers.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, Final

from bson.int64 import Int64
from pymongo.client_session import ClientSession
from pymongo.errors import BulkWriteError, DuplicateKeyError, PyMongoError

from fluxo.store import Append, Committed, Conflict, Existing, NewRun, Outcome, Unknown
from fluxo.stores.mongo.collections import Collections
from fluxo.stores.mongo.documents import changed, event_document, event_id, run_document, run_record
from fluxo.stores.mongo.transactions import ContendedError, Lost, Sessions, asked, transact, translated

__all__ = ["Appender"]

_CONFLICT: Final = Conflict()
_DUPLICATE: Final = 11_000
_CONFLICTS_MAX: Final = 4
_TAILS_MAX: Final = 100_000
_SEEN_S: Final = 20.0
"""How long a predecessor that was seen counts as standing: purging deletes events, and a process may be asleep."""


class _Lost(Exception):
    """Something in the batch did not win."""


class Tails:
    """The last event of runs, as this process has written or seen it lately."""

    def __init__(self, monotonic_s: Callable[[], float]) -> None:
        self._monotonic_s = monotonic_s
        self._lock = threading.Lock()
        self._seen: OrderedDict[int, tuple[int, int, float]] = OrderedDict()

    def stands(self, key: int, seq: int, digest: int) -> bool:
        """Whether this event was seen to be there."""
        seen = self._seen.get(key)
        return seen is not None and seen[:2] == (seq, digest) and self._monotonic_s() - seen[2] < _SEEN_S

    def saw(self, key: int, seq: int, digest: int) -> None:
        """It was there, now."""
        with self._lock:
            self._seen[key] = (seq, digest, self._monotonic_s())
            self._seen.move_to_end(key)
            if len(self._seen) > _TAILS_MAX:
                self._seen.popitem(last=False)

    def forget(self, key: int) -> None:
        """It may be gone."""
        with self._lock:
            self._seen.pop(key, None)


class Appender:
    """Writes batches; keeps what it has seen of logs."""

    def __init__(
        self,
        collections: Collections,
        now_us: Callable[[], int],
        new_key: Callable[[NewRun], int],
        mark: Callable[[], str],
        tails: Tails,
        sessions: Sessions,
    ) -> None:
        self.on = collections
        self.sessions = sessions
        self._now_us = now_us
        self._new_key = new_key
        self._mark = mark
        self.tails = tails

    def write(self, batch: Sequence[Append]) -> list[Outcome]:
        """The outcome of each append, in order."""
        if all(append.is_lone for append in batch):
            return self._write_lone(batch)
        try:
            return self._write_together(batch)
        except _Lost:
            return [self._write_alone(append) for append in batch]
        except Lost as error:
            return [self._unknown(error) for _ in batch]

    def _write_lone(self, batch: Sequence[Append]) -> list[Outcome]:
        outcomes: list[Outcome] = [_CONFLICT] * len(batch)
        standing = self._standing([append for append in batch if not self._known(append)])
        chosen = [n for n, append in enumerate(batch) if self._known(append) or append.key in standing]
        lost = set(range(len(batch))) - set(chosen)
        if chosen:
            try:
                self.on.events.insert_many(
                    [event_document(batch[n].key, batch[n].events[0]) for n in chosen], ordered=False
                )
            except BulkWriteError as error:
                details: Any = error.details
                problems = details.get("writeErrors", [])
                if details.get("writeConcernErrors") or any(problem["code"] != _DUPLICATE for problem in problems):
                    return [self._unknown(error) for _ in batch]
                lost |= {chosen[problem["index"]] for problem in problems}
            except PyMongoError as error:
                problem = translated(error, self.on.where)
                if problem is not None:
                    raise problem from error
                return [self._unknown(error) for _ in batch]
        for n, append in enumerate(batch):
            if n in lost:
                outcomes[n] = self._judge(append, append.key)
            else:
                self.tails.saw(append.key, append.events[0][0], append.events[0][2])
                outcomes[n] = Committed(append.key)
        return outcomes

    def _known(self, append: Append) -> bool:
        return self.tails.stands(append.key, append.prev_seq, append.prev_digest)

    def _standing(self, appends: Sequence[Append], session: ClientSession | None = None) -> set[int]:
        """The runs whose predecessor is there and is the one that the append names."""
        if not appends:
            return set()
        ids = [event_id(append.key, append.prev_seq) for append in appends]
        read = self.on.events.find({"_id": {"$in": ids}}, {"d": 1}, session=session)
        found = asked(lambda: list(read), self.on.where) if session is None else list(read)
        digests = {int(document["_id"]["r"]): int(document["d"]) for document in found}
        return {append.key for append in appends if digests.get(append.key) == append.prev_digest}

    def _write_together(self, batch: Sequence[Append]) -> list[Outcome]:
        names = [(append.new.namespace, append.new.run_id) for append in batch if append.new is not None]
        if len(set(names)) < len(names):
            raise _Lost
        outcomes: list[Outcome] = []

        def work(session: ClientSession) -> None:
            outcomes[:] = self._put(session, batch)

        try:
            transact(self.sessions, self.on.where, work, _CONFLICTS_MAX)
        except (DuplicateKeyError, ContendedError) as error:
            # Whoever holds the place is about to write there, or has died: then the run is found due again.
            raise _Lost from error
        for append, outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, Committed):
                self.tails.saw(outcome.key, append.events[-1][0], append.events[-1][2])
        return outcomes

    def _put(self, session: ClientSession, batch: Sequence[Append]) -> list[Outcome]:
        on, now_us = self.on, self._now_us()
        extending = [append for append in batch if append.new is None]
        if len(self._standing(extending, session)) < len(extending):
            raise _Lost
        keys = [append.key if append.new is None else self._new_key(append.new) for append in batch]
        placed = list(zip(keys, batch, strict=True))
        runs = [
            run_document(key, append.new, append, now_us, self._mark())
            for key, append in placed
            if append.new is not None
        ]
        if runs:
            _insert(on.runs, runs, session)
        events = [event_document(key, event) for key, append in placed for event in append.events]
        _insert(on.events, events, session)
        for append in extending:
            self._change(session, append, now_us)
        return [Committed(key) for key in keys]

    def _change(self, session: ClientSession, append: Append, now_us: int) -> None:
        projection, tail = append.projection, append.events[-1]
        if projection is not None:
            update = changed(
                self._mark(),
                status=projection.status.value,
                wake_at_us=projection.wake_at_us,
                consumed=projection.consumed,
                owner=projection.owner,
                nonce=projection.nonce,
                tail_seq=tail[0],
                tail_digest=tail[2],
                updated_at_us=now_us,
            )
            here = {"_id": Int64(append.key), "purging": {"$exists": False}}
            if self.on.runs.update_one(here, update, session=session).matched_count == 0:
                raise _Lost
        for n, seq in append.consumed:
            self.on.inbox.update_one(
                {"_id": {"r": Int64(append.key), "n": n}, "seq": None},
                {"$set": {"seq": seq, "payload": b""}},
                session=session,
            )

    def _write_alone(self, append: Append) -> Outcome:
        try:
            return self._write_together([append])[0]
        except _Lost:
            pass
        except Lost as error:
            return self._unknown(error)
        if append.new is None:
            return self._judge(append, append.key)
        name = {"namespace": append.new.namespace, "run_id": append.new.run_id}
        found = asked(lambda: self.on.runs.find_one(name), self.on.where)
        if found is None or "purging" in found:
            return _CONFLICT
        outcome = self._judge(append, int(found["_id"]))
        return Existing(run_record(found)) if outcome is _CONFLICT else outcome

    def _judge(self, append: Append, key: int) -> Outcome:
        """Why it did not go in: this very append stands there already, or another's."""
        ids = [event_id(key, event[0]) for event in append.events]
        found = asked(lambda: list(self.on.events.find({"_id": {"$in": ids}}, {"n": 1, "d": 1})), self.on.where)
        there = {document["_id"]["s"]: (int(document["n"]), int(document["d"])) for document in found}
        if any(there.get(event[0]) != (event[1], event[2]) for event in append.events):
            return _CONFLICT
        row = asked(lambda: self.on.runs.find_one({"_id": Int64(key)}, {"purging": 1}), self.on.where)
        return _CONFLICT if row is None or "purging" in row else Committed(key)

    def _unknown(self, error: Exception) -> Outcome:
        cause = error.__cause__ or error
        return Unknown(f"the outcome of an append to {self.on.where} is not known ({type(cause).__name__})")


def _insert(collection: Any, documents: list[dict[str, Any]], session: ClientSession) -> None:
    try:
        collection.insert_many(documents, session=session)
    except BulkWriteError as error:
        if any(problem["code"] == _DUPLICATE for problem in error.details.get("writeErrors", [])):
            raise DuplicateKeyError("a document of this id is there", _DUPLICATE) from error
        raise
