CREATE TABLE fluxo_events (
run BIGINT NOT NULL,
seq BIGINT NOT NULL,
nonce BIGINT NOT NULL,
digest BIGINT NOT NULL,
body BLOB NOT NULL,
UNIQUE (run, seq)
)
CREATE TABLE fluxo_inbox (
run BIGINT NOT NULL,
n BIGINT NOT NULL,
kind TEXT NOT NULL,
name TEXT NOT NULL,
dedup_key TEXT NOT NULL,
payload BLOB,
at_us BIGINT NOT NULL,
consumed_seq BIGINT,
UNIQUE (run, dedup_key)
)
CREATE INDEX fluxo_inbox_unconsumed ON fluxo_inbox (run, n) WHERE consumed_seq IS NULL
CREATE TABLE fluxo_meta (
only_row INTEGER NOT NULL,
schema_version INTEGER NOT NULL,
PRIMARY KEY (only_row)
)
CREATE TABLE fluxo_runs (
"key" INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
namespace TEXT NOT NULL,
run_id TEXT NOT NULL,
workflow TEXT NOT NULL,
version TEXT NOT NULL,
status TEXT NOT NULL,
queue TEXT NOT NULL,
shard INTEGER NOT NULL,
priority INTEGER NOT NULL,
wake_at_us BIGINT,
delivered BIGINT NOT NULL,
consumed BIGINT NOT NULL,
owner TEXT,
nonce BIGINT NOT NULL,
base_seq BIGINT NOT NULL,
tail_seq BIGINT NOT NULL,
tail_digest BIGINT NOT NULL,
input_digest BLOB NOT NULL,
created_at_us BIGINT NOT NULL,
updated_at_us BIGINT NOT NULL,
purging INTEGER DEFAULT 0 NOT NULL,
UNIQUE (namespace, run_id)
)
CREATE INDEX fluxo_runs_owned ON fluxo_runs (owner) WHERE owner IS NOT NULL
CREATE INDEX fluxo_runs_purging ON fluxo_runs (purging) WHERE purging = 1
CREATE INDEX fluxo_runs_ready ON fluxo_runs (namespace, priority DESC) WHERE owner IS NULL AND status IN ('pending', 'running', 'waiting') AND CASE status WHEN 'pending' THEN wake_at_us IS NULL ELSE delivered > consumed END
CREATE INDEX fluxo_runs_timers ON fluxo_runs (namespace, wake_at_us) WHERE owner IS NULL AND status IN ('pending', 'running', 'waiting') AND wake_at_us IS NOT NULL
CREATE TABLE fluxo_workers (
worker_id TEXT NOT NULL,
namespace TEXT NOT NULL,
label TEXT NOT NULL,
host TEXT NOT NULL,
pid BIGINT NOT NULL,
pid_started BIGINT NOT NULL,
beat BIGINT NOT NULL,
PRIMARY KEY (worker_id)
)
CREATE TABLE sqlite_sequence(name,seq)
