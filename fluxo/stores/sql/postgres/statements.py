"""
The SQL text of the PostgreSQL store, built once per store.

Owns: every statement that is not DDL. Must not know connections. One append is one statement, and thereby its own
transaction and one round trip (PROTOCOL rule 1: what follows from a first event is joined to those that won).
Parameters are positional and binary; several rows come as one array per column. A predecessor is looked up by a scalar
subquery, which no planner turns into a join over the whole log; it must be the last row that the statement sees, so
that a fence (PROTOCOL rule 6) is met by whoever sees it, and by the unique index of whoever does not. The order of a
run's columns is that of `RunRecord`.
"""

from __future__ import annotations

from typing import Final

from fluxo.stores.sql.rows import RUN_COLUMNS
from fluxo.stores.sql.schema import ENDED_SQL, OPEN_SQL, READY_SQL, TIMER_SQL

__all__ = ["Statements"]

_INT: Final = "%b::bigint[]"
_TEXT: Final = "%b::text[]"
_BYTES: Final = "%b::bytea[]"


class Statements:
    """
    The statements over the tables of one schema.

    Args:
        schema: Where the tables are; None for the first one on the search path.
        now: An SQL expression of the time in microseconds.
    """

    def __init__(self, schema: str | None, now: str) -> None:
        self.prefix = "" if schema is None else f'"{schema}".'
        self.now = now
        self._runs, self._events, self._inbox, self._workers = (
            f"{self.prefix}fluxo_{name}" for name in ("runs", "events", "inbox", "workers")
        )
        self._state_appends()
        self._state_reads()
        self._state_messages()
        self._state_workers()
        self._state_purging()

    def _state_appends(self) -> None:
        runs, events, inbox = self._runs, self._events, self._inbox
        self.append_one = (
            f"INSERT INTO {events} (run, seq, nonce, digest, body) "
            "SELECT %b::bigint, %b::bigint, %b::bigint, %b::bigint, %b::bytea "
            f"WHERE (SELECT digest FROM {events} WHERE run = %b::bigint AND seq >= %b::bigint "
            "ORDER BY seq DESC LIMIT 1) = %b::bigint ON CONFLICT DO NOTHING"
        )
        """(run, seq, nonce, digest, body, run, seq and digest of the predecessor)"""
        self.append_firsts = self._firsts() + " RETURNING run"
        """(runs, digests of predecessors, seqs, nonces, digests, bodies), of lone events"""
        self.append_all = self._all(inbox)
        """See `_all`."""
        self.event_at = (
            f"SELECT nonce, digest FROM {events} WHERE run = %b::bigint AND seq = %b::bigint "
            f"AND NOT EXISTS (SELECT 1 FROM {runs} WHERE key = run AND purging = 1)"
        )

    def _state_reads(self) -> None:
        events = self._events
        self.read = (
            f"SELECT seq, nonce, digest, body FROM {events} WHERE run = %b::bigint AND seq > %b::bigint "
            "AND digest >= 0 ORDER BY seq LIMIT %b::bigint"
        )
        self.tail = (
            f"SELECT seq, nonce, digest, body FROM {events} WHERE run = %b::bigint AND digest >= 0 "
            "ORDER BY seq DESC LIMIT 1"
        )

    def _state_messages(self) -> None:
        runs, inbox = self._runs, self._inbox
        now = self.now
        self.run = f"SELECT {RUN_COLUMNS}, purging FROM {runs} WHERE namespace = %b::text AND run_id = %b::text"
        self.release = (
            f"UPDATE {runs} SET owner = NULL, status = %b::text, wake_at_us = %b::bigint, "
            f"consumed = coalesce(%b::bigint, consumed), updated_at_us = {now} "
            f"WHERE key = %b::bigint AND owner = %b::text AND nonce = %b::bigint AND {OPEN_SQL}"
        )
        self.runs_for_delivery = (
            f"SELECT key, namespace, run_id, delivered, owner, {ENDED_SQL} FROM {runs} WHERE purging = 0 AND "
            f"(namespace, run_id) IN (SELECT * FROM unnest({_TEXT}, {_TEXT})) ORDER BY key FOR UPDATE"
        )
        self.repeated = (
            f"SELECT i.run, i.dedup_key, i.n FROM {inbox} i "
            f"JOIN unnest({_INT}, {_TEXT}) AS o (run, dedup_key) ON i.run = o.run AND i.dedup_key = o.dedup_key"
        )
        self.unconsumed = f"SELECT count(*) FROM {inbox} WHERE run = %b::bigint AND consumed_seq IS NULL"
        self.deliver = (
            f"INSERT INTO {inbox} (run, n, kind, name, dedup_key, payload, at_us) SELECT o.*, {now} "
            f"FROM unnest({_INT}, {_INT}, {_TEXT}, {_TEXT}, {_TEXT}, {_BYTES}) AS o"
        )
        self.delivered = (
            f"UPDATE {runs} r SET delivered = o.delivered FROM unnest({_INT}, {_INT}) AS o (key, delivered) "
            "WHERE r.key = o.key"
        )
        self.inbox = (
            f"SELECT n, kind, name, dedup_key, payload, at_us FROM {inbox} "
            "WHERE run = %b::bigint AND n > %b::bigint AND consumed_seq IS NULL ORDER BY n"
        )
        self.arrivals = (
            f"SELECT key, delivered FROM {runs} WHERE owner = %b::text AND {OPEN_SQL} "
            "AND delivered > consumed ORDER BY key"
        )

    def _state_workers(self) -> None:
        runs, workers = self._runs, self._workers
        now = self.now
        self.register = (
            f"INSERT INTO {workers} (worker_id, namespace, label, host, pid, pid_started, beat) "
            "VALUES (%b::text, %b::text, %b::text, %b::text, %b::bigint, %b::bigint, 0) "
            "ON CONFLICT (worker_id) DO UPDATE SET namespace = excluded.namespace, label = excluded.label, "
            "host = excluded.host, pid = excluded.pid, pid_started = excluded.pid_started, beat = 0"
        )
        self.unregister = f"DELETE FROM {workers} WHERE worker_id = %b::text"
        self.heartbeat = (
            f"WITH beaten AS (UPDATE {workers} SET beat = beat + 1 WHERE worker_id = %b::text RETURNING worker_id) "
            f"SELECT key, nonce FROM beaten LEFT JOIN {runs} ON owner = worker_id AND {OPEN_SQL} ORDER BY key"
        )
        """(worker id): no row if it has none; one row of NULLs if it owns nothing."""
        self.workers = (
            f"SELECT worker_id, namespace, label, host, pid, pid_started, beat FROM {workers} "
            'ORDER BY worker_id COLLATE "C"'
        )
        self.due = self._due(workers)
        self.now_us = f"SELECT {now}"

    def _state_purging(self) -> None:
        runs, events, inbox, workers = self._runs, self._events, self._inbox, self._workers
        self.stats_runs = (
            f"SELECT status, count(*), sum((SELECT max(seq) FROM {events} WHERE run = key) - base_seq)::bigint "
            f"FROM {runs} WHERE namespace = %b::text AND purging = 0 GROUP BY status"
        )
        self.stats_messages = (
            f"SELECT count(*) FROM {inbox} JOIN {runs} ON key = run "
            "WHERE consumed_seq IS NULL AND namespace = %b::text AND purging = 0"
        )
        self.stats_workers = f"SELECT count(*) FROM {workers} WHERE namespace = %b::text"

        self.purging = (
            f"SELECT key FROM {runs} WHERE purging = 1 AND namespace = %b::text ORDER BY key LIMIT %b::bigint"
        )
        self.mark_purging = (
            f"WITH chosen AS MATERIALIZED (SELECT key AS run FROM {runs} WHERE namespace = %b::text AND {ENDED_SQL} "
            "AND updated_at_us < %b::bigint AND purging = 0 ORDER BY key LIMIT %b::bigint FOR UPDATE SKIP LOCKED) "
            f"UPDATE {runs} SET purging = 1 FROM chosen WHERE key = run AND {ENDED_SQL} AND purging = 0 RETURNING key"
        )
        self.fence = (
            f"INSERT INTO {events} (run, seq, nonce, digest, body) SELECT run, max(seq) + 1, 0, -1, ''::bytea "
            f"FROM {events} WHERE run = ANY({_INT}) GROUP BY run"
        )
        """Takes the place behind the tail of runs that are being purged: no event names a negative digest."""
        self.let_appends_pass = f"LOCK TABLE {events} IN SHARE MODE"
        """Granted when no append is under way; held for no time."""
        self.purge_events = (
            f"DELETE FROM {events} WHERE ctid IN "
            f"(SELECT ctid FROM {events} WHERE run = %b::bigint ORDER BY seq LIMIT %b::bigint)"
        )
        self.purge_inbox = (
            f"DELETE FROM {inbox} WHERE ctid IN (SELECT ctid FROM {inbox} WHERE run = %b::bigint LIMIT %b::bigint)"
        )
        self.purge_run = f"DELETE FROM {runs} WHERE key = %b::bigint"

    def _firsts(self) -> str:
        return (
            f"INSERT INTO {self._events} (run, seq, nonce, digest, body) SELECT run, seq, nonce, digest, body "
            f"FROM unnest({_INT}, {_INT}, {_INT}, {_INT}, {_INT}, {_BYTES}) "
            "AS o (run, prev_digest, seq, nonce, digest, body) "
            f"WHERE (SELECT digest FROM {self._events} e WHERE e.run = o.run AND e.seq >= o.seq - 1 "
            "ORDER BY e.seq DESC LIMIT 1) = o.prev_digest ON CONFLICT DO NOTHING"
        )

    def _all(self, inbox: str) -> str:
        """
        A whole batch.

        Parameters: as for `append_firsts`; further events (runs, seqs, nonces, digests, bodies); projections (runs,
        statuses, wake times, consumed, owners, nonces, tail seqs, tail digests); consumed messages (runs, numbers,
        seqs); new runs (one array per column); their events (namespaces, run ids, seqs, nonces, digests, bodies).

        Answers (key, NULL, NULL) for each run whose first event won and (key, namespace, run id) for each new run.
        """
        new = (
            "namespace, run_id, workflow, version, status, queue, shard, priority, wake_at_us, owner, nonce, "
            "tail_seq, tail_digest, input_digest"
        )
        return (
            f"WITH won AS ({self._firsts()} RETURNING run), "
            f"further AS (INSERT INTO {self._events} (run, seq, nonce, digest, body) "
            f"SELECT f.* FROM unnest({_INT}, {_INT}, {_INT}, {_INT}, {_BYTES}) AS f (run, seq, nonce, digest, body) "
            "WHERE f.run IN (SELECT run FROM won)), "
            f"projected AS (UPDATE {self._runs} r SET status = p.status, wake_at_us = p.wake_at_us, "
            "consumed = p.consumed, owner = p.owner, nonce = p.nonce, tail_seq = p.tail_seq, "
            f"tail_digest = p.tail_digest, updated_at_us = {self.now} "
            f"FROM unnest({_INT}, {_TEXT}, {_INT}, {_INT}, {_TEXT}, {_INT}, {_INT}, {_INT}) "
            "AS p (run, status, wake_at_us, consumed, owner, nonce, tail_seq, tail_digest) "
            "WHERE r.key = p.run AND p.run IN (SELECT run FROM won)), "
            f"consumed AS (UPDATE {inbox} i SET consumed_seq = c.seq, payload = NULL "
            f"FROM unnest({_INT}, {_INT}, {_INT}) AS c (run, n, seq) "
            "WHERE i.run = c.run AND i.n = c.n AND i.consumed_seq IS NULL AND c.run IN (SELECT run FROM won)), "
            f"made AS (INSERT INTO {self._runs} ({new}, delivered, consumed, base_seq, created_at_us, updated_at_us) "
            f"SELECT n.*, 0, 0, 0, {self.now}, {self.now} "
            f"FROM unnest({_TEXT}, {_TEXT}, {_TEXT}, {_TEXT}, {_TEXT}, {_TEXT}, %b::int[], %b::int[], {_INT}, {_TEXT}, "
            f"{_INT}, {_INT}, {_INT}, {_BYTES}) AS n ({new}) "
            "ON CONFLICT (namespace, run_id) DO NOTHING RETURNING key, namespace, run_id), "
            f"begun AS (INSERT INTO {self._events} (run, seq, nonce, digest, body) "
            "SELECT m.key, b.seq, b.nonce, b.digest, b.body "
            f"FROM unnest({_TEXT}, {_TEXT}, {_INT}, {_INT}, {_INT}, {_BYTES}) "
            "AS b (namespace, run_id, seq, nonce, digest, body) "
            "JOIN made m ON m.namespace = b.namespace AND m.run_id = b.run_id) "
            "SELECT run, NULL, NULL FROM won UNION ALL SELECT key, namespace, run_id FROM made"
        )

    def _due(self, workers: str) -> str:
        """
        Due runs, and beside each (or alone) the time and when the next timer is due; see `Store.due`.

        Named parameters: namespace, queues, workflows, versions, dead, limit. Owners are found by one index seek each.
        """
        runs = self._runs
        asked = (
            "namespace = %(namespace)b::text AND queue = ANY(%(queues)b::text[]) AND (workflow, version) IN "
            "(SELECT * FROM unnest(%(workflows)b::text[], %(versions)b::text[]))"
        )
        best = "ORDER BY priority DESC, key LIMIT %(limit)b::bigint"
        return (
            f"WITH RECURSIVE owners (owner) AS (SELECT min(owner) FROM {runs} WHERE owner IS NOT NULL UNION ALL "
            f"SELECT (SELECT min(r.owner) FROM {runs} r WHERE r.owner > owners.owner) FROM owners "
            "WHERE owners.owner IS NOT NULL), "
            "gone AS (SELECT owner FROM owners WHERE owner IS NOT NULL AND (owner = ANY(%(dead)b::text[]) "
            f"OR NOT EXISTS (SELECT 1 FROM {workers} WHERE worker_id = owner))), "
            f"clock AS MATERIALIZED (SELECT {self.now} AS now_us), "
            f"ready AS (SELECT {RUN_COLUMNS} FROM {runs} WHERE {asked} AND {READY_SQL} {best}), "
            f"timers AS (SELECT {RUN_COLUMNS} FROM {runs} WHERE {asked} AND {TIMER_SQL} "
            f"AND wake_at_us <= (SELECT now_us FROM clock) {best}), "
            f"orphans AS (SELECT o.* FROM gone, LATERAL (SELECT {RUN_COLUMNS} FROM {runs} r WHERE {asked} "
            f"AND r.owner = gone.owner AND {OPEN_SQL} {best}) o), "
            "due AS (SELECT * FROM ready UNION SELECT * FROM timers UNION SELECT * FROM orphans "
            f"{best}) "
            f"SELECT now_us, (SELECT wake_at_us FROM {runs} WHERE {asked} AND {TIMER_SQL} "
            "AND wake_at_us > (SELECT now_us FROM clock) ORDER BY wake_at_us LIMIT 1), due.* "
            "FROM clock LEFT JOIN due ON true ORDER BY priority DESC, key"
        )
