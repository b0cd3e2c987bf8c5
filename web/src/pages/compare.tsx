// SPDX-License-Identifier: Apache-2.0
// Jobs beside each other: their curves, what differs between them, what came of it.
import { effect, useSignal } from '@preact/signals';
import { useEffect, useMemo } from 'preact/hooks';
import { get, isFinal, type Job, type List } from '../api';
import { epochLine } from '../charts/series';
import { Parallel, show, type ParallelLine } from '../charts/parallel';
import { Plot, type PlotLine, type Zoom } from '../charts/plot';
import { differing, hyperparameters, order, type Value } from '../compare';
import { applyTo, jobData, readAll, type JobData } from '../data';
import * as f from '../format';
import { go, place, withQuery } from '../router';
import { jobOf, keep } from '../store';
import { follow, listen, resync } from '../stream';
import { Scroll, StatusMark } from '../ui/parts';

const MOST = 24;
const HUES = 8;
const DASHES: (number[] | undefined)[] = [undefined, [8, 4], [2, 3]];

const hue = (i: number): string => `c${(i % HUES) + 1}`;
const dash = (i: number): number[] | undefined => DASHES[Math.floor(i / HUES) % DASHES.length];

interface Result {
	name: string;
	key: string;
	of: (d: JobData) => number | null;
	show: (v: Value) => string;
}
const RESULTS: Result[] = [
	{ key: 'accuracy', name: 'Best accuracy', of: (d) => d.job.value?.progress.best?.accuracy ?? null, show: (v) => f.percent(v as number | null, 2) },
	{ key: 'best_epoch', name: 'in epoch', of: (d) => d.job.value?.progress.best?.epoch ?? null, show: (v) => f.integer(v as number | null) },
	{ key: 'eval_loss', name: 'Last validation loss', of: (d) => d.epochs.value[d.epochs.value.length - 1]?.eval_loss ?? null, show: (v) => f.value(v as number | null) },
	{ key: 'speed', name: 'Texts/s', of: (d) => d.epochs.value[d.epochs.value.length - 1]?.samples_per_s ?? null, show: (v) => f.integer(v as number | null) },
	{
		key: 'took',
		name: 'Took',
		of: (d) => {
			const j = d.job.value;
			return j?.started_at && j.finished_at ? (Date.parse(j.finished_at) - Date.parse(j.started_at)) / 1000 : null;
		},
		show: (v) => f.duration(v as number | null),
	},
];

export default function ComparePage() {
	const ids = (place.value.query.get('jobs') ?? '').split(',').filter(Boolean).slice(0, MOST);
	const key = ids.join(',');
	const data = useMemo(() => ids.map(jobData), [key]);

	useEffect(() => {
		document.title = 'Compare · Retort';
		follow(ids);
		let abort = new AbortController();
		const stopListening = listen((events) => {
			for (const d of data) {
				applyTo(d, events);
				const job = jobOf(d.id);
				if (job) d.job.value = job.value;
			}
		});
		const stop = effect(() => {
			void resync.value;
			abort.abort();
			abort = new AbortController();
			for (const d of data) void readAll(d, { events: false }, abort.signal);
		});
		return () => {
			abort.abort();
			stop();
			stopListening();
		};
	}, [data]);

	const there = data.filter((d) => d.job.value);
	const failures = data.filter((d) => d.failure.value);
	return (
		<>
			<div class="headline">
				<h1>Compare</h1>
			</div>
			<Choice ids={ids} data={data} />
			{failures.map((d) => (
				<p key={d.id} class="reason">
					{f.shortId(d.id)}: {d.failure.value}
				</p>
			))}
			{there.length === 0 ? (
				<p class="nothing">{ids.length === 0 ? 'Choose jobs here, or select them in the list of jobs and press Compare.' : failures.length === 0 ? 'Loading the jobs' : ''}</p>
			) : (
				<Comparison data={there} ids={ids} />
			)}
		</>
	);
}

function Choice({ ids, data }: { ids: string[]; data: JobData[] }) {
	const recent = useSignal<Job[]>([]);
	useEffect(() => {
		get<List<Job>>('/v1/jobs?limit=100').then(
			(l) => {
				l.data.forEach(keep);
				recent.value = l.data;
			},
			() => undefined,
		);
	}, []);
	const others = recent.value.filter((j) => !ids.includes(j.id));
	return (
		<div class="choice">
			<ul>
				{data.map((d, i) => {
					const job = d.job.value;
					return (
						<li key={d.id}>
							<Swatch i={i} />
							<a href={`/jobs/${d.id}`}>{job ? f.title(job) : f.shortId(d.id)}</a>
							{job && !isFinal(job.status) ? <StatusMark status={job.status} /> : null}
							<button type="button" class="quiet" aria-label={`Leave out ${job ? f.title(job) : d.id}`} onClick={() => go(withQuery({ jobs: ids.filter((x) => x !== d.id).join(',') || null }))}>
								×
							</button>
						</li>
					);
				})}
			</ul>
			{ids.length < MOST ? (
				<label class="field-inline">
					Add
					<select
						value=""
						onChange={(e) => {
							const id = e.currentTarget.value;
							e.currentTarget.value = '';
							if (id) go(withQuery({ jobs: [...ids, id].join(',') }));
						}}
					>
						<option value="">a job</option>
						{others.map((j) => (
							<option key={j.id} value={j.id}>
								{f.title(j)} {j.progress.best ? `(${f.percent(j.progress.best.accuracy)})` : `(${j.status})`}
							</option>
						))}
					</select>
				</label>
			) : null}
		</div>
	);
}

const Swatch = ({ i }: { i: number }) => (
	<svg class="swatch" width="26" height="8" aria-hidden="true">
		<path d="M0 4H26" style={{ stroke: `var(--${hue(i)})`, strokeDasharray: dash(i)?.join(' ') ?? 'none' }} />
	</svg>
);

function Comparison({ data, ids }: { data: JobData[]; ids: string[] }) {
	const zoom: Zoom = useSignal<[number, number] | null>(null);
	const lit = useSignal<string | null>(null);
	const index = (d: JobData) => ids.indexOf(d.id);
	const jobs = data.map((d) => d.job.value!);
	const names = useMemo(() => differing(jobs), [jobs]);
	const epochs = data.map((d) => d.epochs.value);

	const line = (of: (e: (typeof epochs)[number][number]) => number | null | undefined): PlotLine[] =>
		data.map((d) => ({ label: f.title(d.job.value!), colour: hue(index(d)), dash: dash(index(d)), width: lit.value === d.id ? 4 : 2, faint: lit.value !== null && lit.value !== d.id, points: true, ...epochLine(d.epochs.value, of) }));
	const deps = [...epochs, ids.join(','), lit.value];
	const accuracy = useMemo(() => line((e) => e.eval_accuracy), deps);
	const evalLoss = useMemo(() => line((e) => e.eval_loss), deps);
	const trainLoss = useMemo(() => line((e) => e.train_loss), deps);
	const longest = Math.max(1, ...epochs.map((e) => e[e.length - 1]?.epoch ?? 0));
	const common = { zoom, sync: 'compare', compact: true, range: [0, longest * 1.03] as [number, number] };

	const sortKey = place.value.query.get('sort') ?? '-accuracy';
	const descending = sortKey.startsWith('-');
	const by = sortKey.replace(/^-/, '');
	const result = RESULTS.find((r) => r.key === by);
	const valueOf = (d: JobData): Value => (by === 'job' ? f.title(d.job.value!) : result ? result.of(d) : (hyperparameters(d.job.value!)[by] ?? null));
	const rows = [...data].sort((a, b) => order(valueOf(a), valueOf(b), descending));
	const head = (k: string, name: string, num: boolean) => (
		<th class={num ? 'num' : ''} aria-sort={by === k ? (descending ? 'descending' : 'ascending') : 'none'} key={k}>
			<button type="button" class="sort" onClick={() => go(withQuery({ sort: by === k && descending ? k : `-${k}` }), 'replace')}>
				{name}
			</button>
		</th>
	);
	const numeric = (n: string) => data.every((d) => typeof (hyperparameters(d.job.value!)[n] ?? 0) === 'number');
	const best = Math.max(...data.map((d) => d.job.value?.progress.best?.accuracy ?? -1));

	const axes = [...names.filter((n) => new Set(jobs.map((j) => hyperparameters(j)[n]).filter((v) => v !== null && v !== undefined)).size > 1), 'best accuracy'];
	const lines: ParallelLine[] = data.map((d) => ({
		id: d.id,
		label: f.title(d.job.value!),
		stroke: `var(--${hue(index(d))})`,
		dash: dash(index(d))?.join(' '),
		values: axes.map((n) => (n === 'best accuracy' ? (d.job.value?.progress.best?.accuracy ?? null) : (hyperparameters(d.job.value!)[n] ?? null))),
	}));
	return (
		<>
			<div class="charts">
				<figure class="wide">
					<figcaption>Accuracy on the validation split</figcaption>
					<Plot {...common} height={280} lines={accuracy} format={(v) => `${Math.round(v * 1000) / 10} %`} label={`Accuracy by epoch of ${f.plural(data.length, 'job')}; the table below has the best of each.`} />
				</figure>
				<figure class="wide">
					<figcaption>Validation loss</figcaption>
					<Plot {...common} height={280} lines={evalLoss} format={f.value} floor={0} label="Validation loss by epoch" />
				</figure>
				<figure>
					<figcaption>Training loss</figcaption>
					<Plot {...common} height={220} lines={trainLoss} format={f.value} floor={0} label="Training loss by epoch" />
				</figure>
				{data.length > 1 ? (
					<figure>
						<figcaption>From hyperparameters to accuracy</figcaption>
						{names.length > 0 ? (
							<Parallel names={axes} lines={lines} lit={lit.value} format={(i, v) => (axes[i] === 'best accuracy' ? f.percent(v as number) : show(v))} label={`Each job as a line over ${axes.join(', ')}. The table below has the values.`} />
						) : (
							<p class="nothing">These jobs have the same hyperparameters.</p>
						)}
					</figure>
				) : null}
			</div>
			{data.some((d) => d.job.value!.loss.temperature !== data[0]!.job.value!.loss.temperature || d.job.value!.loss.hard_weight !== data[0]!.job.value!.loss.hard_weight) ? (
				<p class="hint">These jobs differ in α or T, so their losses are different sums: compare accuracy, not loss.</p>
			) : null}
			<Scroll label="Differences and results">
				<table class="figures compare">
					<caption>What differs, and what came of it</caption>
					<thead>
						<tr>
							{head('job', 'Job', false)}
							{RESULTS.map((r) => head(r.key, r.name, true))}
							{names.map((n) => head(n, n, numeric(n)))}
						</tr>
					</thead>
					<tbody>
						{rows.map((d) => (
							<tr key={d.id} class={d.job.value?.progress.best?.accuracy === best ? 'is-best' : ''} onMouseEnter={() => (lit.value = d.id)} onMouseLeave={() => (lit.value = null)}>
								<th scope="row">
									<Swatch i={index(d)} /> <a href={`/jobs/${d.id}`}>{f.title(d.job.value!)}</a>
								</th>
								{RESULTS.map((r) => (
									<td key={r.key} class="num">
										{r.show(r.of(d))}
									</td>
								))}
								{names.map((n) => {
									const v = hyperparameters(d.job.value!)[n] ?? null;
									return (
										<td key={n} class={numeric(n) ? 'num' : ''} title={typeof v === 'string' ? v : undefined}>
											{show(v)}
										</td>
									);
								})}
							</tr>
						))}
					</tbody>
				</table>
			</Scroll>
		</>
	);
}
