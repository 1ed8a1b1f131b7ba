"""
What acts on runs from outside: signals, cancellation, resume, queries.

Owns: these operations as plain blocking functions over a store. Must not know engines' threads or loops: who must
be woken is told through a callback. Theory: PROTOCOL rules 3–5, 14, 15.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from fluxo.clock import to_us
from fluxo.codec.event import chain, decode_event, encode_event
from fluxo.codec.signal import encode_signal
from fluxo.engine.watch import End
from fluxo.engine.worker import end_of
from fluxo.errors import ConflictError, LimitExceededError, RunNotFoundError, StoreUnavailableError, UsageError
from fluxo.limits import INBOX_MESSAGES_MAX, PAGE_RUNS_MAX
from fluxo.model.events import Event, RunBlocked, RunCancelled, RunCompleted, RunFailed, RunReopened, RunStarted
from fluxo.model.info import Page, RunInfo, info_of
from fluxo.model.names import check_name
from fluxo.model.retry import seconds
from fluxo.model.run import ENDED, OPEN, RunRecord, RunStatus
from fluxo.runtime.reading import read_history, read_rows
from fluxo.store import Append, Committed, Delivered, Delivery, EventRow, Message, Projection, RunQuery, Unknown

if TYPE_CHECKING:
    from fluxo.runtime.core import Core

__all__ = ["Control"]

_TRIES = 8


class Control:
    """
    Operations on the runs of one namespace.

    `changed` is called with the key of a run whose inbox or row was changed here; `ended` with an end written here.
    """

    def __init__(self, core: Core, changed: Callable[[int], None], ended: Callable[[int, str, End], None]) -> None:
        self._core = core
        self._changed = changed
        self._ended = ended

    def find(self, run_id: str) -> RunRecord:
        """
        The run's projection.

        Raises:
            RunNotFoundError: no such run.
        """
        run = self._core.store.get(self._core.namespace, check_name("run id", run_id))
        if run is None:
            raise RunNotFoundError(run_id, self._core.namespace)
        return run

    def signal(self, run_id: str, name: str, payload: Any, key: str | None) -> None:
        """
        Put a signal into the run's inbox; durable when it returns.

        Raises:
            RunNotFoundError: no such run.
            UsageError: the run has ended (unless `key` was delivered before).
            EncodeError: the payload is not data.
            LimitExceededError: payload or inbox too large.
        """
        check_name("signal name", name)
        body = encode_signal(payload, f"signal {name!r}")
        self.deliver(
            run_id, name, body, check_name("signal key", key) if key is not None else f"\0{self._core.ids.nonce():x}"
        )

    def deliver(self, run_id: str, name: str, payload: bytes, dedup_key: str) -> None:
        """`signal` with an encoded payload."""
        delivery = self._send("signal", run_id, name, payload, dedup_key)
        if delivery.verdict is Delivered.ENDED:
            raise UsageError(f"run {run_id!r} has ended: it can no longer receive signal {name!r}")

    def cancel(self, run_id: str, *, force: bool) -> bool:
        """
        Ask the run to end, or end it at once with `force`; False if it had ended.

        A run that nobody may advance (blocked) or that no worker has begun is cancelled at once as well.

        Raises:
            RunNotFoundError: no such run.
        """
        run = self.find(run_id)
        if run.status in ENDED:
            return False
        unattended = RunBlocked if run.status is RunStatus.BLOCKED else RunStarted
        if force or run.status is RunStatus.BLOCKED or (run.status is RunStatus.PENDING and run.tail_seq == 1):
            ended = self._end_by_force(run_id, None if force else unattended)
            if ended is not None:
                return ended
        delivery = self._send("cancel", run_id, "", b"null", "\0cancel")
        return delivery.verdict is not Delivered.ENDED

    def resume(self, run_id: str) -> None:
        """
        Let a failed or blocked run go on from where it stopped; completed steps are not run again.

        Raises:
            RunNotFoundError: no such run.
            UsageError: the run is neither failed nor blocked.
            HistoryCorruptError: its log is still damaged.
        """
        for _ in range(_TRIES):
            run = self.find(run_id)
            if run.status not in (RunStatus.FAILED, RunStatus.BLOCKED):
                raise UsageError(f"run {run_id!r} is {run.status}: only failed and blocked runs can be resumed")
            history = read_history(self._core.store, run_id, run.key)
            tail = self._core.store.tail(run.key)
            if not isinstance(history.last, RunFailed | RunBlocked):
                continue  # resumed by somebody else since we looked
            event = RunReopened(self._now_us(history.last.at_us), history.voided_by_resume())
            if tail is not None and tail[0] == history.tail_seq and self._add(run, tail, event, RunStatus.PENDING):
                self._changed(run.key)
                return
        raise ConflictError(run_id, self.find(run_id).tail_seq + 1)

    def purge(self, older_than: timedelta | float) -> int:
        """Delete ended runs that were last changed longer ago than this; their number."""
        before_us = self._core.store.now_us() - round(seconds("older_than", older_than) * 1_000_000)
        total = 0
        while number := self._core.store.purge(self._core.namespace, before_us, PAGE_RUNS_MAX):
            total += number
        return total

    def page(
        self,
        status: RunStatus | str | None,
        workflow: str | None,
        queue: str | None,
        since: datetime | None,
        limit: int,
        cursor: str | None,
    ) -> Page:
        """One page of runs, newest first."""
        if not 1 <= limit <= PAGE_RUNS_MAX:
            raise UsageError(f"limit must be between 1 and {PAGE_RUNS_MAX}")
        if since is not None and since.tzinfo is None:
            raise UsageError("since must be an aware datetime: give it a tzinfo")
        if cursor is not None and not (cursor.isascii() and cursor.isdigit() and len(cursor) < 19):
            raise UsageError("cursor must be the next_cursor of an earlier page")
        try:
            wanted = () if status is None else (RunStatus(status),)
        except ValueError:
            raise UsageError(f"no status {status!r}: one of {', '.join(RunStatus)}") from None
        page = self._core.store.find(
            RunQuery(
                self._core.namespace,
                wanted,
                workflow,
                queue,
                None if since is None else to_us(since),
                None if cursor is None else int(cursor),
                limit,
            )
        )
        return Page(
            runs=tuple(info_of(run) for run in page.runs),
            next_cursor=None if page.before_key is None else str(page.before_key),
        )

    def info(self, run_id: str) -> RunInfo:
        """The run, with the report if it is blocked."""
        run = self.find(run_id)
        if run.status is RunStatus.BLOCKED:
            end = end_of(run_id, self._core.store.tail(run.key))
            if isinstance(end, RunBlocked):
                return info_of(run, end.reason, end.report)
        return info_of(run)

    def history(self, run_id: str) -> tuple[Event, ...]:
        """The run's events; event n has index n - 1."""
        return tuple(decode_event(row[3]) for row in read_rows(self._core.store, self.find(run_id).key))

    def end(self, run_id: str) -> End | None:
        """The event that ended or blocked the run, or None while it goes on."""
        run = self.find(run_id)
        if run.status in OPEN:
            return None
        return end_of(run_id, self._core.store.tail(run.key))

    def _send(self, kind: str, run_id: str, name: str, payload: bytes, dedup_key: str) -> Delivery:
        core = self._core
        message = Message(core.namespace, check_name("run id", run_id), kind, name, dedup_key, payload)
        delivery = core.store.deliver([message])[0]
        if delivery.verdict is Delivered.NOT_FOUND:
            raise RunNotFoundError(run_id, core.namespace)
        if delivery.verdict is Delivered.FULL:
            raise LimitExceededError(
                f"inbox of run {run_id!r}",
                INBOX_MESSAGES_MAX + 1,
                INBOX_MESSAGES_MAX,
                "let the run consume its signals first",
            )
        if delivery.verdict is Delivered.ACCEPTED:
            self._changed(delivery.key)
        return delivery

    def _end_by_force(self, run_id: str, only_after: type[Event] | None) -> bool | None:
        """
        Append RunCancelled at the inspected tail: it fences the owner, whose next append is refused (rule 5).

        False when it has ended. None when its log has gone on from an event of this type since it was looked at: then
        somebody attends to it who can be asked. The row alone would not tell: it is older than the tail.
        """
        for _ in range(_TRIES):
            run = self.find(run_id)
            if run.status in ENDED:
                return False
            tail = self._core.store.tail(run.key)
            if tail is None:
                raise RunNotFoundError(run_id, self._core.namespace)
            last = decode_event(tail[3])
            if isinstance(last, RunCompleted | RunFailed | RunCancelled):
                return False
            if only_after is not None and not isinstance(last, only_after):
                return None
            event = RunCancelled(self._now_us(last.at_us), True)
            if self._add(run, tail, event, RunStatus.CANCELLED):
                self._ended(run.key, run_id, event)
                self._changed(run.key)
                return True
        raise ConflictError(run_id, self.find(run_id).tail_seq + 1)

    def _add(self, run: RunRecord, tail: EventRow, event: Event, status: RunStatus) -> bool:
        """One event at an inspected tail; False when someone else was first."""
        nonce = self._core.ids.nonce()
        body = encode_event(event)
        row = (tail[0] + 1, nonce, chain(tail[2], nonce, body), body)
        append = Append(run.key, tail[0], tail[2], [row], Projection(status, None, run.consumed, None, nonce))
        for tries in range(_TRIES):
            outcome = self._core.store.append([append])[0]
            if not isinstance(outcome, Unknown):
                return isinstance(outcome, Committed)
            self._core.pause(self._core.backoff_s(tries))
        raise StoreUnavailableError(
            f"run {run.run_id!r}", "it is not known whether the change was written; ask for its status"
        )

    def _now_us(self, last_at_us: int) -> int:
        return max(last_at_us, self._core.clock.now_us())
