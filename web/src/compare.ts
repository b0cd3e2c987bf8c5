// SPDX-License-Identifier: Apache-2.0
// What tells jobs apart, and where values lie on an axis.
import type { Job } from './api';

export type Value = string | number | boolean | null;

/** What a job is, flat: "resources.threads". Names, tags and priorities do not change what comes out. */
export function hyperparameters(job: Job): Record<string, Value> {
	const out: Record<string, Value> = {};
	const walk = (o: Record<string, unknown>, prefix: string) => {
		for (const [name, v] of Object.entries(o)) {
			if (!prefix && (name === 'name' || name === 'tags' || name === 'priority')) continue;
			if (v !== null && typeof v === 'object' && !Array.isArray(v)) walk(v as Record<string, unknown>, `${prefix}${name}.`);
			else out[prefix + name] = Array.isArray(v) ? v.join(', ') : ((v as Value | undefined) ?? null);
		}
	};
	walk(job.spec as Record<string, unknown>, '');
	return out;
}

/** The names whose values are not the same in all jobs, in the order of the spec. */
export function differing(jobs: Job[]): string[] {
	const all = jobs.map(hyperparameters);
	const names = [...new Set(all.flatMap((h) => Object.keys(h)))];
	return names.filter((n) => new Set(all.map((h) => JSON.stringify(h[n] ?? null))).size > 1);
}

/** Numbers by size, words by letters, what is not known last, whichever way round. */
export function order(a: Value, b: Value, descending: boolean): number {
	if (a === null || b === null) return a === b ? 0 : a === null ? 1 : -1;
	const sign = descending ? -1 : 1;
	if (typeof a === 'number' && typeof b === 'number') return sign * (a - b);
	return sign * String(a).localeCompare(String(b), 'en', { numeric: true });
}

export interface Axis {
	name: string;
	log: boolean;
	/** Where a value lies, 0 at the bottom to 1 at the top; null: it has no place. */
	at: (v: Value) => number | null;
	ticks: { at: number; value: Value }[];
}

/** Numbers lie by their size, by their logarithm where they span more than a factor of 20; words lie evenly. */
export function axisOf(name: string, values: Value[]): Axis {
	const known = [...new Set(values.filter((v) => v !== null))];
	if (known.length > 0 && known.every((v): v is number => typeof v === 'number')) {
		const low = Math.min(...known);
		const high = Math.max(...known);
		const log = low > 0 && high / low > 20;
		const scale = (v: number) => (log ? Math.log(v) : v);
		const at = (v: Value) => (typeof v !== 'number' ? null : high === low ? 0.5 : (scale(v) - scale(low)) / (scale(high) - scale(low)));
		const few = known.length <= 5 ? known.sort((a, b) => a - b) : [low, high];
		return { name, log, at, ticks: few.map((v) => ({ at: at(v)!, value: v })) };
	}
	const words = known.map(String).sort((a, b) => a.localeCompare(b, 'en', { numeric: true }));
	const at = (v: Value) => {
		const i = v === null ? -1 : words.indexOf(String(v));
		return i < 0 ? null : words.length === 1 ? 0.5 : i / (words.length - 1);
	};
	return { name, log: false, at, ticks: words.map((w) => ({ at: at(w)!, value: w })) };
}
