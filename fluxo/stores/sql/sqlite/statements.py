"""
The SQL text of the store, built once.

Owns: every statement that is not DDL. Must not know connections. Parameters are positional; the order of
a run's columns is that of `RunRecord`'s fields.
"""

from __future__ import annotations

from functools import cache
from typing import Final

from fluxo.stores.sql.rows import RUN_COLUMNS
from fluxo.stores.sql.schema import ENDED_SQL, OPEN_SQL, READY_SQL, TIMER_SQL

__all__ = [
    "ARRIVALS",
    "BEAT",
    "CONSUME",
    "DELIVER",
    "DELIVERED",
    "EVENT_AT",
    "FENCE",
    "FIRST_EVENT",
    "FIRST_ROWS_MAX",
    "FURTHER_EVENT",
    "INBOX",
    "MARK_PURGING",
    "OWNED",
    "OWNERS",
    "PURGEABLE",
    "PURGE_EVENTS",
    "PURGE_INBOX",
    "PURGE_RUN",
    "PURGING",
    "READ",
    "REGISTER",
    "RELEASE",
    "REPEATED",
    "RUN",
    "RUN_FOR_DELIVERY",
    "RUN_INSERT",
    "RUN_PROJECT",
    "STATS_MESSAGES",
    "STATS_RUNS",
    "STATS_WORKERS",
    "TAIL",
    "UNCONSUMED",
    "UNREGISTER",
    "WORKERS",
    "WORKER_IDS",
    "due_orphans",
    "due_ready",
    "due_timers",
    "first_events",
    "next_wake",
]


FIRST_EVENT: Final = (
    "INSERT OR IGNORE INTO fluxo_events (run, seq, nonce, digest, body) VALUES "
    "((SELECT run FROM fluxo_events WHERE run = ? AND seq = ? AND digest = ?), ?, ?, ?, ?)"
)
"""(run, seq and digest of the predecessor, seq, nonce, digest, body); one row if that stood last and was it.
Without the predecessor `run` is NULL, which the column refuses: cheaper than INSERT ... SELECT from the same table,
for which SQLite makes a temporary one. No numbered parameters: early releases of Python 3.12 warn of them."""

FIRST_ROWS_MAX: Final = 64
"""Rows per `first_events` statement; 64 rows are 448 parameters, below the 999 of old SQLites."""


@cache
def first_events(rows: int) -> str:
    """`FIRST_EVENT` for this many rows at once; the row count tells whether all of them won."""
    if rows == 1:
        return FIRST_EVENT
    values = ", ".join(["(?, ?, ?, ?, ?, ?, ?)"] * rows)
    return (
        "INSERT OR IGNORE INTO fluxo_events (run, seq, nonce, digest, body) "
        f"WITH offered (run, prev_seq, prev_digest, seq, nonce, digest, body) AS (VALUES {values}) "
        "SELECT o.run, o.seq, o.nonce, o.digest, o.body FROM offered o WHERE EXISTS "
        "(SELECT 1 FROM fluxo_events e WHERE e.run = o.run AND e.seq = o.prev_seq AND e.digest = o.prev_digest)"
    )


FURTHER_EVENT: Final = "INSERT INTO fluxo_events (run, seq, nonce, digest, body) VALUES (?, ?, ?, ?, ?)"
"""Not OR IGNORE: behind an event that won, no place can be taken."""

EVENT_AT: Final = (
    "SELECT nonce, digest FROM fluxo_events WHERE run = ? AND seq = ? "
    "AND NOT EXISTS (SELECT 1 FROM fluxo_runs WHERE key = run AND purging = 1)"
)
READ: Final = (
    "SELECT seq, nonce, digest, body FROM fluxo_events WHERE run = ? AND seq > ? AND digest >= 0 ORDER BY seq LIMIT ?"
)
TAIL: Final = (
    "SELECT seq, nonce, digest, body FROM fluxo_events WHERE run = ? AND digest >= 0 ORDER BY seq DESC LIMIT 1"
)

RUN: Final = f"SELECT {RUN_COLUMNS}, purging FROM fluxo_runs WHERE namespace = ? AND run_id = ?"
RUN_INSERT: Final = (
    "INSERT OR IGNORE INTO fluxo_runs (namespace, run_id, workflow, version, status, queue, shard, priority, "
    "wake_at_us, delivered, consumed, owner, nonce, base_seq, tail_seq, tail_digest, input_digest, "
    "created_at_us, updated_at_us) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 0, 0, ?, ?, 0, ?, ?, ?, ?, ?)"
)
RUN_PROJECT: Final = (
    "UPDATE fluxo_runs SET status = ?, wake_at_us = ?, consumed = ?, owner = ?, nonce = ?, "
    "tail_seq = ?, tail_digest = ?, updated_at_us = ? WHERE key = ?"
)
CONSUME: Final = (
    "UPDATE fluxo_inbox SET consumed_seq = ?, payload = NULL WHERE run = ? AND n = ? AND consumed_seq IS NULL"
)
RELEASE: Final = (
    "UPDATE fluxo_runs SET owner = NULL, status = ?, wake_at_us = ?, consumed = coalesce(?, consumed), "
    f"updated_at_us = ? WHERE key = ? AND owner = ? AND nonce = ? AND {OPEN_SQL}"
)

RUN_FOR_DELIVERY: Final = (
    f"SELECT key, delivered, owner, {ENDED_SQL} FROM fluxo_runs WHERE namespace = ? AND run_id = ? AND purging = 0"
)
REPEATED: Final = "SELECT n FROM fluxo_inbox WHERE run = ? AND dedup_key = ?"
UNCONSUMED: Final = "SELECT count(*) FROM fluxo_inbox WHERE run = ? AND consumed_seq IS NULL"
DELIVER: Final = "INSERT INTO fluxo_inbox (run, n, kind, name, dedup_key, payload, at_us) VALUES (?, ?, ?, ?, ?, ?, ?)"
DELIVERED: Final = "UPDATE fluxo_runs SET delivered = ? WHERE key = ?"
INBOX: Final = (
    "SELECT n, kind, name, dedup_key, payload, at_us FROM fluxo_inbox "
    "WHERE run = ? AND n > ? AND consumed_seq IS NULL ORDER BY n"
)
ARRIVALS: Final = (
    f"SELECT key, delivered FROM fluxo_runs WHERE owner = ? AND {OPEN_SQL} AND delivered > consumed ORDER BY key"
)

REGISTER: Final = (
    "INSERT OR REPLACE INTO fluxo_workers (worker_id, namespace, label, host, pid, pid_started, beat) "
    "VALUES (?, ?, ?, ?, ?, ?, 0)"
)
UNREGISTER: Final = "DELETE FROM fluxo_workers WHERE worker_id = ?"
BEAT: Final = "UPDATE fluxo_workers SET beat = beat + 1 WHERE worker_id = ?"
OWNED: Final = f"SELECT key, nonce FROM fluxo_runs WHERE owner = ? AND {OPEN_SQL} ORDER BY key"
WORKERS: Final = (
    "SELECT worker_id, namespace, label, host, pid, pid_started, beat FROM fluxo_workers ORDER BY worker_id"
)
WORKER_IDS: Final = "SELECT worker_id FROM fluxo_workers"
OWNERS: Final = (
    "WITH RECURSIVE owners (owner) AS (SELECT min(owner) FROM fluxo_runs WHERE owner IS NOT NULL UNION ALL "
    "SELECT (SELECT min(owner) FROM fluxo_runs WHERE owner > owners.owner) FROM owners WHERE owners.owner IS NOT NULL) "
    "SELECT owner FROM owners WHERE owner IS NOT NULL"
)
"""Owners of runs, each once: one index seek per owner, not one step per run."""


def _asked_for(queues: int, workflows: int) -> str:
    return (
        f"namespace = ? AND queue IN ({', '.join('?' * queues)}) "
        f"AND (workflow, version) IN (VALUES {', '.join(['(?, ?)'] * workflows)})"
    )


@cache
def due_ready(queues: int, workflows: int) -> str:
    """(namespace, queues…, workflows…, limit): due whatever the time, best first."""
    return (
        f"SELECT {RUN_COLUMNS} FROM fluxo_runs INDEXED BY fluxo_runs_ready "
        f"WHERE {_asked_for(queues, workflows)} AND {READY_SQL} ORDER BY priority DESC, key LIMIT ?"
    )


@cache
def due_timers(queues: int, workflows: int) -> str:
    """(namespace, queues…, workflows…, now_us, limit): runs whose time has come, best first."""
    return (
        f"SELECT {RUN_COLUMNS} FROM fluxo_runs INDEXED BY fluxo_runs_timers "
        f"WHERE {_asked_for(queues, workflows)} AND {TIMER_SQL} AND wake_at_us <= ? ORDER BY priority DESC, key LIMIT ?"
    )


@cache
def next_wake(queues: int, workflows: int) -> str:
    """(namespace, queues…, workflows…, now_us): when the next timer is due."""
    return (
        "SELECT wake_at_us FROM fluxo_runs INDEXED BY fluxo_runs_timers "
        f"WHERE {_asked_for(queues, workflows)} AND {TIMER_SQL} AND wake_at_us > ? ORDER BY wake_at_us LIMIT 1"
    )


@cache
def due_orphans(queues: int, workflows: int) -> str:
    """(namespace, queues…, workflows…, owner, limit): open runs of one owner who is gone, best first."""
    return (
        f"SELECT {RUN_COLUMNS} FROM fluxo_runs INDEXED BY fluxo_runs_owned "
        f"WHERE {_asked_for(queues, workflows)} AND owner = ? AND {OPEN_SQL} ORDER BY priority DESC, key LIMIT ?"
    )


STATS_RUNS: Final = (
    "SELECT status, count(*), sum((SELECT max(seq) FROM fluxo_events WHERE run = key) - base_seq) "
    "FROM fluxo_runs WHERE namespace = ? AND purging = 0 GROUP BY status"
)
"""Seqs have no gaps, so that one index seek per run counts its events."""
STATS_MESSAGES: Final = (
    "SELECT count(*) FROM fluxo_inbox JOIN fluxo_runs ON key = run "
    "WHERE consumed_seq IS NULL AND namespace = ? AND purging = 0"
)
STATS_WORKERS: Final = "SELECT count(*) FROM fluxo_workers WHERE namespace = ?"

PURGING: Final = "SELECT key FROM fluxo_runs WHERE purging = 1 AND namespace = ? ORDER BY key LIMIT ?"
PURGEABLE: Final = (
    f"SELECT key FROM fluxo_runs NOT INDEXED WHERE namespace = ? AND {ENDED_SQL} AND updated_at_us < ? "
    "AND purging = 0 ORDER BY key LIMIT ?"
)
MARK_PURGING: Final = (
    f"UPDATE fluxo_runs SET purging = 1 WHERE key = ? AND {ENDED_SQL} AND updated_at_us < ? AND purging = 0"
)
FENCE: Final = (
    "INSERT INTO fluxo_events (run, seq, nonce, digest, body) "
    "SELECT run, max(seq) + 1, 0, -1, x'' FROM fluxo_events WHERE run = ? GROUP BY run"
)
"""Takes the place behind the tail of a run that is being purged; as no event names a negative digest, none follows."""
PURGE_EVENTS: Final = (
    "DELETE FROM fluxo_events WHERE rowid IN (SELECT rowid FROM fluxo_events WHERE run = ? ORDER BY seq LIMIT ?)"
)
PURGE_INBOX: Final = "DELETE FROM fluxo_inbox WHERE rowid IN (SELECT rowid FROM fluxo_inbox WHERE run = ? LIMIT ?)"
PURGE_RUN: Final = "DELETE FROM fluxo_runs WHERE key = ?"
