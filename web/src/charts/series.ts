// SPDX-License-Identifier: Apache-2.0
// From steps and epochs to the columns that a chart wants: one x axis, in epochs, for both.
import type { Epoch } from '../api';

/** Some training steps, thinned by the server. */
export interface Step {
	event_seq: number;
	attempt: number;
	created_at: string;
	step: number;
	total_steps: number;
	epoch: number;
	loss: number | null;
	ce_loss?: number | null;
	kd_loss?: number | null;
	learning_rate: number | null;
	samples_per_s?: number | null;
	grad_norm?: number | null;
}

export type Column = (number | null | undefined)[];
export interface Line {
	x: number[];
	y: Column;
}

/** Where a step lies on the axis of epochs. */
export const epochAt = (step: number, totalSteps: number, totalEpochs: number): number => (totalSteps > 0 ? (step / totalSteps) * totalEpochs : 0);

export function stepLine(steps: Step[], totalEpochs: number, of: (s: Step) => number | null | undefined): Line {
	return { x: steps.map((s) => epochAt(s.step, s.total_steps, totalEpochs)), y: steps.map((s) => of(s) ?? null) };
}

export function epochLine(epochs: Epoch[], of: (e: Epoch) => number | null | undefined): Line {
	return { x: epochs.map((e) => e.epoch), y: epochs.map((e) => of(e) ?? null) };
}

/** Lines with x of their own on one common x. undefined: the line has no point there (it is drawn through); null: a gap. */
export function join(lines: Line[]): { x: number[]; columns: Column[] } {
	const x = [...new Set(lines.flatMap((l) => l.x))].sort((a, b) => a - b);
	const at = new Map(x.map((v, i) => [v, i]));
	const columns = lines.map((l) => {
		const column: Column = new Array<undefined>(x.length).fill(undefined);
		l.x.forEach((v, i) => (column[at.get(v)!] = l.y[i]));
		return column;
	});
	return { x, columns };
}

/** A noisy line's course: each value becomes the mean of itself and of `reach` values on each side, so it does not lag. */
export function smooth(y: Column, reach: number): Column {
	return y.map((v, i) => {
		if (typeof v !== 'number') return v;
		const near = y.slice(Math.max(0, i - reach), i + reach + 1).filter((x): x is number => typeof x === 'number');
		return near.reduce((a, b) => a + b, 0) / near.length;
	});
}

/** The newest attempt counts: of steps that several attempts have made, those of the last. */
export function withoutSuperseded(steps: Step[]): Step[] {
	const out: Step[] = [];
	for (const s of [...steps].sort((a, b) => a.event_seq - b.event_seq)) {
		while (out.length > 0 && out[out.length - 1]!.step >= s.step) out.pop();
		out.push(s);
	}
	return out;
}

/** At most n of the items, evenly, the last always among them. */
export function thin<T>(items: T[], n: number): T[] {
	if (items.length <= n) return items;
	const stride = items.length / n;
	return Array.from({ length: n }, (_, i) => items[Math.min(items.length - 1, Math.ceil((i + 1) * stride) - 1)]!);
}
