// SPDX-License-Identifier: Apache-2.0
// One job: how it learns, what it is, what happened, what came out.
import { effect, signal, useSignal } from '@preact/signals';
import { useEffect, useMemo } from 'preact/hooks';
import { isFinal, type Epoch, type Event, type Job } from '../api';
import { epochAt, epochLine, smooth, stepLine, type Step } from '../charts/series';
import { Plot, type Mark, type PlotLine, type Zoom } from '../charts/plot';
import { applyTo, jobData, readAll, teacherAccuracy, type JobData } from '../data';
import * as f from '../format';
import { place } from '../router';
import { jobOf, readJob } from '../store';
import { follow, listen, resync } from '../stream';
import { actionsFor, labelOf, start } from '../ui/actions';
import { Copy, Failure, modelName, phaseWords, Progress, StatusMark, TabLinks, Tags, Waiting, When, Scroll } from '../ui/parts';
import { Checkpoints } from './job_checkpoints';
import { Classes } from './job_classes';
import { Events, History, Log, Spec } from './job_record';

const TABS: [string, string][] = [
	['', 'Curves'],
	['classes', 'Classes'],
	['checkpoints', 'Checkpoints'],
	['spec', 'Spec'],
	['events', 'Events'],
	['log', 'Log'],
];

export default function JobPage() {
	const [, , id = '', tab = ''] = place.value.path.split('/');
	const d = useMemo(() => jobData(id), [id]);
	const teacherKnown = useSignal('');
	void teacherKnown.value;

	useEffect(() => {
		let abort = new AbortController();
		follow([id]);
		const stopListening = listen((events) => {
			applyTo(d, events);
			const job = jobOf(id);
			if (job) d.job.value = job.value;
		});
		const stop = effect(() => {
			void resync.value;
			abort.abort();
			abort = new AbortController();
			void readAll(d, { events: true }, abort.signal).then(() => {
				const teacher = d.job.peek()?.spec.teacher_id;
				if (teacher?.startsWith('job_')) readJob(teacher, abort.signal).then(() => (teacherKnown.value = teacher), () => undefined); // it may be deleted
			});
		});
		// the store reads the job again when its status changes
		const stopJob = effect(() => {
			const s = d.job.value && jobOf(id);
			if (s && s.value !== d.job.peek()) d.job.value = s.value;
		});
		return () => {
			abort.abort();
			stop();
			stopJob();
			stopListening();
		};
	}, [d]);

	const job = d.job.value;
	useEffect(() => {
		document.title = job ? `${f.title(job)} · Retort` : 'Retort';
	}, [job && f.title(job)]);

	if (d.gone.value) return <Gone />;
	if (!job) return d.failure.value ? <Failure what={d.failure.value} retry={() => resync.value++} /> : <p class="loading">Loading the job</p>;
	return (
		<>
			<Head job={job} />
			<Readouts job={job} d={d} />
			<TabLinks label="About this job" tabs={TABS.map(([path, name]) => ({ href: `/jobs/${id}${path ? `/${path}` : ''}`, name, here: tab === path }))} />
			{tab === '' ? <Curves job={job} d={d} /> : null}
			{tab === 'classes' ? <Classes job={job} d={d} /> : null}
			{tab === 'checkpoints' ? <Checkpoints job={job} d={d} /> : null}
			{tab === 'spec' ? <Spec job={job} /> : null}
			{tab === 'events' ? (
				<div class="columns">
					<Events events={d.events.value} />
					<History job={job} />
				</div>
			) : null}
			{tab === 'log' ? <Log job={job} /> : null}
		</>
	);
}

const Gone = () => (
	<div class="nothing">
		<h1>This job was deleted</h1>
		<a href="/">All jobs</a>
	</div>
);

function Head({ job }: { job: Job }) {
	const busy = !isFinal(job.status) && job.status !== 'queued' && job.status !== 'paused';
	const actions = actionsFor(job);
	const s = job.spec;
	return (
		<section class="job-head">
			<div class="headline">
				<h1>{f.title(job)}</h1>
				<div class="buttons">
					{actions.map((a) => (
						<button key={a} type="button" class={a === 'delete' ? 'danger' : ''} onClick={() => start(a, [job])}>
							{labelOf(a)}
						</button>
					))}
					<a class="button" href={`/new?from=${job.id}`}>
						Clone
					</a>
				</div>
			</div>
			<p class="ids">
				<StatusMark status={job.status} />
				<code>{job.id}</code> <Copy text={job.id} label="Copy id" />
				<span>
					made <When at={job.created_at} />
				</span>
				{job.attempt > 1 ? <span>attempt {job.attempt}</span> : null}
				<Tags tags={s.tags} />
			</p>
			{busy ? (
				<div class="under-way">
					<Progress job={job} />
					<p>
						<span>{phaseWords(job.phase) || job.status}</span>
						<span class="figure">
							{job.progress.percent !== null ? `${f.fixed(job.progress.percent, 1)} %` : ''}
							{job.progress.eta_s !== null ? ` · ${f.duration(job.progress.eta_s)} left` : ''}
						</span>
					</p>
				</div>
			) : null}
			{job.waiting ? (
				<p class="warning">
					<Waiting job={job} />
				</p>
			) : null}
			{job.error ? (
				<div class="failure">
					<p>
						<strong>{job.error.reason.replace(/_/g, ' ')}.</strong> {job.error.message}
					</p>
					{(job.error.errors ?? []).length > 0 ? (
						<ul>
							{job.error.errors!.map((e) => (
								<li key={e.pointer + e.detail}>
									<code>{e.pointer}</code> {e.detail}
								</li>
							))}
						</ul>
					) : null}
				</div>
			) : null}
			<dl class="still">
				{s.teacher_id ? (
					<div class="of-teacher">
						<dt>Teacher</dt>
						<dd>{s.teacher_id.startsWith('job_') ? <a href={`/jobs/${s.teacher_id}`}>{modelName(s.teacher_id)}</a> : <span title={s.teacher_id}>{f.short(s.teacher_id)}</span>}</dd>
					</div>
				) : null}
				{s.teacher_id ? (
					<div class="pipe">
						<dt>
							α {f.value(s.alpha)} · T {f.value(s.temperature)}
						</dt>
						<dd aria-hidden="true">
							<svg viewBox="0 0 120 14" preserveAspectRatio="none">
								<path d="M0 7h112" fill="none" stroke="currentColor" stroke-width="1.6" vector-effect="non-scaling-stroke" />
							</svg>
						</dd>
					</div>
				) : null}
				<div class="of-student">
					<dt>Student</dt>
					<dd title={s.student_id}>{f.short(s.student_id)}</dd>
				</div>
				<div>
					<dt>Data</dt>
					<dd title={s.dataset_id}>{f.short(s.dataset_id)}</dd>
				</div>
				<div>
					<dt>Learning rate</dt>
					<dd class="figure">{f.value(s.learning_rate)}</dd>
				</div>
				<div>
					<dt>Batch</dt>
					<dd class="figure">{f.integer(s.per_device_train_batch_size)}</dd>
				</div>
				<div>
					<dt>Seed</dt>
					<dd class="figure">{s.seed}</dd>
				</div>
			</dl>
		</section>
	);
}

function Readouts({ job, d }: { job: Job; d: JobData }) {
	const best = job.progress.best;
	const teacher = teacherAccuracy(d.events.value);
	const last = d.epochs.value[d.epochs.value.length - 1];
	const speed = d.steps.value[d.steps.value.length - 1]?.samples_per_s ?? last?.samples_per_s;
	const started = job.started_at ? Date.parse(job.started_at) : NaN;
	const ended = job.finished_at ? Date.parse(job.finished_at) : NaN;
	return (
		<dl class="readouts">
			<div class="is-main">
				<dt>Best accuracy</dt>
				<dd>{f.percent(best?.accuracy, 2)}</dd>
				<dd class="note">{best ? `epoch ${best.epoch} of ${job.progress.total_epochs}` : 'after the first epoch'}</dd>
			</div>
			{job.spec.teacher_id ? (
				<div class="of-teacher">
					<dt>Teacher</dt>
					<dd>{f.percent(teacher, 2)}</dd>
					<dd class="note">{teacher !== null && best?.accuracy != null ? `student ${f.points(best.accuracy - teacher)}` : 'same validation split'}</dd>
				</div>
			) : null}
			<div>
				<dt>Validation loss</dt>
				<dd>{f.value(last?.eval_loss)}</dd>
				<dd class="note">{last ? `epoch ${last.epoch}` : ''}</dd>
			</div>
			<div>
				<dt>Training speed</dt>
				<dd>{f.integer(speed)}</dd>
				<dd class="note">texts a second</dd>
			</div>
			<div>
				<dt>{isFinal(job.status) ? 'Took' : 'Left'}</dt>
				<dd>{isFinal(job.status) ? f.duration((ended - started) / 1000) : f.duration(job.progress.eta_s)}</dd>
				<dd class="note">{job.finished_at ? <When at={job.finished_at} /> : job.started_at ? <>started <When at={job.started_at} /></> : 'not started'}</dd>
			</div>
		</dl>
	);
}

// ---- curves ----

const parts = signal(true); // whether CE and KL are drawn beside their sum

/** Where a later attempt began: at the step that it went on from, or at 0. */
function attempts(events: Event[], steps: Step[], totalEpochs: number): Mark[] {
	const total = steps[0]?.total_steps ?? 0;
	if (total === 0) return [];
	return [...events]
		.reverse()
		.filter((e) => e.type === 'run.started' && e.attempt > 1)
		.map((e) => {
			const resumed = events.find((x) => x.type === 'run.resumed' && x.attempt === e.attempt);
			const from = typeof resumed?.data.from_step === 'number' ? resumed.data.from_step : 0;
			return { x: epochAt(from, total, totalEpochs), label: `attempt ${e.attempt}${resumed ? '' : ', from the start'}`, colour: 'muted' };
		});
}

function Curves({ job, d }: { job: Job; d: JobData }) {
	const zoom: Zoom = useSignal<[number, number] | null>(null);
	const epochs = d.epochs.value;
	const steps = d.steps.value;
	const events = d.events.value;
	const total = job.progress.total_epochs;
	const teacher = teacherAccuracy(events);
	const best = job.progress.best;
	const shown = Math.max(1, Math.min(total, Math.ceil(Math.max(epochs[epochs.length - 1]?.epoch ?? 0, ...steps.slice(-1).map((s) => epochAt(s.step, s.total_steps, total))) * 1.04 + 0.01)));
	const range: [number, number] = [0, isFinal(job.status) ? (epochs[epochs.length - 1]?.epoch ?? total) * 1.02 : shown];
	const restarts = useMemo(() => attempts(events, steps, total), [events, steps, total]);

	const loss = useMemo((): PlotLine[] => {
		const raw = stepLine(steps, total, (s) => s.loss);
		const reach = Math.round(raw.y.length / 60);
		const lines: PlotLine[] = [
			...(reach > 0 ? [{ label: 'training, each step', colour: 'student', width: 1, faint: true, ...raw }] : []),
			{ label: 'training', colour: 'student', width: 2, x: raw.x, y: smooth(raw.y, reach) },
			{ label: 'validation', colour: 'ink', width: 2, points: true, ...epochLine(epochs, (e) => e.eval_loss) },
		];
		if (parts.value) {
			lines.push({ label: 'validation CE', colour: 'ce', width: 1.5, dash: [6, 4], points: true, ...epochLine(epochs, (e) => e.eval_ce_loss) });
			lines.push({ label: 'training CE', colour: 'ce', width: 1, dash: [2, 3], ...epochLine(epochs, (e) => e.train_ce_loss) });
			if (job.spec.teacher_id) {
				lines.push({ label: 'validation KL', colour: 'teacher', width: 1.5, dash: [6, 4], points: true, ...epochLine(epochs, (e) => e.eval_kd_loss) });
				lines.push({ label: 'training KL', colour: 'teacher', width: 1, dash: [2, 3], ...epochLine(epochs, (e) => e.train_kd_loss) });
			}
		}
		return lines;
	}, [steps, epochs, total, parts.value]);

	const accuracy = useMemo((): PlotLine[] => {
		const lines: PlotLine[] = [{ label: 'student', colour: 'student', width: 2.5, points: true, ...epochLine(epochs, (e) => e.eval_accuracy) }];
		if (teacher !== null) lines.push({ label: 'teacher', colour: 'teacher', width: 2, dash: [8, 4], x: [0, Math.max(total, 1)], y: [teacher, teacher] });
		return lines;
	}, [epochs, teacher, total]);

	const rate = useMemo((): PlotLine[] => [{ label: 'learning rate', colour: 'ink', ...stepLine(steps, total, (s) => s.learning_rate) }], [steps, total]);
	const speed = useMemo((): PlotLine[] => [{ label: 'texts a second', colour: 'student', ...stepLine(steps, total, (s) => s.samples_per_s) }], [steps, total]);
	const bestMark: Mark[] = best && best.accuracy !== null ? [{ x: best.epoch, y: best.accuracy, label: `best ${f.percent(best.accuracy, 2)}, epoch ${best.epoch}`, colour: 'student' }] : [];
	const bestEpoch = epochs.find((e) => e.epoch === best?.epoch);

	if (epochs.length === 0 && steps.length === 0) {
		return <p class="nothing">{isFinal(job.status) ? 'It ended before its first step.' : job.status === 'queued' ? 'Curves appear when a slot is free and the first steps are done.' : 'Curves appear with the first steps.'}</p>;
	}
	const common = { range, zoom, sync: job.id };
	return (
		<section aria-label="Curves">
			<p class="chart-tools">
				<label>
					<input type="checkbox" checked={parts.value} onChange={(e) => (parts.value = e.currentTarget.checked)} /> CE and KL beside their sum
				</label>
				<button type="button" disabled={!zoom.value} onClick={() => (zoom.value = null)}>
					Whole run
				</button>
				<button type="button" onClick={() => (zoom.value = [Math.max(0, range[1] - Math.max(1, range[1] / 4)), range[1]])}>
					Last quarter
				</button>
				<span class="hint">Drag across a chart to zoom; the others follow.</span>
			</p>
			<div class="charts">
				<figure class="wide">
					<figcaption>Loss</figcaption>
					<Plot {...common} height={300} lines={loss} marks={restarts} format={f.value} floor={0} label={`Loss by epoch. Latest: training ${f.value(epochs[epochs.length - 1]?.train_loss)}, validation ${f.value(epochs[epochs.length - 1]?.eval_loss)}. The table below has every epoch.${restarts.map((m) => ` ${m.label.charAt(0).toUpperCase()}${m.label.slice(1)} goes on from epoch ${f.value(Math.round(m.x * 100) / 100)}.`).join('')}`} />
				</figure>
				<figure class="wide">
					<figcaption>Accuracy on the validation split</figcaption>
					<Plot {...common} height={300} lines={accuracy} marks={[...restarts, ...bestMark]} format={(v) => `${Math.round(v * 1000) / 10} %`} label={`Accuracy by epoch. Best ${f.percent(best?.accuracy, 2)} in epoch ${best?.epoch ?? 'none'}${teacher !== null ? `; the teacher has ${f.percent(teacher, 2)}` : ''}.`} />
				</figure>
				<figure>
					<figcaption>Learning rate</figcaption>
					<Plot {...common} height={180} lines={rate} marks={restarts} format={f.value} floor={0} label="Learning rate by epoch" />
				</figure>
				<figure>
					<figcaption>Throughput</figcaption>
					<Plot {...common} height={180} lines={speed} marks={restarts} format={f.value} floor={0} label="Training texts a second by epoch" />
				</figure>
			</div>
			<EpochTable epochs={epochs} best={bestEpoch?.epoch ?? null} soft={!!job.spec.teacher_id} />
		</section>
	);
}

const EpochTable = ({ epochs, best, soft }: { epochs: Epoch[]; best: number | null; soft: boolean }) => (
	<Scroll label="Epochs">
		<table class="figures">
			<caption>Every epoch</caption>
			<thead>
				<tr>
					<th class="num">Epoch</th>
					<th class="num">Accuracy</th>
					<th class="num">Validation loss</th>
					<th class="num">CE</th>
					{soft ? <th class="num">KL·T²</th> : null}
					<th class="num">Training loss</th>
					<th class="num">CE</th>
					{soft ? <th class="num">KL·T²</th> : null}
					<th class="num">Rate</th>
					<th class="num">Texts/s</th>
					<th class="num">Time</th>
					<th class="num">Attempt</th>
				</tr>
			</thead>
			<tbody>
				{[...epochs].reverse().map((e) => (
					<tr key={e.epoch} class={e.epoch === best ? 'is-best' : ''}>
						<td class="num">
							{e.epoch === best ? <span class="best-word">best</span> : null} {e.epoch}
						</td>
						<td class="num">{f.percent(e.eval_accuracy, 2)}</td>
						<td class="num">{f.fixed(e.eval_loss, 4)}</td>
						<td class="num">{f.fixed(e.eval_ce_loss, 4)}</td>
						{soft ? <td class="num">{f.fixed(e.eval_kd_loss, 4)}</td> : null}
						<td class="num">{f.fixed(e.train_loss, 4)}</td>
						<td class="num">{f.fixed(e.train_ce_loss, 4)}</td>
						{soft ? <td class="num">{f.fixed(e.train_kd_loss, 4)}</td> : null}
						<td class="num">{f.value(e.learning_rate)}</td>
						<td class="num">{f.integer(e.samples_per_s)}</td>
						<td class="num">{f.duration(e.seconds)}</td>
						<td class="num">{e.attempt}</td>
					</tr>
				))}
			</tbody>
		</table>
	</Scroll>
);
