// SPDX-License-Identifier: Apache-2.0
// A job's page, with jobs that really train: a small teacher, then a student that learns from it.
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { join } from 'node:path';
import type { Page } from 'playwright-core';
import { axeFinds, missing, REAL_WORKER, ROOT, Server, Watch } from './place';

const why = missing();

describe.skipIf(why)(`a job's page${why ? `: ${why}` : ''}`, () => {
	const server = new Server(REAL_WORKER, 1);
	const watch = new Watch();
	let page: Page;
	let teacher = '';
	let student = '';
	const open = async (path: string, options = {}) => (page = await watch.open(server.url + path, options));
	const tab = (name: string) => page.getByRole('navigation', { name: 'About this job' }).getByRole('link', { name });
	const model = join(ROOT, 'examples/models/student');

	beforeAll(async () => {
		await server.start();
		await watch.start();
		const common = { student_id: model, dataset_id: server.smallData(240, 80), student_init: 'random', max_length: 24, per_device_train_batch_size: 16, learning_rate: 2e-3 };
		teacher = await server.submit({ ...common, name: 'small teacher', alpha: 1, epochs: 3 });
	});
	afterAll(async () => {
		await watch.stop();
		await server.stop();
	});
	afterEach(async () => {
		await page?.context().close();
		expect(watch.wrong.splice(0)).toEqual([]);
		watch.expected = [];
	});

	it('draws epochs as they happen, without a reload', async () => {
		await open(`/jobs/${teacher}`);
		await page.evaluate(() => ((window as unknown as { loadedOnce: boolean }).loadedOnce = true));
		await page.getByRole('heading', { level: 1, name: 'small teacher' }).waitFor();
		const table = page.getByRole('table', { name: 'Every epoch' });
		for (const n of [1, 2, 3]) await expect.poll(() => table.locator('tbody tr').count(), { timeout: 120_000 }).toBeGreaterThanOrEqual(n);
		await page.locator('.ids .status', { hasText: 'succeeded' }).waitFor({ timeout: 60_000 });
		expect(await page.evaluate(() => (window as unknown as { loadedOnce?: boolean }).loadedOnce)).toBe(true);
		const job = await server.job(teacher);
		const best = `${(job.progress.best!.accuracy * 100).toFixed(2)}\u00a0%`;
		expect(await page.locator('.readouts .is-main dd').first().textContent()).toBe(best);
		expect(await table.locator('tr.is-best').count()).toBe(1);
		expect(await page.locator('.plot canvas').count()).toBe(4);
		expect(await axeFinds(page)).toEqual([]);
	});

	it('outlives the death of the server under it, and shows what happened meanwhile', async () => {
		const common = { student_id: model, dataset_id: join(server.models, 'small'), student_init: 'random', max_length: 24, per_device_train_batch_size: 16, learning_rate: 2e-3 };
		student = await server.submit({ ...common, name: 'small student', tags: ['browser'], teacher_id: teacher, alpha: 0.3, temperature: 3, epochs: 6 });
		await open(`/jobs/${student}`);
		const epochs = page.getByRole('table', { name: 'Every epoch' }).locator('tbody tr');
		await expect.poll(() => epochs.count(), { timeout: 120_000 }).toBeGreaterThanOrEqual(1);
		watch.expected = [/ERR_CONNECTION_REFUSED|ERR_INCOMPLETE_CHUNKED_ENCODING|ERR_EMPTY_RESPONSE|ERR_CONNECTION_RESET|status of 503/];
		await server.kill();
		await page.getByText('The server does not answer.').waitFor();
		expect(await page.getByRole('heading', { level: 1 }).textContent()).toBe('small student');
		expect(await axeFinds(page)).toEqual([]);
		await server.start();
		await page.getByText('The server does not answer.').waitFor({ state: 'detached' });
		await page.getByText('live', { exact: true }).waitFor();
		await page.locator('.ids .status', { hasText: 'succeeded' }).waitFor({ timeout: 120_000 });
		await expect.poll(() => epochs.count()).toBe(6);
	});

	it('shows classes, checkpoints, spec, events and log', async () => {
		await open(`/jobs/${student}`);
		await tab('Classes').click();
		const e = await server.get<{ classes: unknown[]; agreement: number; confused: { label: string; predicted: string }[] }>(`/v1/jobs/${student}/evaluations/best`);
		await expect.poll(() => page.locator('table.classes tbody tr').count()).toBe(e.classes.length);
		expect(await page.locator('.readouts.is-small .of-teacher dd').textContent()).toBe(`${(e.agreement * 100).toFixed(2)}\u00a0%`);
		if (e.confused.length > 0) expect(await page.locator('.confused li').first().textContent()).toContain(e.confused[0]!.predicted);
		await page.getByRole('button', { name: 'Label' }).click();
		const labels = await page.locator('table.classes tbody th').allTextContents();
		expect(labels).toEqual([...labels].sort((a, b) => a.localeCompare(b)));
		expect(await axeFinds(page)).toEqual([]);

		await tab('Checkpoints').click();
		await page.getByText('from_pretrained("student")').first().waitFor();
		const download = page.waitForEvent('download');
		await page.getByRole('link', { name: 'config.json' }).first().click();
		expect((await download).suggestedFilename()).toBe('config.json');
		expect(await axeFinds(page)).toEqual([]);

		await tab('Spec').click();
		await page.getByRole('row', { name: 'temperature 3 sent' }).waitFor();
		await page.getByRole('row', { name: /^seed 33 default/ }).waitFor();
		expect(await axeFinds(page)).toEqual([]);

		await tab('Events').click();
		await page.locator('.events').getByText('checkpoint.written').first().waitFor();
		await page.locator('.history').getByText('queued').waitFor();
		expect(await axeFinds(page)).toEqual([]);

		await tab('Log').click();
		await page.getByRole('log').waitFor();
		expect(await axeFinds(page)).toEqual([]);
	});

	it('zooms all curves together and back', async () => {
		await open(`/jobs/${student}`);
		const over = page.locator('.u-over').first();
		await over.waitFor();
		const box = (await over.boundingBox())!;
		await page.mouse.move(box.x + box.width * 0.3, box.y + 50);
		await page.mouse.down();
		await page.mouse.move(box.x + box.width * 0.6, box.y + 60, { steps: 5 });
		await page.mouse.up();
		const whole = page.getByRole('button', { name: 'Whole run' });
		await expect.poll(() => whole.isEnabled()).toBe(true);
		await whole.click();
		expect(await whole.isEnabled()).toBe(false);
	});

	it('is read on a phone in the dark too', async () => {
		await open(`/jobs/${student}`, { colorScheme: 'dark', viewport: { width: 360, height: 740 } });
		await page.locator('.plot canvas').first().waitFor();
		expect(await axeFinds(page)).toEqual([]);
		expect(await page.evaluate(() => document.documentElement.scrollWidth - innerWidth)).toBeLessThanOrEqual(0);
	});

	it('pauses and goes on, and marks where', async () => {
		const id = await server.submit({
			student_id: model, dataset_id: join(server.models, 'small'), student_init: 'random', max_length: 24, per_device_train_batch_size: 16, learning_rate: 2e-3, alpha: 1, epochs: 12, name: 'a long one',
		});
		await open(`/jobs/${id}`);
		const epochs = page.getByRole('table', { name: 'Every epoch' }).locator('tbody tr');
		await expect.poll(() => epochs.count()).toBeGreaterThanOrEqual(1);
		const state = (word: string) => page.locator('.ids .status', { hasText: word }).waitFor({ timeout: 60_000 });
		await page.getByRole('button', { name: 'Pause' }).click();
		await state('paused');
		await page.getByRole('button', { name: 'Resume' }).click();
		await state('succeeded');
		expect(await epochs.count()).toBe(12);
		await page.locator('.ids').getByText('attempt 2').waitFor();
		// the mark is drawn on a canvas; what it is drawn from is said in words too
		await page.locator('.plot[aria-label*="Attempt 2 goes on from epoch"]').first().waitFor();
		await tab('Events').click();
		await page.locator('.events').getByText('run.resumed').waitFor();
		await page.locator('.history').getByText('paused', { exact: true }).first().waitFor();
	});

	it('says so when the job is deleted or never was', async () => {
		const id = await server.submit({ student_id: model, dataset_id: join(server.models, 'small'), student_init: 'random', alpha: 1, name: 'short lived' });
		watch.expected = [/status of 404/]; // it may be asked for once more while it goes
		await open(`/jobs/${id}`);
		await page.getByRole('button', { name: 'Delete' }).click();
		await page.getByRole('dialog').getByRole('button', { name: 'Delete it' }).click();
		await page.getByRole('heading', { name: 'This job was deleted' }).waitFor({ timeout: 60_000 });
		await page.goto(`${server.url}/jobs/job_01ARZ3NDEKTSV4RRFFQ69G5FAV`);
		await page.getByText("no job has the id 'job_01ARZ3NDEKTSV4RRFFQ69G5FAV'").waitFor();
	});
});
