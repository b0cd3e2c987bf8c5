// SPDX-License-Identifier: Apache-2.0
// What can be done to jobs, to one or to many at once, and the question that comes first where something is lost.
import { signal } from '@preact/signals';
import { call, get, isFinal, words, type Job, type JobStatus } from '../api';
import * as f from '../format';
import { readJob } from '../store';
import { Dialog, say } from './parts';

export type Action = 'pause' | 'resume' | 'cancel' | 'retry' | 'delete';

const RULES: Record<Action, { label: string; from: (s: JobStatus) => boolean; ask: boolean; done: string; warning: string }> = {
	pause: { label: 'Pause', from: (s) => s === 'running' || s === 'queued', ask: false, done: 'pausing', warning: '' },
	resume: { label: 'Resume', from: (s) => s === 'paused', ask: false, done: 'resumed', warning: '' },
	cancel: {
		label: 'Cancel',
		from: (s) => !isFinal(s) && s !== 'cancelling',
		ask: true,
		done: 'cancelled',
		warning: 'A running worker is stopped. Checkpoints written so far stay.',
	},
	retry: { label: 'Retry', from: (s) => s === 'failed' || s === 'cancelled', ask: false, done: 'queued again', warning: '' },
	delete: { label: 'Delete', from: () => true, ask: true, done: 'deleted', warning: 'Its events, epochs, log and checkpoints go with it. This cannot be undone.' },
};

/** Which of the actions this server has: later versions add some. */
const available = signal<Set<Action>>(new Set(['cancel', 'delete']));
let asked = false;

export function learnActions(): void {
	if (asked) return;
	asked = true;
	get<{ paths: Record<string, unknown> }>('/openapi.json').then(
		(api) => {
			const all = (Object.keys(RULES) as Action[]).filter((a) => a === 'delete' || `/v1/jobs/{job_id}/${a}` in api.paths);
			available.value = new Set(all);
		},
		() => (asked = false),
	);
}

export const actionsFor = (status: JobStatus): Action[] => (Object.keys(RULES) as Action[]).filter((a) => available.value.has(a) && RULES[a].from(status));
export const canDo = (action: Action): boolean => available.value.has(action);
export const labelOf = (action: Action): string => RULES[action].label;
export const applies = (action: Action, status: JobStatus): boolean => RULES[action].from(status);

interface Question {
	action: Action;
	jobs: Job[];
	then?: () => void;
}
const question = signal<Question | null>(null);

async function perform({ action, jobs, then }: Question): Promise<void> {
	let done = 0;
	let next = 0;
	const failures: string[] = [];
	const worker = async () => {
		while (next < jobs.length) {
			const job = jobs[next++]!;
			try {
				if (action === 'delete') await call('DELETE', `/v1/jobs/${job.id}`);
				else {
					await call('POST', `/v1/jobs/${job.id}/${action}`);
					await readJob(job.id);
				}
				done++;
			} catch (e) {
				failures.push(`${f.title(job)}: ${words(e)}`);
			}
		}
	};
	await Promise.all([worker(), worker(), worker()]); // a browser has six connections; the stream takes one
	if (done > 0) say(`${f.plural(done, 'job')} ${RULES[action].done}`);
	if (failures.length > 0) say(`${failures[0]}${failures.length > 1 ? ` (and ${failures.length - 1} more)` : ''}`, 'error');
	then?.();
}

/** Does it to those jobs whose state allows it, after asking where something is lost. */
export function start(action: Action, jobs: Job[], then?: () => void): void {
	const fitting = jobs.filter((j) => RULES[action].from(j.status));
	if (fitting.length === 0) return;
	const q = { action, jobs: fitting, then };
	if (RULES[action].ask) question.value = q;
	else void perform(q);
}

export function Confirm() {
	const q = question.value;
	const rule = q && RULES[q.action];
	const one = q?.jobs.length === 1 ? q.jobs[0]! : null;
	const what = q ? (one ? `“${f.title(one)}”` : f.plural(q.jobs.length, 'job')) : '';
	return (
		<Dialog open={q !== null} onClose={() => (question.value = null)} title={rule ? `${rule.label} ${what}?` : ''}>
			{q && rule ? (
				<>
					{one ? null : (
						<ul class="names">
							{q.jobs.slice(0, 6).map((j) => (
								<li key={j.id}>{f.title(j)}</li>
							))}
							{q.jobs.length > 6 ? <li>and {f.integer(q.jobs.length - 6)} more</li> : null}
						</ul>
					)}
					<p>{rule.warning}</p>
					<div class="buttons">
						<button
							type="button"
							class={q.action === 'delete' ? 'danger' : 'primary'}
							onClick={() => {
								question.value = null;
								void perform(q);
							}}
						>
							{rule.label} {one ? 'it' : what}
						</button>
						<button type="button" autofocus onClick={() => (question.value = null)}>
							Keep {one ? 'it' : 'them'}
						</button>
					</div>
				</>
			) : null}
		</Dialog>
	);
}
