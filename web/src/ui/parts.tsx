// SPDX-License-Identifier: Apache-2.0
// Small parts that every page uses.
import { signal } from '@preact/signals';
import type { ComponentChildren, JSX } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import type { Job, JobStatus } from '../api';
import * as f from '../format';
import { jobOf, now } from '../store';

/** Each status has a shape of its own, so that it is told without colour too. */
const MARKS: Record<JobStatus, JSX.Element> = {
	running: <path d="M5 3.2v9.6L13 8z" fill="currentColor" />,
	queued: <circle cx="8" cy="8" r="5" fill="none" stroke="currentColor" stroke-width="2" stroke-dasharray="2.6 2.6" />,
	validating: <circle cx="8" cy="8" r="5" fill="none" stroke="currentColor" stroke-width="2" stroke-dasharray="2.6 2.6" />,
	succeeded: <path d="M2.8 8.6l3.4 3.4 7-7.6" fill="none" stroke="currentColor" stroke-width="2.2" stroke-linecap="round" stroke-linejoin="round" />,
	failed: <path d="M3.8 3.8l8.4 8.4m0-8.4l-8.4 8.4" fill="none" stroke="currentColor" stroke-width="2.2" stroke-linecap="round" />,
	cancelled: <path d="M8 2.6a5.4 5.4 0 1 0 0 10.8A5.4 5.4 0 0 0 8 2.6zM4.3 4.3l7.4 7.4" fill="none" stroke="currentColor" stroke-width="1.9" />,
	cancelling: <path d="M8 2.6a5.4 5.4 0 1 0 0 10.8A5.4 5.4 0 0 0 8 2.6zM4.3 4.3l7.4 7.4" fill="none" stroke="currentColor" stroke-width="1.9" />,
	paused: <path d="M5.4 3.4v9.2m5.2-9.2v9.2" stroke="currentColor" stroke-width="2.6" stroke-linecap="round" />,
	pausing: <path d="M5.4 3.4v9.2m5.2-9.2v9.2" stroke="currentColor" stroke-width="2.6" stroke-linecap="round" />,
};

export const Icon = ({ children, size = 16 }: { children: ComponentChildren; size?: number }) => (
	<svg class="icon" width={size} height={size} viewBox="0 0 16 16" aria-hidden="true" focusable="false">
		{children}
	</svg>
);

export const StatusMark = ({ status }: { status: JobStatus }) => (
	<span class={`status is-${status}`}>
		<Icon>{MARKS[status] ?? <circle cx="8" cy="8" r="4" fill="currentColor" />}</Icon>
		{status}
	</span>
);

const PHASES: Record<string, string> = {
	validating: 'checking models and data',
	caching_teacher: 'teacher reads the texts',
	training: 'training',
	evaluating: 'evaluating',
	exporting: 'writing',
};
export const phaseWords = (phase: string | null): string => (phase ? (PHASES[phase] ?? phase.replace(/_/g, ' ')) : '');

/** A time: relative, with the exact one on hover. */
export function When({ at, empty = f.NONE }: { at: string | null | undefined; empty?: string }) {
	if (!at) return <>{empty}</>;
	return (
		<time dateTime={at} title={f.exact(at)}>
			{f.ago(at, now.value)}
		</time>
	);
}

/** What a queued or paused job waits for by itself. */
export function Waiting({ job }: { job: Job }) {
	const w = job.waiting;
	if (!w) return null;
	const why = w.reason.replace(/_/g, ' ');
	if (w.needs_bytes !== null) return <>{`${why}: goes on when ${f.bytes(w.needs_bytes)} are free`}</>;
	const left = w.until ? (Date.parse(w.until) - now.value) / 1000 : 0;
	return <>{`${why}: tries again ${left > 1 ? `in ${f.duration(Math.ceil(left))}` : 'now'}`}</>;
}

export const Progress = ({ job }: { job: Job }) => {
	const p = job.progress.percent;
	return (
		<div class={`bar ${p === null ? 'is-open' : ''}`} role="progressbar" aria-label="Training steps done" aria-valuemin={0} aria-valuemax={100} aria-valuenow={p ?? undefined}>
			<div style={{ transform: `scaleX(${(p ?? 0) / 100})` }} />
		</div>
	);
};

/** A model by the name that people gave it: of a job that is known here, its title. */
export function modelName(ref: string): string {
	const job = ref.startsWith('job_') ? jobOf(ref) : undefined;
	return job ? f.title(job.value) : f.short(ref);
}

/** Teacher → student, each in its colour everywhere on the site. */
export const Models = ({ spec }: { spec: Job['spec'] }) => (
	<span class="models">
		{spec.teacher_id ? (
			<>
				<span class="of-teacher" title={spec.teacher_id}>
					{modelName(spec.teacher_id)}
				</span>
				<span class="arrow" aria-label="teaches">
					→
				</span>
			</>
		) : null}
		<span class="of-student" title={spec.student_id}>
			{modelName(spec.student_id)}
		</span>
	</span>
);

export const Tags = ({ tags }: { tags: string[] | null | undefined }) => (
	<>
		{(tags ?? []).map((t) => (
			<span class="tag" key={t}>
				{t}
			</span>
		))}
	</>
);

/** The clipboard is there on https and localhost only; elsewhere the old way still works. */
async function copyText(text: string): Promise<boolean> {
	if (navigator.clipboard) return navigator.clipboard.writeText(text).then(() => true, () => false);
	const area = document.createElement('textarea');
	area.value = text;
	document.body.append(area);
	area.select();
	const done = document.execCommand('copy');
	area.remove();
	return done;
}

export function Copy({ text, label = 'Copy' }: { text: string; label?: string }) {
	const [done, setDone] = useState(false);
	const copy = async () => {
		if (!(await copyText(text))) return say('The browser did not allow copying', 'error');
		setDone(true);
		setTimeout(() => setDone(false), 1500);
	};
	return (
		<button type="button" class="copy" onClick={copy}>
			<span aria-live="polite">{done ? 'Copied' : label}</span>
		</button>
	);
}

export const Code = ({ text, label }: { text: string; label: string }) => (
	<div class="code">
		<pre tabIndex={0} role="region" aria-label={label}>
			{text}
		</pre>
		<Copy text={text} />
	</div>
);

/** A table may be wider than the page; then it is scrolled, with the keyboard too. */
export const Scroll = ({ label, children }: { label: string; children: ComponentChildren }) => (
	<div class="table-scroll" tabIndex={0} role="region" aria-label={label}>
		{children}
	</div>
);

/** A tab bar of links: the tab stands in the address. */
export const TabLinks = ({ label, tabs }: { label: string; tabs: { href: string; name: ComponentChildren; here: boolean }[] }) => (
	<nav class="tabs" aria-label={label}>
		{tabs.map((t) => (
			<a href={t.href} aria-current={t.here ? 'page' : undefined}>
				{t.name}
			</a>
		))}
	</nav>
);

export function Dialog({ open, onClose, title, children }: { open: boolean; onClose: () => void; title: string; children: ComponentChildren }) {
	const ref = useRef<HTMLDialogElement>(null);
	useEffect(() => {
		const d = ref.current;
		if (open && d && !d.open) d.showModal();
		if (!open && d?.open) d.close();
	}, [open]);
	return (
		<dialog ref={ref} onClose={onClose} aria-label={title} onClick={(e) => e.target === ref.current && onClose()}>
			{open ? (
				<div class="dialog-body">
					<h2>{title}</h2>
					{children}
				</div>
			) : null}
		</dialog>
	);
}

export const Failure = ({ what, retry }: { what: string; retry?: () => void }) => (
	<div class="failure" role="alert">
		<p>{what}</p>
		{retry ? (
			<button type="button" onClick={retry}>
				Try again
			</button>
		) : null}
	</div>
);

// ---- short messages ----

interface Message {
	id: number;
	text: string;
	kind: 'info' | 'error';
}
const messages = signal<Message[]>([]);
let messageId = 0;

export function say(text: string, kind: Message['kind'] = 'info'): void {
	const id = ++messageId;
	messages.value = [...messages.value.slice(-3), { id, text, kind }];
	setTimeout(() => (messages.value = messages.value.filter((m) => m.id !== id)), kind === 'error' ? 12000 : 5000);
}

export const Messages = () => (
	<div class="messages" role="status" aria-live="polite">
		{messages.value.map((m) => (
			<p key={m.id} class={`message is-${m.kind}`}>
				{m.text}
				<button type="button" class="quiet" aria-label="Dismiss" onClick={() => (messages.value = messages.value.filter((x) => x.id !== m.id))}>
					×
				</button>
			</p>
		))}
	</div>
);
