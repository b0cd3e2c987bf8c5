// SPDX-License-Identifier: Apache-2.0
// The HTTP interface: its types, which are generated from api/openapi.yaml, and one way to call it.
import type { components } from './gen/api';

type Schemas = components['schemas'];
export type Job = Schemas['Job'];
export type JobStatus = Schemas['JobStatus'];
export type JobSpec = Schemas['JobSpec'];
export type Epoch = Schemas['Epoch'];
export type Checkpoint = Schemas['Checkpoint'];
export type Validation = Schemas['Validation'];
export type FieldError = Schemas['FieldError'];
export type Problem = Schemas['Problem'];

/** An event as the stream sends it. Types that this page does not know yet arrive too, so data stays open. */
export interface Event {
	id: string;
	seq: number;
	job_id: string;
	run_id: string | null;
	attempt: number;
	created_at: string;
	type: string;
	level: 'info' | 'warn' | 'error';
	message: string;
	data: Record<string, unknown>;
}

export interface List<T> {
	data: T[];
	first_id: string | null;
	last_id: string | null;
	has_more: boolean;
}

export const STATUSES: JobStatus[] = ['running', 'queued', 'succeeded', 'failed', 'cancelled', 'paused', 'pausing', 'cancelling', 'validating'];
export const isFinal = (s: JobStatus): boolean => s === 'succeeded' || s === 'failed' || s === 'cancelled';

/** What the server said no with, or that it said nothing. */
export class ApiError extends Error {
	constructor(
		readonly status: number, // 0: no answer
		readonly problem: Problem | null,
		message: string,
	) {
		super(message);
	}
}

export async function call<T>(method: string, path: string, options: { body?: unknown; signal?: AbortSignal } = {}): Promise<T> {
	let response: Response;
	try {
		response = await fetch(path, {
			method,
			headers: options.body === undefined ? {} : { 'Content-Type': 'application/json' },
			body: options.body === undefined ? undefined : JSON.stringify(options.body),
			signal: options.signal,
		});
	} catch (e) {
		if (e instanceof DOMException && e.name === 'AbortError') throw e;
		throw new ApiError(0, null, 'the server does not answer');
	}
	if (response.status === 204) return undefined as T;
	const type = response.headers.get('Content-Type') ?? '';
	if (!response.ok) {
		const problem = type.includes('json') ? ((await response.json()) as Problem) : null;
		throw new ApiError(response.status, problem, problem?.detail ?? `the server answered ${response.status}`);
	}
	return (type.includes('json') ? response.json() : response.text()) as Promise<T>;
}

export const get = <T>(path: string, signal?: AbortSignal): Promise<T> => call<T>('GET', path, { signal });

export const isAbort = (e: unknown): boolean => e instanceof DOMException && e.name === 'AbortError';
export const words = (e: unknown): string => (e instanceof Error ? e.message : String(e));
