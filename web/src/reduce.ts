// SPDX-License-Identifier: Apache-2.0
// What an event changes in a job that is on the page. The server's own record is the truth: after a change of status the job
// is read again; this bridges the time until then, and carries progress without asking.
import type { Event, Job, JobStatus } from './api';
import { isFinal } from './api';

const num = (v: unknown): number | null => (typeof v === 'number' ? v : null);

/** The job after the event; the same object when nothing changes. Events older than the job are behind it already. */
export function reduce(job: Job, e: Event): Job {
	const d = e.data;
	switch (e.type) {
		case 'run.phase':
			return { ...job, phase: d.phase as string };
		case 'train.progress': {
			const total = num(d.total_steps);
			const percent = total ? Math.min(100, (100 * (num(d.step) ?? 0)) / total) : job.progress.percent;
			return { ...job, progress: { ...job.progress, percent, eta_s: num(d.eta_s), updated_at: e.created_at } };
		}
		case 'epoch.completed': {
			const epoch = num(d.epoch);
			const percent = epoch && job.progress.total_epochs ? Math.min(100, (100 * epoch) / job.progress.total_epochs) : job.progress.percent;
			return { ...job, progress: { ...job.progress, epoch, percent, eta_s: num(d.eta_s), updated_at: e.created_at } };
		}
		case 'checkpoint.written': {
			if (d.best !== true) return job;
			const metrics = (d.metrics ?? {}) as Record<string, number | null>;
			const best = { epoch: num(d.epoch) ?? 1, accuracy: metrics.eval_accuracy ?? null, checkpoint_id: d.checkpoint_id as string };
			return { ...job, progress: { ...job.progress, best }, links: { ...job.links, best_checkpoint: `${job.links.self}/checkpoints/best` } };
		}
	}
	if (!e.type.startsWith('job.') || typeof d.status !== 'string' || e.created_at < job.updated_at) return job;
	const status = d.status as JobStatus;
	return {
		...job,
		status,
		actions: [], // until the job is read again, in a moment
		phase: isFinal(status) ? null : job.phase,
		attempt: e.attempt,
		updated_at: e.created_at,
		started_at: job.started_at ?? (status === 'running' ? e.created_at : null),
		finished_at: isFinal(status) ? e.created_at : null,
		progress: isFinal(status) ? { ...job.progress, eta_s: null } : job.progress,
	};
}
