// SPDX-License-Identifier: Apache-2.0
// A job as a form. The form is made from the schema that the server serves; the server says what is wrong while one types.
import { batch, useComputed, useSignal } from '@preact/signals';
import { useEffect, useMemo, useRef } from 'preact/hooks';
import { ApiError, call, get, isAbort, words, type FieldError, type Job, type List, type Validation } from '../api';
import * as f from '../format';
import { go, place } from '../router';
import { compose, curlOf, entriesOf, fieldAt, fieldsOf, allowed, type Entries, type Field, type Schema } from '../schema';
import { follow } from '../stream';
import { Code, Failure, modelName, say } from '../ui/parts';
import { keep } from '../store';

/** Where fields stand. What is not named here comes at the end: a later server may have more. */
const GROUPS: { title: string; open: boolean; fields: string[] }[] = [
	{ title: 'What', open: true, fields: ['teacher_id', 'student_id', 'dataset_id', 'name', 'tags'] },
	{ title: 'Distillation', open: true, fields: ['alpha', 'temperature', 'epochs', 'learning_rate', 'per_device_train_batch_size', 'seed'] },
	{
		title: 'Training in detail',
		open: false,
		fields: ['loss', 'student_init', 'lr_scheduler', 'warmup_ratio', 'weight_decay', 'max_grad_norm', 'gradient_accumulation_steps', 'gradient_accumulation', 'max_length', 'shuffle', 'precision', 'teacher_precision', 'fp16'],
	},
	{ title: 'Data', open: false, fields: ['dataset_config', 'text_column', 'label_column', 'train_split', 'validation_split', 'test_split'] },
	{ title: 'Evaluation and checkpoints', open: false, fields: ['per_device_eval_batch_size', 'metric_for_best_model', 'early_stopping_patience', 'save_total_limit', 'checkpoint_interval_s'] },
	{ title: 'Running', open: false, fields: ['priority', 'max_runtime_s', 'max_restarts', 'stop_grace_s', 'resources.threads', 'resources.gpus'] },
];

const CHECK_MS = 500;

interface Api {
	components: { schemas: { JobSpec: Schema } };
}

function newKey(): string {
	const bytes = crypto.getRandomValues(new Uint8Array(16));
	return [...bytes].map((b) => b.toString(16).padStart(2, '0')).join('');
}

export default function NewPage() {
	const fields = useSignal<Field[]>([]);
	const entries = useSignal<Entries>({});
	const touched = useSignal<ReadonlySet<string>>(new Set());
	const report = useSignal<Validation | null>(null);
	const checking = useSignal(false);
	const failure = useSignal('');
	const sending = useSignal(false);
	const known = useSignal<Record<string, string[]>>({});
	const from = place.value.query.get('from');
	const key = useRef(newKey()); // one key a form: sending it twice makes one job

	useEffect(() => {
		follow([]);
		document.title = 'New job · Retort';
		const abort = new AbortController();
		const load = async () => {
			const [api, original, recent] = await Promise.all([
				get<Api>('/openapi.json', abort.signal),
				from ? get<Job>(`/v1/jobs/${from}`, abort.signal) : null,
				get<List<Job>>('/v1/jobs?limit=100', abort.signal),
			]);
			const made = fieldsOf(api.components.schemas.JobSpec);
			batch(() => {
				if (original) keep(original);
				fields.value = made;
				entries.value = original ? entriesOf(made, original.original_spec as Record<string, unknown>) : {};
				const distinct = (of: (j: Job) => string | null | undefined) => [...new Set(recent.data.map(of).filter((x): x is string => !!x))].slice(0, 30);
				const trained = recent.data.filter((j) => j.status === 'succeeded').map((j) => j.id);
				const students = distinct((j) => j.spec.student_id);
				known.value = { teacher_id: [...trained.slice(0, 20), ...distinct((j) => j.spec.teacher_id)], student_id: students, dataset_id: distinct((j) => j.spec.dataset_id) };
			});
		};
		load().catch((e) => !isAbort(e) && (failure.value = words(e)));
		return () => abort.abort();
	}, [from]);

	const composed = useComputed(() => compose(fields.value, entries.value));
	const spec = composed.value.spec;
	const text = JSON.stringify(spec);

	// Ask the server, a little after the last key. What was asked before no longer matters.
	useEffect(() => {
		if (fields.value.length === 0 || (Object.keys(spec).length === 0 && composed.value.errors.size > 0)) return;
		const abort = new AbortController();
		const ask = async (): Promise<void> => {
			checking.value = true;
			try {
				report.value = await call<Validation>('POST', '/v1/jobs:validate', { body: JSON.parse(text), signal: abort.signal });
			} catch (e) {
				if (isAbort(e)) return;
				if (e instanceof ApiError && e.status === 503) {
					timer = window.setTimeout(ask, 1500);
					return;
				}
				report.value = null;
			}
			checking.value = false;
		};
		let timer = window.setTimeout(ask, CHECK_MS);
		return () => {
			clearTimeout(timer);
			abort.abort();
			checking.value = false;
		};
	}, [text, fields.value]);

	/** Ours at once, the server's a moment later; what nobody has filled in yet is not wrong yet. */
	const problems = useMemo(() => {
		const all = new Map<string, string>();
		for (const e of report.value?.errors ?? []) {
			const name = fieldAt(fields.value, e.pointer);
			if (name && !all.has(name)) all.set(name, e.detail);
		}
		for (const [name, detail] of composed.value.errors) all.set(name, detail);
		for (const name of [...all.keys()]) if (!touched.value.has(name) && !(name in entries.value)) all.delete(name);
		return all;
	}, [report.value, composed.value, touched.value, entries.value]);

	if (failure.value && fields.value.length === 0) return <Failure what={failure.value} retry={() => location.reload()} />;
	if (fields.value.length === 0) return <p class="loading">Loading the form</p>;

	const set = (name: string, v: string | boolean) => {
		const next = { ...entries.value };
		if (v === '') delete next[name];
		else next[name] = v;
		entries.value = next;
		touched.value = new Set([...touched.value, name]);
	};

	const submit = async (e: Event) => {
		e.preventDefault();
		touched.value = new Set(fields.value.map((x) => x.name));
		if (composed.value.errors.size > 0) {
			document.getElementById(`f-${[...composed.value.errors.keys()][0]}`)?.focus();
			return;
		}
		sending.value = true;
		try {
			const response = await fetch('/v1/jobs', { method: 'POST', headers: { 'Content-Type': 'application/json', 'Idempotency-Key': `"${key.current}"` }, body: text });
			const body = (await response.json()) as Job & { detail?: string; errors?: FieldError[] };
			if (response.ok) {
				say(`${f.title(body)} is queued`);
				go(`/jobs/${body.id}`);
				return;
			}
			key.current = newKey();
			report.value = { valid: false, errors: body.errors ?? [], warnings: [], resolved: null, facts: null };
			say(body.detail ?? `the server answered ${response.status}`, 'error');
		} catch {
			say('The server does not answer; nothing was sent twice', 'error');
		} finally {
			sending.value = false;
		}
	};

	const named = new Set(GROUPS.flatMap((g) => g.fields));
	const groups = [...GROUPS, { title: 'More', open: false, fields: fields.value.map((x) => x.name).filter((n) => !named.has(n)) }];
	return (
		<>
			<div class="headline">
				<h1>{from ? `New job, like ${modelName(from)}` : 'New job'}</h1>
			</div>
			<form class="new" onSubmit={submit} noValidate>
				<div class="groups">
					{groups.map((g) => {
						const inside = g.fields.map((n) => fields.value.find((x) => x.name === n)).filter((x): x is Field => !!x);
						if (inside.length === 0) return null;
						const set_ = inside.filter((x) => x.name in entries.value).length;
						const wrong = inside.filter((x) => problems.has(x.name)).length;
						const grid = (
							<div class={`fields ${g.title === 'What' ? 'is-what' : ''}`}>
								{inside.map((x) => (
									<Entry key={x.name} field={x} value={entries.value[x.name]} error={problems.get(x.name)} known={known.value[x.name]} set={set} />
								))}
							</div>
						);
						return g.open ? (
							<fieldset key={g.title}>
								<legend>{g.title}</legend>
								{grid}
								{g.title === 'Distillation' ? <Formula entries={entries.value} fields={fields.value} /> : null}
							</fieldset>
						) : (
							<details key={g.title} open={set_ > 0 || wrong > 0 ? true : undefined}>
								<summary>
									{g.title}
									<small>{wrong > 0 ? <span class="reason">{f.plural(wrong, 'mistake')}</span> : set_ > 0 ? `${set_} set` : 'defaults'}</small>
								</summary>
								{grid}
							</details>
						);
					})}
				</div>
				<aside aria-label="Check and send">
					<Report report={report.value} checking={checking.value} waiting={composed.value.errors.size > 0} fields={fields.value} />
					<button type="submit" class="primary" disabled={sending.value}>
						{sending.value ? 'Sending' : 'Submit job'}
					</button>
					<h2>The same with curl</h2>
					<Code text={curlOf(spec, location.origin)} label="The same with curl" />
				</aside>
			</form>
		</>
	);
}

function Formula({ entries, fields }: { entries: Entries; fields: Field[] }) {
	const number = (name: string) => Number(entries[name] ?? fields.find((x) => x.name === name)?.fallback);
	const alpha = number('alpha');
	const temperature = number('temperature');
	if (!(alpha >= 0 && alpha <= 1 && temperature > 0)) return null;
	return (
		<p class="formula">
			loss = <b>{f.value(alpha)}</b> · CE(labels) + <b class="of-teacher">{f.value(Math.round((1 - alpha) * 1e6) / 1e6)}</b> · {f.value(temperature)}² · KL(teacher ‖ student)
			{alpha === 1 ? ', which is plain fine-tuning: the teacher is not asked' : ''}
		</p>
	);
}

const LABELS: Record<string, string> = {
	teacher_id: 'Teacher', student_id: 'Student', dataset_id: 'Data set', alpha: 'Alpha (α)', temperature: 'Temperature (T)', per_device_train_batch_size: 'Batch size',
	per_device_eval_batch_size: 'Evaluation batch size', fp16: 'fp16', lr_scheduler: 'Learning rate schedule',
};
export function labelOf(name: string): string {
	const plain = name.split('.').pop()!.replace(/_id$/, ' id').replace(/_s$/, ' (seconds)').replace(/_/g, ' ');
	return LABELS[name] ?? plain.charAt(0).toUpperCase() + plain.slice(1);
}

function Entry({ field, value, error, known, set }: { field: Field; value: string | boolean | undefined; error?: string; known?: string[]; set: (name: string, v: string | boolean) => void }) {
	const id = `f-${field.name}`;
	const described = `${id}-help${error ? ` ${id}-error` : ''}`;
	const fallback = field.fallback === null || (Array.isArray(field.fallback) && field.fallback.length === 0) ? '' : String(field.fallback);
	const range = allowed(field.schema);
	const help = [field.help, range && `${range.charAt(0).toUpperCase()}${range.slice(1)}.`].filter(Boolean).join(' ');
	const common = { id, name: field.name, 'aria-describedby': described, 'aria-invalid': !!error, required: field.required };
	if (field.kind === 'switch') {
		return (
			<div class="field is-switch">
				<label for={id}>
					<input {...common} type="checkbox" checked={value === undefined ? field.fallback === true : value === true} onChange={(e) => set(field.name, e.currentTarget.checked)} /> {labelOf(field.name)}
				</label>
				<small id={`${id}-help`}>{help}</small>
				{error ? <small id={`${id}-error`} class="reason">{error}</small> : null}
			</div>
		);
	}
	return (
		<div class="field">
			<label for={id}>
				{labelOf(field.name)} {field.required ? <span class="needed">needed</span> : null}
			</label>
			{field.kind === 'choice' ? (
				<select {...common} value={(value as string | undefined) ?? fallback} onChange={(e) => set(field.name, e.currentTarget.value)}>
					{field.choices.map((c) => (
						<option key={c} value={c}>
							{c}
						</option>
					))}
				</select>
			) : (
				<input
					{...common}
					type="text"
					inputMode={field.kind === 'integer' ? 'numeric' : field.kind === 'number' ? 'decimal' : undefined}
					autocomplete="off"
					spellcheck={false}
					list={known?.length ? `${id}-known` : undefined}
					placeholder={fallback || (field.kind === 'list' ? 'separated by commas' : '')}
					maxLength={field.kind === 'text' ? field.schema.maxLength : undefined}
					value={(value as string | undefined) ?? ''}
					onInput={(e) => set(field.name, e.currentTarget.value)}
				/>
			)}
			{known?.length ? (
				<datalist id={`${id}-known`}>
					{known.map((k) => (
						<option key={k} value={k} />
					))}
				</datalist>
			) : null}
			<small id={`${id}-help`}>{help}</small>
			{error ? (
				<small id={`${id}-error`} class="reason">
					{error}
				</small>
			) : null}
		</div>
	);
}

function Report({ report, checking, waiting, fields }: { report: Validation | null; checking: boolean; waiting: boolean; fields: Field[] }) {
	const facts = report?.facts;
	const loose = (report?.errors ?? []).filter((e) => fieldAt(fields, e.pointer) === null);
	const state = checking ? 'Checking' : !report ? (waiting ? 'Student and data set are needed before it can be checked' : 'Not checked yet') : report.valid && !waiting ? 'Ready to run' : f.plural(report.errors.length, 'mistake');
	return (
		<div class={`report ${report?.valid && !waiting ? 'is-valid' : report && !report.valid ? 'is-wrong' : ''}`}>
			<p class="verdict" role="status">
				{state}
			</p>
			{loose.map((e) => (
				<p key={e.detail} class="reason">
					{e.detail}
				</p>
			))}
			{(report?.warnings ?? []).map((w) => (
				<p key={w.detail} class="warning">
					<strong>Note:</strong> {w.detail}
				</p>
			))}
			{facts ? (
				<dl class="facts">
					{facts.teacher ? <Fact name="Teacher" value={`${facts.teacher.family}, ${millions(facts.teacher.parameters)}`} /> : null}
					{facts.student ? <Fact name="Student" value={`${facts.student.family}, ${millions(facts.student.parameters)}`} /> : null}
					{facts.train_rows != null ? <Fact name="Training texts" value={f.integer(facts.train_rows)} /> : null}
					{facts.validation_rows != null ? <Fact name="Validation texts" value={f.integer(facts.validation_rows)} /> : null}
					{facts.labels != null ? <Fact name="Classes" value={f.integer(Array.isArray(facts.labels) ? facts.labels.length : Number(facts.labels))} /> : null}
					{facts.tokenizers ? <Fact name="Tokenizers" value={facts.tokenizers} /> : null}
					{facts.truncated_rows ? <Fact name="Texts cut to max length" value={f.integer(facts.truncated_rows)} /> : null}
					{facts.steps != null ? <Fact name="Steps" value={f.integer(facts.steps)} /> : null}
					{facts.memory_bytes_estimate != null ? <Fact name="Memory, at most" value={f.bytes(facts.memory_bytes_estimate)} /> : null}
				</dl>
			) : null}
			{facts?.tokenizer_check && facts.tokenizer_check.likeness !== 'same' ? (
				<p class="warning">
					<strong>Tokenizers:</strong> {facts.tokenizer_check.means}
				</p>
			) : null}
		</div>
	);
}

const millions = (n: number): string => (n >= 1e6 ? `${f.fixed(n / 1e6, n >= 1e8 ? 0 : 1)} M parameters` : `${f.integer(n)} parameters`);

const Fact = ({ name, value }: { name: string; value: string }) => (
	<div>
		<dt>{name}</dt>
		<dd>{value}</dd>
	</div>
);
