// SPDX-License-Identifier: Apache-2.0
// Numbers, times and names as people read them. What is not known is a dash, never 0.
import type { Job } from './api';

export const NONE = '–';
const known = (x: number | null | undefined): x is number => x !== null && x !== undefined && Number.isFinite(x);

export const fixed = (x: number | null | undefined, digits: number): string => (known(x) ? x.toFixed(digits).replace('-', '−') : NONE);

/** 0.9433 → "94.33 %" with a no-break space. */
export const percent = (x: number | null | undefined, digits = 1): string => (known(x) ? `${fixed(x * 100, digits)}\u00a0%` : NONE);

/** A difference of two shares in percentage points, with its sign. */
export function points(x: number | null | undefined): string {
	if (!known(x)) return NONE;
	const text = fixed(x * 100, 1);
	return `${x > 0 && Number(text) !== 0 ? '+' : ''}${text}\u00a0pp`;
}

/** A value that may be of any size: 4 significant digits, exponent where it helps. */
export function value(x: number | null | undefined): string {
	if (!known(x)) return NONE;
	const size = Math.abs(x);
	if (x === 0 || Number.isInteger(x)) return String(x).replace('-', '−');
	if (size < 1e-3 || size >= 1e6) return x.toExponential(size < 1e-3 ? 2 : 3).replace(/\.?0+e/, 'e').replace(/-/g, '−').replace('e+', 'e');
	return String(Number(x.toPrecision(4))).replace('-', '−');
}

export const integer = (x: number | null | undefined): string => (known(x) ? Math.round(x).toLocaleString('en-US') : NONE);

export function bytes(x: number | null | undefined): string {
	if (!known(x)) return NONE;
	const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
	let i = 0;
	while (x >= 1024 && i < units.length - 1) {
		x /= 1024;
		i++;
	}
	return `${i === 0 || x >= 100 ? Math.round(x) : x.toPrecision(3)}\u00a0${units[i]}`;
}

/** Seconds as the two largest units: "42 s", "3 min 05 s", "2 h 10 min", "4 d 3 h". */
export function duration(s: number | null | undefined): string {
	if (!known(s) || s < 0) return NONE;
	const two = (n: number) => String(n).padStart(2, '0');
	if (s < 10) return `${fixed(s, 1)}\u00a0s`;
	s = Math.round(s);
	if (s < 60) return `${s}\u00a0s`;
	if (s < 3600) return `${Math.floor(s / 60)}\u00a0min ${two(s % 60)}\u00a0s`;
	if (s < 86400) return `${Math.floor(s / 3600)}\u00a0h ${two(Math.floor((s % 3600) / 60))}\u00a0min`;
	return `${Math.floor(s / 86400)}\u00a0d ${Math.floor((s % 86400) / 3600)}\u00a0h`;
}

export function ago(at: string, now: number): string {
	const s = (now - Date.parse(at)) / 1000;
	if (!Number.isFinite(s)) return NONE;
	if (s < 5) return 'just now';
	if (s < 60) return `${Math.floor(s)}\u00a0s ago`;
	if (s < 3600) return `${Math.floor(s / 60)}\u00a0min ago`;
	if (s < 86400) return `${Math.floor(s / 3600)}\u00a0h ago`;
	if (s < 86400 * 60) return `${Math.floor(s / 86400)}\u00a0d ago`;
	return at.slice(0, 10);
}

/** "2026-11-24 03:43:53.123 UTC" */
export const exact = (at: string): string => at.replace('T', ' ').replace('Z', ' UTC');
/** "03:43:53" in the reader's time zone. */
export const clock = (at: string): string => new Date(at).toLocaleTimeString('en-GB');

/** The last part of a path; ids of jobs are shortened at their random end. */
export function short(ref: string | null | undefined): string {
	if (!ref) return NONE;
	if (ref.startsWith('job_')) return shortId(ref);
	const parts = ref.split('/').filter(Boolean);
	return parts[parts.length - 1] ?? ref;
}
export const shortId = (id: string): string => `${id.slice(0, 4)}…${id.slice(-6)}`;

export const title = (job: Pick<Job, 'name' | 'id' | 'spec'>): string => job.name || `${short(job.spec.student_id)} ${job.id.slice(-6)}`;

export const plural = (n: number, one: string, many = `${one}s`): string => `${integer(n)} ${n === 1 ? one : many}`;
