-- SPDX-License-Identifier: Apache-2.0
-- Jobs that are paused, resumed, retried, edited and restarted by the server: attempts stand beside each other.

ALTER TABLE jobs ADD COLUMN notes TEXT;
ALTER TABLE jobs ADD COLUMN revision INTEGER NOT NULL DEFAULT 1;  -- goes up with every edit and every move; the ETag
ALTER TABLE jobs ADD COLUMN restarts INTEGER NOT NULL DEFAULT 0;  -- by the server itself, since a user last asked for it to run
ALTER TABLE jobs ADD COLUMN ran_ms INTEGER NOT NULL DEFAULT 0;    -- running time of the runs that have ended
-- What a queued job (until) or a paused one (bytes) waits for by itself; NULL: nothing.
ALTER TABLE jobs ADD COLUMN wait_reason TEXT;
ALTER TABLE jobs ADD COLUMN wait_until_ms INTEGER;
ALTER TABLE jobs ADD COLUMN wait_bytes INTEGER;
UPDATE jobs SET spec = json_insert(spec, '$.checkpoint_interval_s', 300, '$.max_restarts', 3, '$.stop_grace_s', 120);
UPDATE jobs SET ran_ms = coalesce((SELECT sum(max(0, ended_ms - created_ms)) FROM runs WHERE job_id = jobs.id AND ended_ms IS NOT NULL), 0);

ALTER TABLE runs ADD COLUMN from_step INTEGER;  -- where its training began; NULL: it did not begin yet

-- superseded: a later attempt went on from before it. It stays in the history and counts no more.
ALTER TABLE events ADD COLUMN superseded INTEGER NOT NULL DEFAULT 0;
DROP INDEX events_steps;
CREATE INDEX events_steps ON events (job_id, seq) WHERE type = 'train.progress' AND superseded = 0;

CREATE TABLE epochs_2 (
	job_id TEXT NOT NULL,
	epoch INTEGER NOT NULL,
	attempt INTEGER NOT NULL,
	step INTEGER NOT NULL,
	superseded INTEGER NOT NULL DEFAULT 0,
	event_seq INTEGER NOT NULL,
	eval_accuracy REAL,
	data TEXT NOT NULL,
	created_ms INTEGER NOT NULL,
	PRIMARY KEY (job_id, epoch, attempt)
) STRICT, WITHOUT ROWID;
INSERT INTO epochs_2 (job_id, epoch, attempt, step, event_seq, eval_accuracy, data, created_ms)
	SELECT job_id, epoch, attempt, coalesce(json_extract(data, '$.step'), 0), event_seq, eval_accuracy, data, created_ms FROM epochs;
DROP TABLE epochs;
ALTER TABLE epochs_2 RENAME TO epochs;

ALTER TABLE checkpoints ADD COLUMN was_best INTEGER NOT NULL DEFAULT 0;  -- when it was written
ALTER TABLE checkpoints ADD COLUMN superseded INTEGER NOT NULL DEFAULT 0;
UPDATE checkpoints SET was_best = 1 WHERE id IN (SELECT best_checkpoint_id FROM jobs);
-- run_id of a checkpoint is from now on the run whose folder holds it, which may be a later one than wrote it.
