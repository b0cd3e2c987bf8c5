// SPDX-License-Identifier: Apache-2.0
// A real retortd in a folder of its own, and a browser that notices what a page must not do.
import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import axe from 'axe-core';
import { chromium, type Browser, type BrowserContext, type Page } from 'playwright-core';

export const ROOT = join(dirname(fileURLToPath(import.meta.url)), '../..');
const BUILD = process.env.BUILD_DIR ?? join(ROOT, 'build');
export const FACTOR = Number(process.env.TEST_FACTOR ?? '1');
export const CHROMIUM = process.env.CHROMIUM ?? '/usr/bin/chromium';
export const REAL_WORKER = join(BUILD, 'worker/retort-worker');
export const FAKE_WORKER = join(ROOT, 'tests/integration/fake_worker.py');

/** Why these tests cannot run here; '' when they can. */
export function missing(): string {
	if (!existsSync(CHROMIUM)) return `no Chromium at ${CHROMIUM} (scripts/setup --test installs it)`;
	if (!existsSync(join(BUILD, 'server/retortd'))) return 'retortd is not built';
	if (!existsSync(REAL_WORKER)) return 'retort-worker is not built';
	return '';
}

export interface Spec {
	[name: string]: unknown;
}
interface JobAnswer {
	id: string;
	status: string;
	progress: { best: { accuracy: number; epoch: number } | null };
}

export class Server {
	readonly folder = mkdtempSync(join(process.env.TMPDIR ?? tmpdir(), 'retort-browser.'));
	readonly models = join(this.folder, 'models');
	url = '';
	private process: ChildProcess | null = null;
	private listen = '127.0.0.1:0';

	constructor(
		readonly worker: string,
		readonly slots = 1,
	) {
		for (const name of ['teacher', 'student']) {
			mkdirSync(join(this.models, name), { recursive: true });
			writeFileSync(join(this.models, name, 'config.json'), '{}\n');
		}
		writeFileSync(join(this.models, 'data.jsonl'), '{"text":"hello","label":"greet"}\n');
	}

	/** A small part of the example's data, so that a job takes seconds. */
	smallData(train: number, validation: number): string {
		const to = join(this.models, 'small');
		mkdirSync(to, { recursive: true });
		for (const [split, n] of [['train', train], ['validation', validation]] as const) {
			const lines = readFileSync(join(ROOT, `examples/intents/${split}.jsonl`), 'utf8').trim().split('\n');
			const step = Math.floor(lines.length / n);
			writeFileSync(join(to, `${split}.jsonl`), lines.filter((_, i) => i % step === 0).slice(0, n).join('\n') + '\n');
		}
		return to;
	}

	async start(): Promise<void> {
		const log = openSync(join(this.folder, 'retortd.log'), 'a');
		const p = spawn(
			join(BUILD, 'server/retortd'),
			['--data', join(this.folder, 'data'), '--listen', this.listen, '--models-root', this.models, '--models-root', join(ROOT, 'examples'), '--worker', this.worker, '--slots', String(this.slots)],
			{ stdio: ['ignore', 'pipe', log] },
		);
		this.process = p;
		this.url = await new Promise<string>((resolve, reject) => {
			let text = '';
			p.stdout!.on('data', (chunk: Buffer) => {
				text += chunk.toString();
				const found = /listening on (http:\S+)/.exec(text);
				if (found) resolve(found[1]!);
			});
			p.on('exit', (code) => reject(new Error(`retortd ended with ${code}: ${readFileSync(join(this.folder, 'retortd.log'), 'utf8')}`)));
		});
		this.listen = this.url.replace('http://', ''); // the same port when it comes back
	}

	/** kill -9, as a crash would. */
	async kill(): Promise<void> {
		const p = this.process!;
		const gone = new Promise((resolve) => p.on('exit', resolve));
		p.kill('SIGKILL');
		await gone;
	}

	async stop(): Promise<void> {
		const p = this.process;
		if (p && p.exitCode === null && p.signalCode === null) {
			const gone = new Promise((resolve) => p.on('exit', resolve));
			p.kill('SIGTERM');
			await gone;
		}
		if (!process.env.KEEP) rmSync(this.folder, { recursive: true, force: true });
	}

	async get<T>(path: string): Promise<T> {
		const r = await fetch(this.url + path);
		if (!r.ok) throw new Error(`${path}: ${r.status} ${await r.text()}`);
		return (await r.json()) as T;
	}

	job = (id: string): Promise<JobAnswer> => this.get<JobAnswer>(`/v1/jobs/${id}`);

	async submit(spec: Spec): Promise<string> {
		const r = await fetch(`${this.url}/v1/jobs`, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(spec) });
		const body = (await r.json()) as { id: string };
		if (r.status !== 201) throw new Error(JSON.stringify(body));
		return body.id;
	}

	/** Until the job has ended; it must have gone well. */
	async finish(id: string): Promise<void> {
		const r = await fetch(`${this.url}/v1/jobs/${id}/events`, { headers: { Accept: 'text/event-stream' } });
		await r.text();
		const job = await this.job(id);
		if (job.status !== 'succeeded') throw new Error(JSON.stringify(job));
	}

	/** What the fake worker takes. */
	fake = (name: string, more: Spec = {}): Spec => ({
		name,
		teacher_id: join(this.models, 'teacher'),
		student_id: join(this.models, 'student'),
		dataset_id: join(this.models, 'data.jsonl'),
		epochs: 2,
		...more,
	});
}

/** Pages that keep a record of what they did wrong. */
export class Watch {
	private browser: Browser | null = null;
	readonly wrong: string[] = [];
	expected: RegExp[] = [];

	async start(): Promise<void> {
		this.browser = await chromium.launch({
			executablePath: CHROMIUM,
			args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
		});
	}

	async open(url: string, options: Parameters<Browser['newContext']>[0] = {}): Promise<Page> {
		const context: BrowserContext = await this.browser!.newContext({ viewport: { width: 1280, height: 900 }, reducedMotion: 'reduce', ...options });
		await context.addInitScript(() => document.addEventListener('securitypolicyviolation', (e) => console.error(`policy: ${e.violatedDirective} ${e.blockedURI}`)));
		const page = await context.newPage();
		page.setDefaultTimeout(20_000 * FACTOR);
		const host = new URL(url).host;
		const note = (text: string) => {
			if (!this.expected.some((e) => e.test(text))) this.wrong.push(text);
		};
		page.on('console', (m) => (m.type() === 'error' || m.type() === 'warning') && note(`console: ${m.text()} ${m.location().url}`));
		page.on('pageerror', (e) => note(`error: ${e.stack ?? e.message}`));
		page.on('request', (r) => {
			const to = new URL(r.url());
			if (to.protocol !== 'data:' && to.protocol !== 'blob:' && to.host !== host) note(`request to another host: ${r.url()}`);
		});
		await page.goto(url);
		return page;
	}

	stop = async (): Promise<void> => {
		await this.browser?.close();
	};
}

/** What axe-core finds against WCAG 2.2 A and AA, as lines. */
export async function axeFinds(page: Page): Promise<string[]> {
	await page.evaluate(axe.source);
	return page.evaluate(async () => {
		const run = (window as unknown as { axe: { run: (c: Document, o: object) => Promise<{ violations: { id: string; help: string; nodes: { target: unknown; failureSummary: string }[] }[] }> } }).axe.run;
		const r = await run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] });
		return r.violations.flatMap((v) => v.nodes.map((n) => `${v.id}: ${v.help}: ${JSON.stringify(n.target)} ${n.failureSummary}`));
	});
}
