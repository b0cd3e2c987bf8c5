// SPDX-License-Identifier: Apache-2.0
// What can be done to jobs, to one or to many at once, and the question that comes first where something is lost.
import { signal } from '@preact/signals';
import { call, words, type Job } from '../api';
import * as f from '../format';
import { forget, readJob } from '../store';
import { Dialog, say } from './parts';

export type Action = 'pause' | 'resume' | 'cancel' | 'retry' | 'delete';

const RULES: Record<Action, { label: string; ask: boolean; done: string; warning: string }> = {
	pause: { label: 'Pause', ask: false, done: 'pausing', warning: '' },
	resume: { label: 'Resume', ask: false, done: 'resumed', warning: '' },
	retry: { label: 'Retry', ask: false, done: 'queued again', warning: '' },
	cancel: { label: 'Cancel', ask: true, done: 'cancelled', warning: 'A running worker is stopped. Checkpoints written so far stay.' },
	delete: { label: 'Delete', ask: true, done: 'deleted', warning: 'Its events, epochs, log and checkpoints go with it. This cannot be undone.' },
};

/** What the server says is possible now, in our order. */
export const actionsFor = (job: Job): Action[] => (Object.keys(RULES) as Action[]).filter((a) => job.actions.includes(a));
export const labelOf = (action: Action): string => RULES[action].label;
export const applies = (action: Action, job: Job): boolean => job.actions.includes(action);

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
				if (action === 'delete') {
					if ((await call<Job | undefined>('DELETE', `/v1/jobs/${job.id}`)) === undefined) forget(job.id); // gone at once
				} else {
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

/** Does it to those jobs that allow it, after asking where something is lost. */
export function start(action: Action, jobs: Job[], then?: () => void): void {
	const fitting = jobs.filter((j) => applies(action, j));
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
