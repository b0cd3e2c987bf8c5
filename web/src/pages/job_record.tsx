// SPDX-License-Identifier: Apache-2.0
// What a job is and what happened to it: spec, status history, events, log.
import { useSignal } from '@preact/signals';
import { useEffect, useRef } from 'preact/hooks';
import { get, isFinal, words, type Event, type Job } from '../api';
import * as f from '../format';
import { Code, StatusMark, When, phaseWords, Scroll } from '../ui/parts';

export function Spec({ job }: { job: Job }) {
	const sent = job.original_spec as Record<string, unknown>;
	const rows = Object.entries(job.spec as Record<string, unknown>);
	const show = (v: unknown): string => (v === null || v === undefined ? f.NONE : typeof v === 'string' ? v : JSON.stringify(v));
	return (
		<div class="columns">
			<section>
				<h2>As resolved</h2>
				<Scroll label="Fields of the spec">
					<table class="pairs">
						<thead>
							<tr>
								<th>Field</th>
								<th>Value</th>
								<th>From</th>
							</tr>
						</thead>
						<tbody>
							{rows.map(([name, v]) => (
								<tr key={name} class={name in sent ? '' : 'is-default'}>
									<th scope="row">
										<code>{name}</code>
									</th>
									<td>
										<code>{show(v)}</code>
									</td>
									<td>{name in sent ? 'sent' : 'default'}</td>
								</tr>
							))}
						</tbody>
					</table>
				</Scroll>
			</section>
			<section>
				<h2>As sent</h2>
				<Code text={JSON.stringify(sent, null, 2)} label="The spec as it was sent" />
				<h2>What the loss is</h2>
				<p class="formula">
					{f.value(job.loss.hard_weight)} · CE + {f.value(job.loss.soft_weight)} · {f.value(job.loss.temperature)}² · KL(teacher ‖ student)
				</p>
			</section>
		</div>
	);
}

export const History = ({ job }: { job: Job }) => (
	<section>
		<h2>Status history</h2>
		<ol class="history">
			{[...job.status_history].reverse().map((h) => (
				<li key={h.at + h.status + h.phase}>
					<StatusMark status={h.status} />
					<span>{phaseWords(h.phase)}</span>
					<When at={h.at} />
					{h.message ? <p>{h.message}</p> : null}
				</li>
			))}
		</ol>
	</section>
);

export function Events({ events }: { events: Event[] }) {
	const level = useSignal<'all' | 'warn'>('all');
	const shown = level.value === 'all' ? events : events.filter((e) => e.level !== 'info');
	return (
		<section>
			<div class="headline">
				<h2>Events</h2>
				<label>
					<input type="checkbox" checked={level.value === 'warn'} onChange={(e) => (level.value = e.currentTarget.checked ? 'warn' : 'all')} /> only warnings and errors
				</label>
			</div>
			{shown.length === 0 ? <p class="nothing">None.</p> : null}
			<ol class="events">
				{shown.map((e) => (
					<li key={e.seq} class={`is-${e.level}`}>
						<time dateTime={e.created_at} title={f.exact(e.created_at)}>
							{f.clock(e.created_at)}
						</time>
						<code>{e.type}</code>
						<span>
							{e.level !== 'info' ? <strong>{e.level}: </strong> : null}
							{e.message || summary(e)}
							{e.attempt > 1 ? <small> attempt {e.attempt}</small> : null}
						</span>
					</li>
				))}
			</ol>
		</section>
	);
}

function summary(e: Event): string {
	if (typeof e.data.phase === 'string') return phaseWords(e.data.phase);
	if (typeof e.data.status === 'string') return typeof e.data.from === 'string' ? `${e.data.from} → ${e.data.status}` : e.data.status;
	return '';
}

const LINES = 400;

export function Log({ job }: { job: Job }) {
	const text = useSignal<string | null>(null);
	const failure = useSignal('');
	const box = useRef<HTMLPreElement>(null);
	const final = isFinal(job.status);

	useEffect(() => {
		let stop = false;
		let timer = 0;
		const read = async () => {
			try {
				const next = await get<string>(`/v1/jobs/${job.id}/logs?tail=${LINES}`);
				if (stop) return;
				const el = box.current;
				const atEnd = !el || el.scrollHeight - el.scrollTop - el.clientHeight < 30;
				text.value = next;
				failure.value = '';
				if (atEnd) requestAnimationFrame(() => box.current?.scrollTo(0, box.current.scrollHeight));
			} catch (e) {
				failure.value = words(e);
			}
			if (!stop && !final) timer = window.setTimeout(read, 2000);
		};
		void read();
		return () => {
			stop = true;
			clearTimeout(timer);
		};
	}, [job.id, final]);

	return (
		<section>
			<div class="headline">
				<h2>The worker’s log, last {LINES} lines</h2>
				<a class="button" href={`/v1/jobs/${job.id}/logs`} download={`${job.id}.log`}>
					Download
				</a>
			</div>
			{failure.value ? <p class="reason">{failure.value}</p> : null}
			<pre class="log" ref={box} tabIndex={0} role="log" aria-label="Log">
				{text.value === null ? 'Loading' : text.value || 'The worker has written nothing.'}
			</pre>
		</section>
	);
}
