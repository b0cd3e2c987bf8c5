// SPDX-License-Identifier: Apache-2.0
// How quick the dashboard is: what it loads, the list with ten thousand jobs, fifty jobs that talk ten times a second.
//
//   node bench/web.mjs [BUILD_DIR]      prints a table; exit status 1 when a limit is missed
//
// Frames are counted in Chromium's own trace (DrawFrame), memory is the tab's own (JavaScript heap, and the process's private memory).
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, mkdirSync, writeFileSync, readdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { chromium } from '../web/node_modules/playwright-core/index.mjs';

const ROOT = join(dirname(fileURLToPath(import.meta.url)), '..');
const build = resolve(process.argv[2] ?? join(ROOT, 'build'));
const JOBS = Number(process.env.JOBS ?? 10_000);
const RUNNING = Number(process.env.RUNNING ?? 50);
const SECONDS = Number(process.env.SECONDS ?? 10);
const rows = [];
let missed = 0;

function row(what, value, unit, limit, good) {
	rows.push([what, `${value} ${unit}`.trim(), limit, good ? 'yes' : 'NO']);
	if (!good) missed++;
}

async function start(folder, slots, worker) {
	const p = spawn(join(build, 'server/retortd'), ['--data', join(folder, 'data'), '--listen', '127.0.0.1:0', '--models-root', folder, '--slots', String(slots), '--worker', worker], {
		stdio: ['ignore', 'pipe', 'ignore'],
	});
	const url = await new Promise((done, fail) => {
		p.stdout.on('data', (d) => /listening on (\S+)/.test(d) && done(/listening on (\S+)/.exec(d)[1]));
		p.on('exit', (c) => fail(new Error(`retortd ended with ${c}`)));
	});
	return { url, stop: () => new Promise((done) => (p.on('exit', done), p.kill('SIGTERM'))) };
}

function place() {
	const folder = mkdtempSync(join(tmpdir(), 'retort-bench-web.'));
	for (const name of ['teacher', 'student']) {
		mkdirSync(join(folder, name));
		writeFileSync(join(folder, name, 'config.json'), '{}\n');
	}
	writeFileSync(join(folder, 'sleeper'), '#!/bin/sh\nexec sleep 100000\n', { mode: 0o755 });
	writeFileSync(join(folder, 'data.jsonl'), '{"text":"x","label":"y"}\n');
	return folder;
}

async function submit(url, folder, n) {
	let next = 0;
	const one = async () => {
		while (next < n) {
			const i = next++;
			const body = { name: `job number ${i}`, teacher_id: `${folder}/teacher`, student_id: `${folder}/student`, dataset_id: `${folder}/data.jsonl`, tags: [`t${i % 10}`, 'bench'], epochs: 20, seed: i };
			const r = await fetch(`${url}/v1/jobs`, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body) });
			if (r.status !== 201) throw new Error(await r.text());
			await r.arrayBuffer();
		}
	};
	await Promise.all(Array.from({ length: 32 }, one));
}

const browser = () =>
	chromium.launch({
		executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
		args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync', '--enable-precise-memory-info', '--js-flags=--expose-gc'],
	});

const median = (x) => [...x].sort((a, b) => a - b)[Math.floor(x.length / 2)];

async function firstLoad(url) {
	const b = await browser();
	const page = await b.newPage();
	let script = 0;
	let all = 0;
	const cdp = await page.context().newCDPSession(page);
	const types = new Map();
	await cdp.send('Network.enable');
	cdp.on('Network.responseReceived', (e) => types.set(e.requestId, e.response.url));
	cdp.on('Network.loadingFinished', (e) => {
		const of = types.get(e.requestId) ?? '';
		if (of.includes('/v1/')) return;
		all += e.encodedDataLength;
		if (of.endsWith('.js')) script += e.encodedDataLength;
	});
	await page.goto(url);
	await page.waitForTimeout(1000);
	await b.close();
	const dist = join(build, 'server/web_files.c.p/dist/assets');
	const { brotliCompressSync } = await import('node:zlib');
	const everything = readdirSync(dist).filter((f) => f.endsWith('.js')).reduce((sum, f) => sum + brotliCompressSync(readFileSync(join(dist, f))).length, 0);
	row('JavaScript of the first load, compressed', (script / 1000).toFixed(1), 'kB', 'below 120 kB', script < 120_000);
	row('JavaScript of all pages together', (everything / 1000).toFixed(1), 'kB', 'below 120 kB', everything < 120_000);
	row('first load with style and fonts', (all / 1000).toFixed(1), 'kB', '', true);
}

async function manyJobs(url) {
	const b = await browser();
	const usable = [];
	const search = [];
	const older = [];
	for (let i = 0; i < 5; i++) {
		const page = await (await b.newContext({ viewport: { width: 1440, height: 900 } })).newPage();
		let at = performance.now();
		await page.goto(url, { waitUntil: 'commit' });
		// usable: rows are there, and the search box takes a key
		await page.locator('table.jobs tbody tr').nth(49).waitFor();
		await page.getByRole('searchbox').press('a');
		usable.push(performance.now() - at);
		await page.getByRole('searchbox').fill('');
		await page.waitForTimeout(600);
		at = performance.now();
		await page.getByRole('link', { name: 'Older →' }).click();
		await page.waitForURL(/after=/);
		await page.locator('table.jobs td.job > a', { hasText: new RegExp(`^job number ${JOBS - 1 - 50 - 25}$`) }).waitFor();
		older.push(performance.now() - at);
		at = performance.now();
		await page.getByRole('searchbox').fill('number 7777');
		await page.waitForFunction(() => document.querySelector('table.jobs td.job > a')?.textContent === 'job number 7777');
		search.push(performance.now() - at);
		await page.context().close();
	}
	await b.close();
	row(`${JOBS} jobs: list usable`, median(usable).toFixed(0), 'ms', 'below 1000 ms', median(usable) < 1000);
	row(`${JOBS} jobs: next page`, median(older).toFixed(0), 'ms', '', true);
	row(`${JOBS} jobs: search shown (200 ms of it wait for the next key)`, median(search).toFixed(0), 'ms', '', true);
}

async function noisy(url) {
	const b = await browser();
	const page = await (await b.newContext({ viewport: { width: 1440, height: 900 } })).newPage();
	await page.goto(url);
	await page.locator('table.jobs tbody tr').nth(RUNNING - 1).waitFor();
	await page.waitForTimeout(2000);
	// Something that wants a frame every time, as a person who scrolls or an animation does: what frames are missing is our doing.
	await page.evaluate(() => {
		window.frames_ = [];
		const tick = (t) => (window.frames_.push(t), requestAnimationFrame(tick));
		requestAnimationFrame(tick);
	});
	const before = await (await fetch(`${url}/v1/events?order=desc&limit=1`)).json();
	await b.startTracing(page, { categories: ['devtools.timeline', 'disabled-by-default-devtools.timeline.frame'], screenshots: false });
	const t0 = performance.now();
	await page.waitForTimeout(SECONDS * 1000);
	const seconds = (performance.now() - t0) / 1000;
	const trace = JSON.parse((await b.stopTracing()).toString());
	const after = await (await fetch(`${url}/v1/events?order=desc&limit=1`)).json();
	const drawn = trace.traceEvents.filter((e) => e.name === 'DrawFrame').map((e) => e.ts).sort((a, c) => a - c);
	const gaps = drawn.slice(1).map((t, i) => (t - drawn[i]) / 1000);
	const span = (drawn[drawn.length - 1] - drawn[0]) / 1e6;
	const fps = (drawn.length - 1) / span;
	const long = trace.traceEvents.filter((e) => e.name === 'RunTask' && e.dur > 50_000).length;
	await page.evaluate(() => window.gc?.());
	const heap = (await page.evaluate(() => performance.memory.usedJSHeapSize)) / 1e6;
	let own = 0; // the tab's process: private memory
	const cdp = await b.newBrowserCDPSession();
	const { processInfo } = await cdp.send('SystemInfo.getProcessInfo');
	for (const p of processInfo.filter((x) => x.type === 'renderer')) {
		const rollup = readFileSync(`/proc/${p.id}/smaps_rollup`, 'utf8');
		const of = (name) => Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(rollup)?.[1] ?? 0) / 1000;
		own = Math.max(own, of('Private_Dirty') + of('Private_Clean'));
	}
	await b.close();
	const rate = (after.data[0].seq - before.data[0].seq) / seconds;
	row(`${RUNNING} running jobs: events a second`, rate.toFixed(0), '', `about ${RUNNING * 10}`, rate > RUNNING * 8);
	row(`${RUNNING} running jobs: frames a second (trace)`, fps.toFixed(1), '', 'at least 50', fps >= 50);
	row(`${RUNNING} running jobs: longest gap between frames`, Math.max(...gaps).toFixed(0), 'ms', '', true);
	row(`${RUNNING} running jobs: tasks over 50 ms in ${SECONDS} s`, long, '', '', true);
	row(`${RUNNING} running jobs: JavaScript heap`, heap.toFixed(1), 'MB', '', true);
	row(`${RUNNING} running jobs: private memory of the tab's process`, own.toFixed(0), 'MB', 'below 150 MB', own < 150);
}

const parts = process.env.ONLY?.split(',') ?? ['load', 'many', 'noisy'];
for (const part of parts) {
	const folder = place();
	const server = await start(folder, part === 'noisy' ? RUNNING : 1, part === 'noisy' ? join(ROOT, 'bench/noisy_worker.py') : join(folder, 'sleeper'));
	try {
		if (part === 'load') await firstLoad(server.url);
		if (part === 'many') {
			await submit(server.url, folder, JOBS);
			await manyJobs(server.url);
		}
		if (part === 'noisy') {
			await submit(server.url, folder, RUNNING);
			await noisy(server.url);
		}
	} finally {
		await server.stop();
		rmSync(folder, { recursive: true, force: true });
	}
}
console.log('| what | measured | limit | met |\n| --- | --- | --- | --- |');
for (const r of rows) console.log(`| ${r.join(' | ')} |`);
process.exit(missed ? 1 : 0);
