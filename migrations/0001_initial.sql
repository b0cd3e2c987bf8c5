-- SPDX-License-Identifier: Apache-2.0
-- The first schema. A released migration is never edited: a change is a new file with the next number.
--
-- Times (*_ms) are milliseconds since 1970-01-01 UTC. JSON is kept as text, as it goes out to the client.
-- Strings that hold ids are prefixed ULIDs, so ordering by id is ordering by age.

CREATE TABLE jobs (
	id TEXT NOT NULL PRIMARY KEY,
	name TEXT,
	status TEXT NOT NULL,
	phase TEXT,
	priority INTEGER NOT NULL,
	spec TEXT NOT NULL,           -- with every default filled in
	original_spec TEXT NOT NULL,  -- what the client sent
	loss TEXT NOT NULL,           -- what alpha and temperature meant when the job was made
	max_runtime_s INTEGER,
	attempt INTEGER NOT NULL DEFAULT 0,
	run_id TEXT,                  -- the latest run
	delete_wanted INTEGER NOT NULL DEFAULT 0,
	error TEXT,                   -- a problem document with reason and message
	history TEXT NOT NULL,        -- [{status, phase, at, message}, ...]
	created_ms INTEGER NOT NULL,
	updated_ms INTEGER NOT NULL,
	started_ms INTEGER,           -- of the first run
	finished_ms INTEGER,
	-- The latest of what the events say, so that a list of jobs is one query.
	progress_ms INTEGER,
	percent REAL,
	epoch INTEGER,                -- the last one that is complete
	total_epochs INTEGER NOT NULL,
	eta_s REAL,
	best_epoch INTEGER,
	best_accuracy REAL,
	best_checkpoint_id TEXT,
	last_checkpoint_id TEXT
) STRICT;
CREATE INDEX jobs_by_status ON jobs (status, id);
CREATE INDEX jobs_in_queue ON jobs (priority DESC, id) WHERE status = 'queued';

CREATE TABLE job_tags (
	tag TEXT NOT NULL,
	job_id TEXT NOT NULL,
	PRIMARY KEY (tag, job_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX job_tags_by_job ON job_tags (job_id);

-- One attempt at a job by one worker process.
CREATE TABLE runs (
	id TEXT NOT NULL PRIMARY KEY,
	job_id TEXT NOT NULL,
	attempt INTEGER NOT NULL,
	token_sha256 TEXT NOT NULL,
	pid INTEGER,
	pid_start INTEGER,            -- the process's start in clock ticks since boot: tells a reused pid apart
	last_seq INTEGER NOT NULL DEFAULT 0,
	created_ms INTEGER NOT NULL,
	ended_ms INTEGER,
	exit_status INTEGER,
	exit_signal INTEGER
) STRICT;
CREATE INDEX runs_by_job ON runs (job_id, attempt);
CREATE INDEX runs_open ON runs (id) WHERE ended_ms IS NULL;

-- All that happened, in the order in which it was committed. seq never goes back and is never used twice.
CREATE TABLE events (
	seq INTEGER PRIMARY KEY AUTOINCREMENT,
	id TEXT NOT NULL,
	job_id TEXT NOT NULL,
	run_id TEXT,                  -- NULL: the server's own
	run_seq INTEGER,              -- the worker's number within the run
	attempt INTEGER NOT NULL,
	type TEXT NOT NULL,
	level TEXT NOT NULL,
	message TEXT NOT NULL,
	data TEXT NOT NULL,
	created_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX events_by_job ON events (job_id, seq);
CREATE UNIQUE INDEX events_of_run ON events (run_id, run_seq) WHERE run_id IS NOT NULL;

CREATE TABLE epochs (
	job_id TEXT NOT NULL,
	epoch INTEGER NOT NULL,
	attempt INTEGER NOT NULL,
	event_seq INTEGER NOT NULL,
	eval_accuracy REAL,
	data TEXT NOT NULL,
	created_ms INTEGER NOT NULL,
	PRIMARY KEY (job_id, epoch)
) STRICT, WITHOUT ROWID;

CREATE TABLE checkpoints (
	id TEXT NOT NULL PRIMARY KEY,
	job_id TEXT NOT NULL,
	run_id TEXT NOT NULL,
	attempt INTEGER NOT NULL,
	epoch INTEGER NOT NULL,
	step INTEGER NOT NULL,
	size_bytes INTEGER NOT NULL,
	files TEXT NOT NULL,          -- [{name, size_bytes, sha256}, ...]: only these are served
	metrics TEXT,
	created_ms INTEGER NOT NULL,
	deleted_ms INTEGER
) STRICT;
CREATE INDEX checkpoints_by_job ON checkpoints (job_id, id);

-- Answers to writes that carried an Idempotency-Key. route: what the key was used for.
CREATE TABLE idempotency (
	key TEXT NOT NULL,
	route TEXT NOT NULL,
	body_sha256 TEXT NOT NULL,
	status INTEGER NOT NULL,
	location TEXT NOT NULL,
	answer TEXT NOT NULL,
	created_ms INTEGER NOT NULL,
	PRIMARY KEY (key, route)
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_by_age ON idempotency (created_ms);
