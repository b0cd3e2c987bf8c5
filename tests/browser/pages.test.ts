// SPDX-License-Identifier: Apache-2.0
// The form, the comparison and the temperature page, with jobs that really train.
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { join } from 'node:path';
import type { Page } from 'playwright-core';
import { axeFinds, missing, REAL_WORKER, ROOT, Server, Watch } from './place';

const why = missing();

describe.skipIf(why)(`form, comparison, temperature${why ? `: ${why}` : ''}`, () => {
	const server = new Server(REAL_WORKER, 1);
	const watch = new Watch();
	let page: Page;
	let teacher = '';
	let small = '';
	const students: string[] = [];
	const open = async (path: string, options = {}) => (page = await watch.open(server.url + path, options));
	const model = join(ROOT, 'examples/models/student');
	const field = (name: string) => page.locator(`[id="f-${name}"]`);

	beforeAll(async () => {
		small = server.smallData(240, 80);
		await server.start();
		await watch.start();
		const common = { student_id: model, dataset_id: small, student_init: 'random', max_length: 24, per_device_train_batch_size: 16 };
		teacher = await server.submit({ ...common, name: 'the teacher', alpha: 1, epochs: 2, learning_rate: 2e-3 });
		await server.finish(teacher);
		for (const [temperature, learning_rate] of [[2, 2e-3], [8, 5e-4]]) students.push(await server.submit({ ...common, name: `student T ${temperature}`, teacher_id: teacher, temperature, learning_rate, epochs: 2 }));
		for (const id of students) await server.finish(id);
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

	it('submits a job by form, checked while typing, and shows it finish', async () => {
		await open('/new');
		await field('student_id').waitFor();
		expect(await page.locator('[aria-invalid="true"]').count()).toBe(0); // nothing is wrong before anything is typed
		await field('teacher_id').fill(teacher);
		await field('student_id').fill(model);
		await field('dataset_id').fill(join(server.models, 'nowhere'));
		await page.locator('[id="f-dataset_id-error"]').getByText('nowhere').waitFor(); // the server's word
		await field('dataset_id').fill(small);
		await field('temperature').fill('-3');
		await page.getByText('temperature must be above 0, at most 1000 (got -3)').waitFor(); // ours, at once
		expect(await field('temperature').getAttribute('aria-invalid')).toBe('true');
		expect(await axeFinds(page)).toEqual([]);
		await field('temperature').fill('3');
		await field('epochs').fill('2');
		await field('learning_rate').fill('2e-3');
		await field('name').fill("by form, it's");
		await field('tags').fill('form, browser');
		await page.getByText('Training in detail').click();
		await field('student_init').selectOption('random');
		await field('max_length').fill('24');
		await page.getByText('Ready to run').waitFor();
		await page.locator('.facts').getByText('240').waitFor();
		expect(await page.locator('.facts').textContent()).toContain('80');
		const curl = (await page.locator('aside pre').textContent())!;
		expect(curl).toContain('"temperature": 3');
		expect(curl).toContain("it'\\''s");
		expect(curl).not.toContain('"seed"');
		expect(await axeFinds(page)).toEqual([]);
		await page.getByRole('button', { name: 'Submit job' }).click();
		await page.getByRole('heading', { level: 1, name: "by form, it's" }).waitFor();
		await page.locator('.ids .status', { hasText: 'succeeded' }).waitFor({ timeout: 120_000 });
		const id = /job_\w+/.exec(page.url())![0];
		const sent = await server.get<{ original_spec: unknown }>(`/v1/jobs/${id}`);
		expect(sent.original_spec).toEqual({
			teacher_id: teacher, student_id: model, dataset_id: small, name: "by form, it's", tags: ['form', 'browser'], temperature: 3, epochs: 2, learning_rate: 2e-3, student_init: 'random', max_length: 24,
		});
	});

	it('clones a job with what it was sent with', async () => {
		await open(`/jobs/${students[1]}`);
		await page.getByRole('link', { name: 'Clone' }).click();
		await expect.poll(() => field('temperature').inputValue()).toBe('8');
		expect(await field('learning_rate').inputValue()).toBe('0.0005');
		expect(await field('epochs').inputValue()).toBe('2');
		await page.getByText('Ready to run').waitFor();
		await field('alpha').fill('7');
		await page.getByRole('button', { name: 'Submit job' }).click();
		expect(await page.evaluate(() => document.activeElement?.id)).toBe('f-alpha');
		expect(page.url()).toContain('/new');
	});

	it('says what the server refuses', async () => {
		watch.expected = [/status of 422/];
		await open('/new');
		await field('student_id').fill('some/hub-model');
		await field('dataset_id').fill(small);
		await field('alpha').fill('1');
		await page.getByRole('button', { name: 'Submit job' }).click();
		await page.locator('[id="f-student_id-error"]').waitFor();
		expect(page.url()).toContain('/new');
	});

	it('compares jobs: curves, differences, order', async () => {
		await open('/');
		for (const name of ['student T 2', 'student T 8']) await page.getByRole('checkbox', { name: `Select ${name}` }).check();
		await page.getByRole('link', { name: 'Compare' }).last().click();
		const table = page.getByRole('table', { name: 'What differs, and what came of it' });
		await table.waitFor();
		const heads = await table.locator('thead th').allTextContents();
		expect(heads).toContain('temperature');
		expect(heads).toContain('learning_rate');
		expect(heads).not.toContain('epochs');
		expect(await page.locator('.plot canvas').count()).toBe(3);
		expect(await page.locator('.parallel path.line').count()).toBe(2);
		const first = () => table.locator('tbody th').first().textContent();
		await table.getByRole('button', { name: 'temperature' }).click();
		await expect.poll(first).toContain('student T 8');
		await table.getByRole('button', { name: 'temperature' }).click();
		await expect.poll(first).toContain('student T 2');
		expect(page.url()).toContain('sort=temperature');
		await page.reload();
		await expect.poll(first).toContain('student T 2');
		await page.getByRole('combobox').selectOption(teacher);
		await expect.poll(() => table.locator('tbody tr').count()).toBe(3);
		expect(await axeFinds(page)).toEqual([]);
		await page.getByRole('button', { name: 'Leave out the teacher' }).click();
		await expect.poll(() => table.locator('tbody tr').count()).toBe(2);
	});

	it('shows what temperature does to the teacher and the student', async () => {
		await open('/temperature');
		await page.getByLabel('Text').fill('where is my parcel');
		await page.getByRole('combobox').selectOption(students[0]!);
		await page.getByRole('button', { name: 'Ask' }).click();
		const bars = page.locator('table.bars');
		await expect.poll(() => bars.count()).toBe(2);
		const ask = async (temperatures: number[]) => {
			const r = await fetch(`${server.url}/v1/models/${teacher}/soft-labels`, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ text: 'where is my parcel', temperatures }) });
			return (await r.json()) as { labels: string[]; distributions: { probabilities: number[]; entropy: number }[] };
		};
		const truth = await ask([2]);
		const top = truth.distributions[0]!.probabilities.indexOf(Math.max(...truth.distributions[0]!.probabilities));
		const row = bars.first().locator('tbody tr').first();
		expect(await row.locator('th').textContent()).toBe(truth.labels[top]);
		expect(await row.locator('td.of-teacher').textContent()).toBe(`${(truth.distributions[0]!.probabilities[top]! * 100).toFixed(2)}\u00a0%`);
		// the job's own temperature, 2, is where the slider begins
		await page.getByText('T = 2').first().waitFor();
		expect(await bars.last().locator('tbody tr').first().locator('td.of-teacher').textContent()).toBe(`${(truth.distributions[1]!.probabilities[top]! * 100).toFixed(2)}\u00a0%`);
		expect(await bars.last().locator('..').locator('figcaption').textContent()).toContain(truth.distributions[1]!.entropy.toFixed(3));
		expect(await bars.first().locator('tbody tr:not(.gap)').count()).toBe(9); // five likeliest, four least likely
		await page.getByRole('slider').focus();
		await page.keyboard.press('End');
		await page.getByText('T = 20').first().waitFor();
		expect(page.url()).toContain('t=20');
		expect(await axeFinds(page)).toEqual([]);
		await page.reload();
		await page.getByText('T = 20').first().waitFor();
	});

	it('asks a model by its path, and says why when it cannot', async () => {
		watch.expected = [/status of 422/];
		await open(`/temperature?text=hello&model=${encodeURIComponent(model)}`);
		await page.getByText('cannot be asked').waitFor();
	});

	it('has pages that fit a phone, in the dark, and are accessible', async () => {
		const options = { colorScheme: 'dark' as const, viewport: { width: 360, height: 740 } };
		for (const [path, wait] of [
			['/new', 'form.new'],
			[`/compare?jobs=${students.join(',')}`, 'table.compare'],
			[`/temperature?job=${students[0]}&text=where+is+it`, 'table.bars'],
		] as const) {
			await open(path, options);
			await page.locator(wait).first().waitFor();
			expect(await axeFinds(page), path).toEqual([]);
			expect(await page.evaluate(() => document.documentElement.scrollWidth - innerWidth), path).toBeLessThanOrEqual(0);
			await page.context().close();
		}
	});
});
