// SPDX-License-Identifier: Apache-2.0
// What does temperature change? A teacher's answer to a text, sharp and softened, and the student's beside it.
import { useSignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import { call, get, isAbort, words, type Job, type List } from '../api';
import * as f from '../format';
import { go, place, withQuery } from '../router';
import { ends, entropy, placeOf, relativeDifference, softmax, temperatureAt } from '../soft';
import { keep } from '../store';
import { follow } from '../stream';
import { Failure, modelName, Scroll } from '../ui/parts';

interface Answer {
	model: string;
	labels: string[];
	logits: number[];
}

const TABLE = [1, 2, 4, 10, 20];

const ask = (ref: string, text: string, signal: AbortSignal): Promise<Answer> => call<Answer>('POST', `/v1/models/${encodeURIComponent(ref)}/soft-labels`, { body: { text }, signal });

export default function TemperaturePage() {
	const q = place.value.query;
	const jobs = useSignal<Job[]>([]);
	const job = useSignal<Job | null>(null);
	const teacher = useSignal<Answer | null>(null);
	const student = useSignal<Answer | null>(null);
	const failures = useSignal<string[]>([]);
	const busy = useSignal(false);
	const ref = q.get('model') ?? '';
	const jobId = q.get('job') ?? '';
	const text = q.get('text') ?? '';
	const t = Number(q.get('t')) || job.value?.spec.temperature || 4;

	useEffect(() => {
		follow([]);
		document.title = 'What does temperature change? · Retort';
		const abort = new AbortController();
		get<List<Job>>('/v1/jobs?limit=100', abort.signal).then(
			(l) => {
				l.data.forEach(keep);
				jobs.value = l.data.filter((j) => j.progress.best !== null);
			},
			(e) => !isAbort(e) && (failures.value = [words(e)]),
		);
		return () => abort.abort();
	}, []);

	useEffect(() => {
		if (!jobId) {
			job.value = null;
			return;
		}
		const abort = new AbortController();
		get<Job>(`/v1/jobs/${jobId}`, abort.signal).then((j) => (job.value = j), (e) => !isAbort(e) && (failures.value = [words(e)]));
		return () => abort.abort();
	}, [jobId]);

	// The logits are all that is asked for: every temperature follows from them here.
	const teacherRef = ref || (job.value?.id === jobId ? (job.value?.spec.teacher_id ?? '') : '');
	const studentRef = jobId && job.value?.id === jobId && job.value.progress.best ? jobId : '';
	useEffect(() => {
		teacher.value = student.value = null;
		failures.value = [];
		if (!text || (!teacherRef && !studentRef)) return;
		const abort = new AbortController();
		busy.value = true;
		const one = (who: string, model: string, to: typeof teacher) =>
			model ? ask(model, text, abort.signal).then((a) => void (to.value = a), (e) => void (isAbort(e) || (failures.value = [...failures.value, `${who}: ${words(e)}`]))) : null;
		void Promise.all([one('Teacher', teacherRef, teacher), one('Student', studentRef, student)]).then(() => {
			if (!abort.signal.aborted) busy.value = false;
		});
		return () => abort.abort();
	}, [text, teacherRef, studentRef]);

	const first = teacher.value ?? student.value;
	return (
		<>
			<div class="headline">
				<h1>What does temperature change?</h1>
			</div>
			<p>
				A trained model is nearly certain, and its certainty hides what else it knows: which wrong classes are almost right. Dividing the logits by T before the softmax brings that out, and the student learns it.
			</p>
			<form
				class="ask"
				onSubmit={(e) => {
					e.preventDefault();
					const data = new FormData(e.currentTarget);
					go(withQuery({ text: String(data.get('text') ?? '').trim(), job: String(data.get('job') ?? ''), model: String(data.get('model') ?? '').trim() }));
				}}
			>
				<div class="field is-wide">
					<label for="text">Text</label>
					<input id="text" name="text" required maxLength={4000} defaultValue={text} key={text} placeholder="please transfer $100 from my checking to my saving account" />
				</div>
				<div class="field">
					<label for="job">Job: its student, and its teacher</label>
					<select id="job" name="job" value={jobId} key={`${jobId}${jobs.value.length}`}>
						<option value="">none</option>
						{jobs.value.map((j) => (
							<option key={j.id} value={j.id}>
								{f.title(j)}
								{j.spec.teacher_id ? '' : ' (no teacher)'}
							</option>
						))}
						{jobId && !jobs.value.some((j) => j.id === jobId) ? <option value={jobId}>{jobId}</option> : null}
					</select>
				</div>
				<div class="field">
					<label for="model">Or another teacher</label>
					<input id="model" name="model" defaultValue={ref} key={ref} placeholder="a job’s id or a model’s path" spellcheck={false} />
				</div>
				<button type="submit" class="primary">
					Ask
				</button>
			</form>
			{failures.value.map((x) => (
				<Failure key={x} what={x} />
			))}
			{busy.value ? <p class="loading" role="status">The models are being asked; the first answer takes as long as loading them.</p> : null}
			{first && !busy.value ? (
				<>
					<div class="slider">
						<label for="t">
							Temperature <output for="t">T = {f.value(t)}</output>
						</label>
						<input id="t" type="range" min={0} max={1000} step={1} value={Math.round(placeOf(t) * 1000)} aria-valuetext={`T ${f.value(t)}`} onInput={(e) => go(withQuery({ t: String(temperatureAt(Number(e.currentTarget.value) / 1000)) }), 'replace')} />
						<p class="ticks" aria-hidden="true">
							{[0.5, 1, 2, 4, 10, 20].map((x) => (
								<span key={x} style={{ left: `${placeOf(x) * 100}%` }}>
									{x}
								</span>
							))}
						</p>
					</div>
					<Bars teacher={teacher.value} student={student.value} temperature={t} />
					{teacher.value ? <Differences answer={teacher.value} of="teacher" temperature={t} /> : <Differences answer={first} of="student" temperature={t} />}
				</>
			) : null}
		</>
	);
}

/** The student's probability of a class that the teacher calls so: by name, since the orders may differ. */
const byName = (a: Answer | null, p: number[] | null, label: string): number | null => {
	const i = a ? a.labels.indexOf(label) : -1;
	return i >= 0 && p ? (p[i] ?? null) : null;
};

function Bars({ teacher, student, temperature }: { teacher: Answer | null; student: Answer | null; temperature: number }) {
	const lead = (teacher ?? student)!;
	const { shown, left } = ends(lead.logits);
	const panel = (t: number, title: string) => {
		const pt = teacher ? softmax(teacher.logits, t) : null;
		const ps = student ? softmax(student.logits, t) : null;
		const most = Math.max(...(pt ?? []), ...(ps ?? []));
		const rows = shown.map((i) => lead.labels[i]!);
		return (
			<figure>
				<figcaption>
					{title}
					<small>
						{pt ? ` entropy: teacher ${f.fixed(entropy(pt), 3)}` : ' entropy:'}
						{ps ? `${pt ? ', ' : ' '}student ${f.fixed(entropy(ps), 3)}` : ''} nats
					</small>
				</figcaption>
				<table class="bars">
					<caption class="hidden">{title}: probabilities of the likeliest and the least likely classes</caption>
					<colgroup>
						<col class="name" />
						<col />
						{pt ? <col class="value" /> : null}
						{ps ? <col class="value" /> : null}
					</colgroup>
					<thead class="hidden">
						<tr>
							<th>Class</th>
							<th>Bars</th>
							{pt ? <th>Teacher</th> : null}
							{ps ? <th>Student</th> : null}
						</tr>
					</thead>
					<tbody>
						{rows.map((label, k) => {
							const a = byName(teacher, pt, label);
							const b = byName(student, ps, label);
							return (
								<>
									{left > 0 && k === 5 ? (
										<tr class="gap" key="gap">
											<td colSpan={4}>{f.plural(left, 'class', 'classes')} between</td>
										</tr>
									) : null}
									<tr key={label}>
										<th scope="row">{label}</th>
										<td class="both" aria-hidden="true">
											{a !== null ? <i class="t" style={{ width: `${(100 * a) / most}%` }} /> : null}
											{b !== null ? <i class="s" style={{ width: `${(100 * b) / most}%` }} /> : null}
										</td>
										{pt ? <td class="num of-teacher">{share(a)}</td> : null}
										{ps ? <td class="num of-student">{share(b)}</td> : null}
									</tr>
								</>
							);
						})}
					</tbody>
				</table>
			</figure>
		);
	};
	return (
		<section aria-label="Probabilities">
			<p class="legend">
				{teacher ? <span class="of-teacher">teacher: {modelName(teacher.model)}</span> : null}
				{student ? <span class="of-student">student: {modelName(student.model)}</span> : null}
				<small>Bars are scaled to the largest of each panel.</small>
			</p>
			<div class="charts">
				{panel(1, 'T = 1')}
				{panel(temperature, `T = ${f.value(temperature)}`)}
			</div>
		</section>
	);
}

/** Small ones keep two digits: 0.0013 %. */
const share = (p: number | null): string => (p === null ? f.NONE : p >= 1e-4 ? f.percent(p, 2) : p >= 1e-8 ? `${f.fixed(p * 100, 1 - Math.floor(Math.log10(p * 100)))}\u00a0%` : `${f.value(p * 100)}\u00a0%`);

function Differences({ answer, of, temperature }: { answer: Answer; of: string; temperature: number }) {
	const rows = [...new Set([...TABLE, temperature])].sort((a, b) => a - b);
	return (
		<section>
			<h2>The second class against the last, in the {of}’s answer</h2>
			<p>The relative difference (second − last) / last says how far the runner-up stands out from the class that fits least. The higher T, the smaller it is; at T = 1 it is so large that the loss sees nothing but the first class.</p>
			<Scroll label="Temperatures">
			<table class="figures narrow">
				<thead>
					<tr>
						<th class="num">T</th>
						<th class="num">First</th>
						<th class="num">Second</th>
						<th class="num">Last</th>
						<th class="num">Relative difference</th>
						<th class="num">Entropy, nats</th>
					</tr>
				</thead>
				<tbody>
					{rows.map((t) => {
						const p = softmax(answer.logits, t);
						const sorted = [...p].sort((a, b) => b - a);
						return (
							<tr key={t} class={t === temperature ? 'is-best' : ''}>
								<td class="num">{f.value(t)}</td>
								<td class="num">{share(sorted[0]!)}</td>
								<td class="num">{share(sorted[1] ?? null)}</td>
								<td class="num">{share(sorted[sorted.length - 1]!)}</td>
								<td class="num">{f.value(relativeDifference(p))}</td>
								<td class="num">{f.fixed(entropy(p), 4)}</td>
							</tr>
						);
					})}
				</tbody>
			</table>
			</Scroll>
		</section>
	);
}
