"""
Every bound of the engine as a named constant.

Owns: the numbers and the relations between them. Must not import anything of fluxo.
Where each number comes from stands beside it. Units are in the names.
"""

from __future__ import annotations

from typing import Final

PAYLOAD_BYTES_MAX: Final = 2 * 1024 * 1024
"""One encoded value (argument list, result, signal). Peers: 256 KiB to 2 MiB."""

FAILURE_TEXT_CHARS_MAX: Final = 16_384
"""Message or traceback text kept of a failure; longer text is cut in the middle."""

FAILURE_CHAIN_MAX: Final = 8
"""Errors kept of a cause chain."""

EVENTS_PER_RUN_WARN: Final = 50_000
EVENTS_PER_RUN_MAX: Final = 250_000
"""A run that passes the maximum is blocked; replaying it would take longer than a lease."""

NAME_CHARS_MAX: Final = 255
"""Run ids, workflow, step, signal and queue names, namespaces, signal keys."""

INBOX_MESSAGES_MAX: Final = 10_000
"""Unconsumed messages of one run; a further one is refused."""

PAGE_RUNS_MAX: Final = 1_000
"""Runs per page of `Engine.list`."""

READ_EVENTS_PAGE: Final = 10_000
"""Events per round trip when a history is read."""

COMMIT_EVENTS_MAX: Final = 4_000
"""Events per group commit; a longer queue is committed in several."""

CLAIM_RUNS_MAX: Final = 100
"""Runs taken per claim round."""

LEASE_S: Final = 10.0
"""A worker whose heartbeat stands still this long, by the observer's clock, is dead."""

HEARTBEATS_PER_LEASE: Final = 4
"""Heartbeats within one lease, so that three may be lost."""

CRASH_LOOP_TAKEOVERS_MAX: Final = 5
"""Consecutive unclean takeovers of an executing run without progress before it is blocked."""

CRASH_LOOP_ALONE_FROM: Final = 2
"""From this consecutive unclean takeover on the run executes alone, after a back-off."""

CRASH_LOOP_BACKOFF_S: Final = 0.5
"""First back-off of a suspect run; doubles with each takeover."""

CRASH_LOOP_PATIENCE_S: Final = 30.0
"""How long a rested suspect waits for an idle engine before it runs in company after all."""

PARK_AFTER_S: Final = 1.0
"""A wait that ends sooner than this is not written to the log."""

THREAD_WAIT_S: Final = 2.0
"""How long a waiting sync run keeps its pool thread before it unwinds."""

SCAN_PAUSE_S: Final = 0.01
"""Least pause between two looks at the store after hints; a busy process hints at itself all the time."""

SQLITE_POLL_S: Final = 0.022
"""How often another process's commit is looked for on a SQLite file; goal: seen within 50 ms."""

UNHEARD_POLL_S: Final = 0.5
"""How often a store that cannot hear of other processes' changes sends its worker to look for them."""

SQLITE_BUSY_S: Final = 30.0
"""How long a busy SQLite file is retried before `StoreUnavailableError`."""

SQLITE_RETRY_S: Final = (0.0005, 0.004)
"""Range of the jittered pause between two tries on a busy file."""

COMMIT_WAIT_S: Final = 60.0
"""How long a thread waits for its group commit before it counts as unknown."""

COMMIT_INLINE_S: Final = 0.01
"""Above this smoothed commit time an event loop hands its batches to a writer thread."""

DRAIN_S: Final = 30.0
"""How long `close` and a first SIGTERM let executing steps finish."""

IN_PLACE_US_MAX: Final = 5_000
"""How long a lone async run commits step after step, by recorded time, before the rest of its loop gets a turn."""

DURATION_S_MAX: Final = 100 * 365.25 * 86_400
"""Longest sleep, timeout or delay: a hundred years fit every clock, column and wait there is."""

SHUTDOWN_PAUSE_S: Final = 1.0
"""How long a run rests after one of its steps asked for a shutdown; a step that always does must not spin."""

SWALLOWED_SUSPENSIONS_MAX: Final = 100
"""How often a workflow may catch the exception that suspends it before what it calls never returns: loops end there."""

SYNC_RUNS_MAX: Final = 128
"""Default number of sync runs (one thread each) and of submitted sync steps at once."""

SHARDS: Final = 64
"""Logical shards; stored with every run from schema 1."""

if not EVENTS_PER_RUN_WARN < EVENTS_PER_RUN_MAX:
    raise AssertionError("the warning must come before the limit")
if not CRASH_LOOP_ALONE_FROM < CRASH_LOOP_TAKEOVERS_MAX:
    raise AssertionError("a suspect must get to run alone before it is blocked")
if not SQLITE_RETRY_S[1] < SQLITE_POLL_S < LEASE_S / HEARTBEATS_PER_LEASE:
    raise AssertionError("polls must be shorter than heartbeats")
