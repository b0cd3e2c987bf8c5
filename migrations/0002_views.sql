-- SPDX-License-Identifier: Apache-2.0
-- What lists and pages ask for: words to find a job by, quick ways to a job's steps and to its other events, and how
-- well each class was told from the others in each evaluation.

-- Kept by triggers, so that no writer can forget it. (No OR REPLACE in them: the OR of the statement that fires one goes first.)
CREATE TABLE job_search (
	job_id TEXT NOT NULL PRIMARY KEY,
	words TEXT NOT NULL           -- id, name, models, data set and tags in lower case (ASCII)
) STRICT, WITHOUT ROWID;
CREATE VIEW job_words AS
	SELECT id AS job_id, lower(id || ' ' || coalesce(name, '') || ' ' || coalesce(json_extract(spec, '$.teacher_id'), '')
		|| ' ' || coalesce(json_extract(spec, '$.student_id'), '') || ' ' || coalesce(json_extract(spec, '$.dataset_id'), '')
		|| ' ' || coalesce((SELECT group_concat(tag, ' ') FROM job_tags WHERE job_tags.job_id = jobs.id), '')) AS words
	FROM jobs;
INSERT INTO job_search (job_id, words) SELECT job_id, words FROM job_words;
CREATE TRIGGER job_search_job AFTER INSERT ON jobs BEGIN
	INSERT INTO job_search (job_id, words) SELECT job_id, words FROM job_words WHERE job_id = NEW.id;
END;
CREATE TRIGGER job_search_named AFTER UPDATE OF name, spec ON jobs BEGIN
	UPDATE job_search SET words = (SELECT words FROM job_words WHERE job_id = NEW.id) WHERE job_id = NEW.id;
END;
CREATE TRIGGER job_search_tagged AFTER INSERT ON job_tags BEGIN
	UPDATE job_search SET words = (SELECT words FROM job_words WHERE job_id = NEW.job_id) WHERE job_id = NEW.job_id;
END;
CREATE TRIGGER job_search_untagged AFTER DELETE ON job_tags BEGIN
	UPDATE job_search SET words = (SELECT words FROM job_words WHERE job_id = OLD.job_id) WHERE job_id = OLD.job_id;
END;
CREATE TRIGGER job_gone AFTER DELETE ON jobs BEGIN
	DELETE FROM job_search WHERE job_id = OLD.id;
	DELETE FROM evaluations WHERE job_id = OLD.id;
END;

-- Nearly all events of a long job are steps; who reads the others must not wade through them.
CREATE INDEX events_steps ON events (job_id, seq) WHERE type = 'train.progress';
CREATE INDEX events_told ON events (job_id, seq) WHERE type NOT IN ('train.progress', 'teacher.progress');

CREATE TABLE evaluations (
	job_id TEXT NOT NULL,
	epoch INTEGER NOT NULL,
	attempt INTEGER NOT NULL,
	event_seq INTEGER NOT NULL,
	data TEXT NOT NULL,           -- eval.classes's
	created_ms INTEGER NOT NULL,
	PRIMARY KEY (job_id, epoch)
) STRICT, WITHOUT ROWID;
