// SPDX-License-Identifier: Apache-2.0
// The one event stream of the page (a browser opens six connections to a host, so there is one for everything). It knows the
// number of the last event it saw, so that after a break, or when other jobs are to be followed, it goes on from there.
import { batch, signal } from '@preact/signals';
import type { Event } from './api';
import { SseReader } from './sse';

export type Link =
	| { state: 'connecting' }
	| { state: 'live' }
	| { state: 'lost'; since: number; next: number }; // times in ms: when it broke, when it is tried again

/** How the stream is now. */
export const link = signal<Link>({ state: 'connecting' });
/** Goes up when what is on the page may have holes: read it again. */
export const resync = signal(0);

const SILENCE_MS = 40_000; // the server says something every 15 s
const FLUSH_MS = 150; // events are handed on in lots: a page is not drawn 500 times a second
const RETRY_MS = [500, 1000, 2000, 4000, 5000];

type Listener = (events: Event[]) => void;
const listeners = new Set<Listener>();
let lastId: string | null = null;
let followed: string | null = null; // ids, comma-separated; '' is all jobs; null: nothing yet
let running: AbortController | null = null;
let failures = 0;
let lostSince = 0;
let retryTimer = 0;
let queue: Event[] = [];
let flushTimer = 0;

function flush(): void {
	flushTimer = 0;
	const events = queue;
	queue = [];
	if (events.length === 0) return;
	batch(() => {
		for (const listener of listeners) listener(events);
	});
}

function enqueue(event: Event): void {
	queue.push(event);
	flushTimer ||= window.setTimeout(flush, FLUSH_MS);
}

function take(frame: { id: string | null; event: string; data: string }): void {
	if (frame.event === 'reset') {
		queue = [];
		resync.value++;
		return;
	}
	if (frame.id !== null) lastId = frame.id;
	if (frame.data !== '') enqueue(JSON.parse(frame.data) as Event);
}

async function read(controller: AbortController): Promise<void> {
	const query = new URLSearchParams();
	if (followed) query.set('jobs', followed);
	const response = await fetch(`/v1/events${query.size ? `?${query}` : ''}`, {
		headers: { Accept: 'text/event-stream', ...(lastId !== null ? { 'Last-Event-ID': lastId } : {}) },
		signal: controller.signal,
		cache: 'no-store',
	});
	if (!response.ok || !response.body) throw new Error(`the stream was answered with ${response.status}`);
	const reader = response.body.getReader();
	const text = new TextDecoder();
	const sse = new SseReader();
	if (lostSince) resync.value++;
	failures = 0;
	lostSince = 0;
	link.value = { state: 'live' };
	for (;;) {
		const silent = window.setTimeout(() => void reader.cancel(), SILENCE_MS);
		const { done, value } = await reader.read().finally(() => clearTimeout(silent));
		if (done) return;
		for (const frame of sse.push(text.decode(value, { stream: true }))) take(frame);
	}
}

async function run(): Promise<void> {
	const controller = new AbortController();
	running = controller;
	try {
		await read(controller);
	} catch {
		// whatever it was, it is tried again
	}
	if (controller.signal.aborted) return;
	running = null;
	const wait = RETRY_MS[Math.min(failures++, RETRY_MS.length - 1)]!;
	lostSince ||= Date.now();
	link.value = { state: 'lost', since: lostSince, next: Date.now() + wait };
	retryTimer = window.setTimeout(run, wait);
}

/** Follows these jobs from now on; none named: all. */
export function follow(jobs: string[]): void {
	const wanted = jobs.slice(0, 64).join(',');
	if (wanted === followed) return;
	followed = wanted;
	if (!running && retryTimer && lostSince) return; // a retry is due anyway
	running?.abort();
	void run();
}

/** Does not wait for the next try. */
export function retryNow(): void {
	if (running) return;
	clearTimeout(retryTimer);
	failures = 0;
	void run();
}

export function listen(listener: Listener): () => void {
	listeners.add(listener);
	return () => listeners.delete(listener);
}

window.addEventListener('online', retryNow);
document.addEventListener('visibilitychange', () => {
	if (!document.hidden && lostSince) retryNow();
});
