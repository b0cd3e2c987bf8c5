// SPDX-License-Identifier: Apache-2.0
// How well each class is told from the others, after any evaluation that is kept.
import { useSignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import { ApiError, get, isAbort, isFinal, words, type Job } from '../api';
import type { JobData } from '../data';
import * as f from '../format';
import { Scroll } from '../ui/parts';

export interface ClassScore {
	label: string;
	count: number;
	predicted: number;
	correct: number;
	precision: number | null;
	recall: number | null;
	f1: number | null;
}
export interface Evaluation {
	epoch: number;
	attempt: number;
	rows: number;
	accuracy: number | null;
	macro_f1: number | null;
	agreement: number | null;
	classes_total: number;
	classes: ClassScore[];
	confused: { label: string; predicted: string; count: number }[];
	created_at: string;
}

type Order = 'f1' | 'precision' | 'recall' | 'count' | 'label';
const ORDERS: Record<Order, { name: string; by: (a: ClassScore, b: ClassScore) => number }> = {
	f1: { name: 'F1', by: (a, b) => (a.f1 ?? -1) - (b.f1 ?? -1) },
	precision: { name: 'Precision', by: (a, b) => (a.precision ?? -1) - (b.precision ?? -1) },
	recall: { name: 'Recall', by: (a, b) => (a.recall ?? -1) - (b.recall ?? -1) },
	count: { name: 'Count', by: (a, b) => b.count - a.count },
	label: { name: 'Label', by: (a, b) => a.label.localeCompare(b.label) },
};

export function Classes({ job, d }: { job: Job; d: JobData }) {
	const which = useSignal('best');
	const data = useSignal<Evaluation | null>(null);
	const failure = useSignal('');
	const order = useSignal<Order>('f1');
	const search = useSignal('');
	const seen = d.classes.value;

	useEffect(() => {
		const abort = new AbortController();
		get<Evaluation>(`/v1/jobs/${job.id}/evaluations/${which.value}`, abort.signal).then(
			(e) => {
				data.value = e;
				failure.value = '';
			},
			(e) => {
				if (isAbort(e)) return;
				data.value = null;
				failure.value = e instanceof ApiError && e.status === 404 ? '' : words(e);
			},
		);
		return () => abort.abort();
	}, [job.id, which.value, seen]);

	const e = data.value;
	const chooser = (
		<label class="field-inline">
			Evaluation
			<select value={which.value} onChange={(ev) => (which.value = ev.currentTarget.value)}>
				<option value="best">best epoch</option>
				<option value="last">last epoch</option>
				{d.epochs.value.map((x) => (
					<option key={x.epoch} value={String(x.epoch)}>
						epoch {x.epoch}
					</option>
				))}
			</select>
		</label>
	);
	if (!e) {
		return (
			<section>
				{chooser}
				<p class="nothing">{failure.value || (isFinal(job.status) ? 'There is no evaluation by class of this epoch.' : 'The first evaluation by class comes with the first epoch.')}</p>
			</section>
		);
	}
	const wanted = search.value.toLowerCase();
	const rows = e.classes.filter((c) => c.label.toLowerCase().includes(wanted)).sort(ORDERS[order.value].by);
	const worst = e.confused[0]?.count ?? 1;
	const sort = (o: Order, num = true) => (
		<th class={num ? 'num' : ''} aria-sort={order.value === o ? (o === 'count' ? 'descending' : 'ascending') : 'none'}>
			<button type="button" class="sort" onClick={() => (order.value = o)}>
				{ORDERS[o].name}
			</button>
		</th>
	);
	return (
		<section>
			<div class="chart-tools">
				{chooser}
				<dl class="readouts is-small">
					<div>
						<dt>Epoch</dt>
						<dd>{e.epoch}</dd>
					</div>
					<div>
						<dt>Accuracy</dt>
						<dd>{f.percent(e.accuracy, 2)}</dd>
					</div>
					<div>
						<dt>Macro F1</dt>
						<dd>{f.fixed(e.macro_f1, 4)}</dd>
					</div>
					{job.spec.teacher_id ? (
						<div class="of-teacher">
							<dt>Agrees with teacher</dt>
							<dd>{f.percent(e.agreement, 2)}</dd>
						</div>
					) : null}
					<div>
						<dt>Texts</dt>
						<dd>{f.integer(e.rows)}</dd>
					</div>
				</dl>
			</div>
			<div class="columns is-uneven">
				<section>
					<div class="headline">
						<h2>{f.plural(e.classes_total, 'class', 'classes')}, worst first</h2>
						<label class="field-inline">
							<span class="hidden">Find a class</span>
							<input type="search" placeholder="find a class" value={search.value} onInput={(ev) => (search.value = ev.currentTarget.value)} />
						</label>
					</div>
					{e.classes.length < e.classes_total ? <p>The {e.classes.length} with most texts are kept.</p> : null}
					<Scroll label="Scores by class">
						<table class="figures classes">
							<thead>
								<tr>
									{sort('label', false)}
									{sort('precision')}
									{sort('recall')}
									{sort('f1')}
									<th aria-hidden="true"></th>
									{sort('count')}
								</tr>
							</thead>
							<tbody>
								{rows.map((c) => (
									<tr key={c.label}>
										<th scope="row">{c.label}</th>
										<td class="num">{f.fixed(c.precision, 3)}</td>
										<td class="num">{f.fixed(c.recall, 3)}</td>
										<td class="num">
											<strong>{f.fixed(c.f1, 3)}</strong>
										</td>
										<td class="spark" aria-hidden="true">
											<svg viewBox="0 0 100 10" preserveAspectRatio="none">
												<path d="M0 5H100" class="track" />
												<path d={`M0 5H${100 * (c.f1 ?? 0)}`} class="run" />
											</svg>
										</td>
										<td class="num">{f.integer(c.count)}</td>
									</tr>
								))}
							</tbody>
						</table>
					</Scroll>
				</section>
				<section>
					<h2>Most confused</h2>
					{e.confused.length === 0 ? <p class="nothing">Nothing was taken for something else.</p> : null}
					<ol class="confused">
						{e.confused.map((c) => (
							<li key={c.label + c.predicted}>
								<span class="pair">
									<b>{c.label}</b> taken for <b>{c.predicted}</b>
								</span>
								<span class="count figure">{f.integer(c.count)}×</span>
								<svg viewBox="0 0 100 4" preserveAspectRatio="none" aria-hidden="true">
									<path d={`M0 2H${(100 * c.count) / worst}`} class="run" />
								</svg>
							</li>
						))}
					</ol>
				</section>
			</div>
		</section>
	);
}
