// SPDX-License-Identifier: Apache-2.0
// All that is known of one job, kept up to date by the stream: what the job page and the comparison draw.
import { batch, signal, type Signal } from '@preact/signals';
import { get, isAbort, words, type Checkpoint, type Epoch, type Event, type Job, type List } from './api';
import { thin, withoutSuperseded, type Step } from './charts/series';
import { readJob } from './store';

const STEPS_MAX = 1500;
const EVENTS_MAX = 500;
/** Events that people read; the others are numbers, and are drawn. */
export const TOLD = (e: Event): boolean => e.type !== 'train.progress' && e.type !== 'teacher.progress';

export interface JobData {
	id: string;
	job: Signal<Job | null>;
	epochs: Signal<Epoch[]>;
	steps: Signal<Step[]>;
	events: Signal<Event[]>; // newest first
	checkpoints: Signal<Checkpoint[]>;
	/** The number of the latest evaluation with classes; 0: none yet. */
	classes: Signal<number>;
	failure: Signal<string>;
	gone: Signal<boolean>;
}

export function jobData(id: string): JobData {
	return { id, job: signal(null), epochs: signal([]), steps: signal([]), events: signal([]), checkpoints: signal([]), classes: signal(0), failure: signal(''), gone: signal(false) };
}

export async function readAll(d: JobData, what: { events: boolean }, abort: AbortSignal): Promise<void> {
	const base = `/v1/jobs/${d.id}`;
	try {
		const job = await readJob(d.id, abort);
		const [epochs, steps, events, checkpoints] = await Promise.all([
			get<List<Epoch>>(`${base}/epochs`, abort),
			get<List<Step>>(`${base}/steps?points=${STEPS_MAX}`, abort),
			what.events ? get<List<Event>>(`${base}/events?limit=${EVENTS_MAX}&order=desc&progress=false`, abort) : null,
			what.events ? get<List<Checkpoint>>(`${base}/checkpoints`, abort) : null,
		]);
		batch(() => {
			d.job.value = job.value;
			d.epochs.value = epochs.data;
			d.steps.value = withoutSuperseded(steps.data);
			if (events) d.events.value = events.data;
			if (events) d.classes.value = events.data.find((e) => e.type === 'eval.classes')?.seq ?? 0;
			if (checkpoints) d.checkpoints.value = checkpoints.data;
			d.failure.value = '';
		});
	} catch (e) {
		if (!isAbort(e)) d.failure.value = words(e);
	}
}

/** What new events change. */
export function applyTo(d: JobData, events: Event[]): void {
	const mine = events.filter((e) => e.job_id === d.id);
	if (mine.length === 0) return;
	const steps: Step[] = [];
	for (const e of mine) {
		if (e.type === 'train.progress') steps.push({ ...(e.data as unknown as Step), event_seq: e.seq, attempt: e.attempt, created_at: e.created_at });
		else if (e.type === 'epoch.completed') {
			const epoch = { ...(e.data as unknown as Epoch), attempt: e.attempt, event_seq: e.seq, created_at: e.created_at, job_id: d.id, object: 'job.epoch' as const };
			d.epochs.value = [...d.epochs.value.filter((x) => x.epoch !== epoch.epoch), epoch].sort((a, b) => a.epoch - b.epoch);
		} else if (e.type === 'eval.classes') d.classes.value = e.seq;
		else if (e.type === 'job.deleted') d.gone.value = true;
	}
	if (steps.length > 0) {
		const all = withoutSuperseded([...d.steps.value, ...steps.filter((s) => s.event_seq > (d.steps.value[d.steps.value.length - 1]?.event_seq ?? 0))]);
		d.steps.value = all.length > 2 * STEPS_MAX ? thin(all, STEPS_MAX) : all;
	}
	const known = d.events.value[0]?.seq ?? 0;
	const told = mine.filter((e) => TOLD(e) && e.seq > known).reverse();
	if (told.length > 0) d.events.value = [...told, ...d.events.value].slice(0, EVENTS_MAX);
	if (mine.some((e) => e.type.startsWith('checkpoint.'))) {
		get<List<Checkpoint>>(`/v1/jobs/${d.id}/checkpoints`).then((c) => (d.checkpoints.value = c.data), () => undefined);
	}
}

/** The teacher's accuracy on the validation split, where the run has told it. */
export function teacherAccuracy(events: Event[]): number | null {
	const e = events.find((x) => x.type === 'teacher.completed');
	return typeof e?.data.accuracy === 'number' ? e.data.accuracy : null;
}
