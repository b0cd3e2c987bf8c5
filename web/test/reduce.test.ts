// SPDX-License-Identifier: Apache-2.0
import { expect, it } from 'vitest';
import type { Event, Job } from '../src/api';
import { reduce } from '../src/reduce';

const job = {
	id: 'job_1',
	status: 'queued',
	phase: null,
	attempt: 0,
	updated_at: '2026-11-24T00:00:00.000Z',
	started_at: null,
	finished_at: null,
	progress: { percent: null, epoch: null, total_epochs: 4, eta_s: null, updated_at: null, best: null },
	links: { self: '/v1/jobs/job_1', best_checkpoint: null },
} as unknown as Job;

const event = (type: string, data: Record<string, unknown>, at = '2026-11-24T00:00:01.000Z'): Event => ({ id: '', seq: 1, job_id: 'job_1', run_id: null, attempt: 1, created_at: at, type, level: 'info', message: '', data });

it('follows a job from the queue to its end', () => {
	let j = reduce(job, event('job.running', { status: 'running', from: 'queued' }));
	expect([j.status, j.attempt, j.started_at]).toEqual(['running', 1, '2026-11-24T00:00:01.000Z']);
	j = reduce(j, event('run.phase', { phase: 'training' }));
	j = reduce(j, event('train.progress', { step: 30, total_steps: 120, eta_s: 12 }));
	expect([j.phase, j.progress.percent, j.progress.eta_s]).toEqual(['training', 25, 12]);
	j = reduce(j, event('epoch.completed', { epoch: 2, eta_s: 8 }));
	expect([j.progress.epoch, j.progress.percent]).toEqual([2, 50]);
	j = reduce(j, event('checkpoint.written', { checkpoint_id: 'ckpt_1', epoch: 2, best: true, metrics: { eval_accuracy: 0.75 } }));
	expect(j.progress.best).toEqual({ epoch: 2, accuracy: 0.75, checkpoint_id: 'ckpt_1' });
	expect(j.links.best_checkpoint).toBe('/v1/jobs/job_1/checkpoints/best');
	j = reduce(j, event('checkpoint.written', { checkpoint_id: 'ckpt_2', epoch: 3, best: false, metrics: {} }));
	expect(j.progress.best?.epoch).toBe(2);
	j = reduce(j, event('job.succeeded', { status: 'succeeded', from: 'running' }, '2026-11-24T00:01:00.000Z'));
	expect([j.status, j.phase, j.finished_at, j.progress.eta_s]).toEqual(['succeeded', null, '2026-11-24T00:01:00.000Z', null]);
});

it('does not go back: a status from before the job was read changes nothing', () => {
	expect(reduce({ ...job, status: 'succeeded' }, event('job.running', { status: 'running' }, '2026-11-23T00:00:00.000Z')).status).toBe('succeeded');
});

it('leaves a job alone that an event says nothing about', () => {
	expect(reduce(job, event('log', {}))).toBe(job);
	expect(reduce(job, event('some.later.type', { percent: 3 }))).toBe(job);
});
