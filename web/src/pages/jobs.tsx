// SPDX-License-Identifier: Apache-2.0
// The list of jobs, live. Filter, search and page stand in the address.
import { signal, useSignal, useSignalEffect, type Signal } from '@preact/signals';
import { useEffect, useRef } from 'preact/hooks';
import { get, isAbort, isFinal, STATUSES, words, type Job, type List } from '../api';
import * as f from '../format';
import { go, place, withQuery } from '../router';
import { keep } from '../store';
import { follow, listen, resync } from '../stream';
import { applies, labelOf, start, type Action } from '../ui/actions';
import { Code, Failure, Models, phaseWords, Progress, StatusMark, Tags, Waiting, When } from '../ui/parts';

const PAGE = 50;

interface Counts {
	total: number;
	status: Record<string, number>;
}
interface Page {
	rows: Signal<Job>[];
	older: boolean; // whether there is a page of older ones
	newer: boolean;
}

const page = signal<Page | null>(null);
const counts = signal<Counts | null>(null);
const failure = signal('');
const selected = signal<ReadonlySet<string>>(new Set());
/** Ids on the other side of a page's edge: the newest page shows new jobs as they come. */
const onFirstPage = () => !place.value.query.has('after') && !place.value.query.has('before');

function listQuery(q: URLSearchParams): URLSearchParams {
	const query = new URLSearchParams({ limit: String(PAGE) });
	for (const s of q.getAll('status')) query.append('status', s);
	for (const t of q.getAll('tag')) query.append('tag', t);
	if (q.get('q')) query.set('q', q.get('q')!);
	const before = q.get('before');
	if (before) {
		query.set('after', before);
		query.set('order', 'asc');
	} else if (q.get('after')) query.set('after', q.get('after')!);
	return query;
}

function countQuery(q: URLSearchParams): string {
	const query = listQuery(q);
	for (const name of ['limit', 'after', 'order', 'status']) query.delete(name);
	return query.size ? `?${query}` : '';
}

let reading: AbortController | null = null;
let again = 0;

async function read(): Promise<void> {
	const q = place.value.query;
	reading?.abort();
	const abort = (reading = new AbortController());
	try {
		const [list, c] = await Promise.all([
			get<List<Job>>(`/v1/jobs?${listQuery(q)}`, abort.signal),
			get<Counts>(`/v1/jobs:counts${countQuery(q)}`, abort.signal),
		]);
		const backwards = q.has('before');
		const data = backwards ? list.data.reverse() : list.data;
		page.value = {
			rows: data.map(keep),
			older: backwards ? true : list.has_more,
			newer: backwards ? list.has_more : q.has('after'),
		};
		counts.value = c;
		failure.value = '';
	} catch (e) {
		if (!isAbort(e)) failure.value = words(e);
	}
}

/** Reads again soon: many changes at once are one reading. */
function readSoon(): void {
	again ||= window.setTimeout(() => {
		again = 0;
		void read();
	}, 400);
}

export function Jobs() {
	const query = place.value.query;
	const key = query.toString();

	useEffect(() => {
		follow([]);
		document.title = 'Jobs · Retort';
		selected.value = new Set();
		return listen((events) => {
			// A change of status may move a job in or out of what is shown, and changes the counts.
			if (events.some((e) => e.type.startsWith('job.'))) readSoon();
		});
	}, []);
	useEffect(() => void read(), [key]);
	useSignalEffect(() => {
		if (resync.value > 0) void read();
	});

	const p = page.value;
	const filtered = query.has('q') || query.has('status') || query.has('tag');
	return (
		<>
			<div class="headline">
				<h1>Jobs</h1>
				<a class="button primary" href="/new">
					New job
				</a>
			</div>
			{failure.value && !p ? <Failure what={failure.value} retry={read} /> : null}
			{p && p.rows.length === 0 && !filtered && onFirstPage() ? (
				<Empty />
			) : (
				<>
					<Filters />
					{p ? p.rows.length > 0 ? <Table page={p} /> : <p class="nothing">No job fits. {filtered ? <a href="/">Show all</a> : null}</p> : failure.value ? null : <Skeleton />}
					{p ? <Pager page={p} /> : null}
				</>
			)}
		</>
	);
}

function Filters() {
	const query = place.value.query;
	const chosen = query.getAll('status');
	const c = counts.value;
	const box = useRef<HTMLInputElement>(null);
	const typed = useRef(0);

	useEffect(() => {
		const onKey = (e: KeyboardEvent) => {
			if (e.key === '/' && !(e.target as Element).closest('input, textarea, select')) {
				e.preventDefault();
				box.current?.focus();
			}
		};
		window.addEventListener('keydown', onKey);
		return () => window.removeEventListener('keydown', onKey);
	}, []);

	const href = (status: string | null) => withQuery({ status, after: null, before: null });
	const shown = STATUSES.filter((s) => (c?.status[s] ?? 0) > 0 || chosen.includes(s) || s === 'running' || s === 'succeeded' || s === 'failed');
	return (
		<div class="filters">
			<nav aria-label="Jobs by state" class="by-state">
				<a href={href(null)} aria-current={chosen.length === 0 ? 'true' : undefined}>
					all <b>{f.integer(c?.total)}</b>
				</a>
				{shown.map((s) => (
					<a key={s} href={href(s)} aria-current={chosen.includes(s) ? 'true' : undefined}>
						{s} <b>{f.integer(c ? (c.status[s] ?? 0) : null)}</b>
					</a>
				))}
			</nav>
			<form role="search" onSubmit={(e) => e.preventDefault()}>
				<label class="hidden" for="search">
					Search jobs
				</label>
				<input
					id="search"
					ref={box}
					type="search"
					placeholder="name, model, data, tag, id"
					value={query.get('q') ?? ''}
					aria-keyshortcuts="/"
					onInput={(e) => {
						const text = e.currentTarget.value.trim();
						clearTimeout(typed.current);
						typed.current = window.setTimeout(() => go(withQuery({ q: text || null, after: null, before: null }), 'replace'), 200);
					}}
				/>
				<kbd aria-hidden="true">/</kbd>
			</form>
			{query.getAll('tag').map((t) => (
				<a key={t} class="tag is-filter" href={withQuery({ tag: query.getAll('tag').filter((x) => x !== t), after: null, before: null })}>
					{t} <span aria-label="remove this filter">×</span>
				</a>
			))}
		</div>
	);
}

const BULK: Action[] = ['pause', 'resume', 'cancel', 'retry', 'delete'];

function Table({ page }: { page: Page }) {
	const body = useRef<HTMLTableSectionElement>(null);
	const focused = useSignal(0);
	const ids = page.rows.map((r) => r.value.id);
	const chosen = selected.value;
	const all = ids.every((id) => chosen.has(id));

	const choose = (id: string, on: boolean) => {
		const next = new Set(selected.value);
		if (on) next.add(id);
		else next.delete(id);
		selected.value = next;
	};

	const onKey = (e: KeyboardEvent) => {
		if (e.ctrlKey || e.metaKey || e.altKey) return;
		const move = e.key === 'ArrowDown' || e.key === 'j' ? 1 : e.key === 'ArrowUp' || e.key === 'k' ? -1 : 0;
		const at = Math.min(focused.value, page.rows.length - 1);
		const id = ids[at];
		if (move !== 0) {
			const to = Math.max(0, Math.min(page.rows.length - 1, at + move));
			focused.value = to;
			(body.current?.rows[to] as HTMLElement | undefined)?.focus();
		} else if (e.key === 'Home' || e.key === 'End') {
			focused.value = e.key === 'Home' ? 0 : page.rows.length - 1;
			(body.current?.rows[focused.value] as HTMLElement | undefined)?.focus();
		} else if (e.key === 'Enter' && e.target instanceof HTMLTableRowElement && id) go(`/jobs/${id}`);
		else if ((e.key === 'x' || e.key === ' ') && e.target instanceof HTMLTableRowElement && id) choose(id, !chosen.has(id));
		else return;
		e.preventDefault();
	};

	return (
		<>
			<Bulk page={page} />
			<div class="table-scroll">
				<table class="jobs">
					<caption class="hidden">Jobs. Arrow keys move between rows, Enter opens one, x selects it.</caption>
					<thead>
						<tr>
							<th class="pick">
								<input
									type="checkbox"
									aria-label="Select all on this page"
									checked={all}
									onChange={(e) => (selected.value = e.currentTarget.checked ? new Set(ids) : new Set())}
								/>
							</th>
							<th>Job</th>
							<th>State</th>
							<th class="num">Time</th>
							<th class="num">Best accuracy</th>
							<th>Data</th>
							<th>Tags</th>
							<th class="num">Age</th>
						</tr>
					</thead>
					<tbody ref={body} onKeyDown={onKey}>
						{page.rows.map((row, i) => (
							<Row key={row.value.id} job={row} tabIndex={i === Math.min(focused.value, page.rows.length - 1) ? 0 : -1} chosen={chosen.has(row.value.id)} choose={choose} onFocus={() => (focused.value = i)} />
						))}
					</tbody>
				</table>
			</div>
		</>
	);
}

function Row({ job: s, tabIndex, chosen, choose, onFocus }: { job: Signal<Job>; tabIndex: number; chosen: boolean; choose: (id: string, on: boolean) => void; onFocus: () => void }) {
	const job = s.value;
	const p = job.progress;
	const busy = !isFinal(job.status) && job.status !== 'queued' && job.status !== 'paused';
	return (
		<tr tabIndex={tabIndex} class={chosen ? 'is-chosen' : ''} onFocus={onFocus} aria-label={f.title(job)}>
			<td class="pick">
				<input type="checkbox" tabIndex={-1} aria-label={`Select ${f.title(job)}`} checked={chosen} onChange={(e) => choose(job.id, e.currentTarget.checked)} />
			</td>
			<td class="job">
				<a href={`/jobs/${job.id}`} tabIndex={-1}>
					{f.title(job)}
				</a>
				<small>
					<Models spec={job.spec} />
				</small>
			</td>
			<td class="state">
				<StatusMark status={job.status} />
				{busy ? (
					<>
						<small>
							{phaseWords(job.phase)}
							{p.percent !== null ? <span class="figure"> {Math.floor(p.percent)} %</span> : null}
						</small>
						<Progress job={job} />
					</>
				) : job.waiting ? (
					<small>
						<Waiting job={job} />
					</small>
				) : job.error ? (
					<small class="reason">{job.error.reason.replace(/_/g, ' ')}</small>
				) : null}
			</td>
			<td class={`num ${busy ? '' : 'took'}`}>
				{busy ? (p.eta_s !== null ? `${f.duration(p.eta_s)} left` : f.NONE) : job.started_at && job.finished_at ? f.duration((Date.parse(job.finished_at) - Date.parse(job.started_at)) / 1000) : f.NONE}
			</td>
			<td class="num best">
				{p.best ? (
					<>
						<strong>{f.percent(p.best.accuracy)}</strong>
						<small>
							epoch {p.best.epoch} of {p.total_epochs}
						</small>
					</>
				) : (
					f.NONE
				)}
			</td>
			<td title={job.spec.dataset_id}>{f.short(job.spec.dataset_id)}</td>
			<td class="tags">
				{(job.spec.tags ?? []).length > 0 ? <Tags tags={job.spec.tags} /> : null}
			</td>
			<td class="num age">
				<When at={job.created_at} />
			</td>
		</tr>
	);
}

function Bulk({ page }: { page: Page }) {
	const jobs = page.rows.map((r) => r.value).filter((j) => selected.value.has(j.id));
	if (jobs.length === 0) return null;
	const clear = () => {
		selected.value = new Set();
		void read();
	};
	return (
		<div class="bulk" role="toolbar" aria-label="Selected jobs">
			<span role="status">{f.plural(jobs.length, 'job')} selected</span>
			{BULK.map((a) => {
				const n = jobs.filter((j) => applies(a, j)).length;
				if (n === 0 && (a === 'pause' || a === 'resume')) return null;
				return (
					<button key={a} type="button" disabled={n === 0} class={a === 'delete' ? 'danger' : ''} onClick={() => start(a, jobs, clear)}>
						{labelOf(a)} {n > 0 && n < jobs.length ? n : ''}
					</button>
				);
			})}
			{jobs.length > 1 && jobs.length <= 8 ? (
				<a class="button" href={`/compare?jobs=${jobs.map((j) => j.id).join(',')}`}>
					Compare
				</a>
			) : null}
			<button type="button" class="quiet" onClick={() => (selected.value = new Set())}>
				Clear selection
			</button>
		</div>
	);
}

function Pager({ page: p }: { page: Page }) {
	const first = p.rows[0]?.value.id;
	const last = p.rows[p.rows.length - 1]?.value.id;
	if (!p.newer && !p.older) return null;
	return (
		<nav class="pager" aria-label="Pages of jobs">
			{p.newer && first ? (
				<>
					<a class="button" href={withQuery({ before: null, after: null })}>
						Newest
					</a>
					<a class="button" rel="prev" href={withQuery({ before: first, after: null })}>
						← Newer
					</a>
				</>
			) : null}
			{p.older && last ? (
				<a class="button" rel="next" href={withQuery({ after: last, before: null })}>
					Older →
				</a>
			) : null}
			<span>{p.rows.length} shown</span>
		</nav>
	);
}

const Skeleton = () => (
	<div class="skeleton" aria-busy="true" aria-label="Loading the jobs">
		{Array.from({ length: 6 }, (_, i) => (
			<div key={i} />
		))}
	</div>
);

function Empty() {
	const curl = `curl --json '{
  "student_id": "/models/minilm",
  "teacher_id": "/models/roberta-large-clinc",
  "dataset_id": "/data/clinc_oos_plus.json",
  "epochs": 10, "learning_rate": 1e-4, "alpha": 0.5, "temperature": 4
}' ${location.origin}/v1/jobs`;
	return (
		<section class="empty">
			<h2>Nothing has been distilled here yet</h2>
			<p>
				A job takes a teacher, a student and a data set. Its epochs show up here as they end. Send the first with curl, or <a href="/new">fill in a form</a> that checks it as you type.
			</p>
			<Code text={curl} label="A first job with curl" />
		</section>
	);
}
