// SPDX-License-Identifier: Apache-2.0
// The jobs that the page knows, each a signal of its own: an event redraws the one row it is about.
import { signal, type Signal } from '@preact/signals';
import { get, type Event, type Job } from './api';
import { reduce } from './reduce';
import { listen } from './stream';

const jobs = new Map<string, Signal<Job>>();
const rereading = new Map<string, number>();

export function keep(job: Job): Signal<Job> {
	const known = jobs.get(job.id);
	if (known) {
		known.value = job;
		return known;
	}
	const made = signal(job);
	jobs.set(job.id, made);
	return made;
}

export const jobOf = (id: string): Signal<Job> | undefined => jobs.get(id);

export async function readJob(id: string, abort?: AbortSignal): Promise<Signal<Job>> {
	return keep(await get<Job>(`/v1/jobs/${id}`, abort));
}

/** Reads a job again soon; several wishes are one. */
function reread(id: string): void {
	if (rereading.has(id)) return;
	rereading.set(
		id,
		window.setTimeout(() => {
			rereading.delete(id);
			if (!jobs.has(id)) return; // deleted meanwhile
			readJob(id).catch(() => undefined); // gone, or the stream's trouble to tell
		}, 250),
	);
}

/** The job is no more. */
export function forget(id: string): void {
	jobs.delete(id);
	clearTimeout(rereading.get(id));
	rereading.delete(id);
}

export function apply(events: Event[]): void {
	for (const e of events) {
		const job = jobs.get(e.job_id);
		if (!job) continue;
		if (e.type === 'job.deleted') {
			forget(e.job_id);
			continue;
		}
		job.value = reduce(job.value, e);
		if (e.type.startsWith('job.')) reread(e.job_id);
	}
}

listen(apply);

/** Now, for relative times; moves once a second while the page is seen. */
export const now = signal(Date.now());
window.setInterval(() => {
	if (!document.hidden) now.value = Date.now();
}, 1000);
