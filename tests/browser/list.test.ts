// SPDX-License-Identifier: Apache-2.0
// The list of jobs: filters, search, pages, keyboard, many at once. The worker is played by a small program.
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { Page } from 'playwright-core';
import { axeFinds, FAKE_WORKER, missing, Server, Watch } from './place';

const why = missing();

describe.skipIf(why)(`the list of jobs${why ? `: ${why}` : ''}`, () => {
	const server = new Server(FAKE_WORKER, 1);
	const watch = new Watch();
	let page: Page;
	const open = async (path: string, options = {}) => (page = await watch.open(server.url + path, options));
	const rows = () => page.locator('table.jobs tbody tr');

	beforeAll(async () => {
		await server.start();
		await watch.start();
	});
	afterAll(async () => {
		await watch.stop();
		await server.stop();
	});
	afterEach(async () => {
		await page?.context().close();
		expect(watch.wrong.splice(0)).toEqual([]);
	});

	it('shows how to begin when there is nothing', async () => {
		await open('/');
		await expect.poll(() => page.locator('.empty pre').textContent()).toContain(`${server.url}/v1/jobs`);
		expect(await axeFinds(page)).toEqual([]);
	});

	it('shows a job that is posted while the page is open, and its end', async () => {
		await open('/');
		await page.getByText('live', { exact: true }).waitFor();
		const id = await server.submit(server.fake('epoch epoch', { tags: ['first'] }));
		await page.getByRole('row', { name: 'epoch epoch' }).getByText('succeeded').waitFor();
		expect(await page.getByRole('row', { name: 'epoch epoch' }).getByText('50.0').count()).toBe(1);
		expect((await server.job(id)).status).toBe('succeeded');
	});

	it('filters by state and words, and keeps both in the address', async () => {
		for (let i = 0; i < 3; i++) await server.finish(await server.submit(server.fake(`epoch log=${i}`, { tags: ['blue'] })));
		const failed = await server.submit(server.fake('fail=bad_input', { tags: ['blue', 'odd'] }));
		await expect.poll(async () => (await server.job(failed)).status).toBe('failed');
		await open('/');
		await page.getByRole('link', { name: /^failed 1/ }).click();
		await expect.poll(() => rows().count()).toBe(1);
		expect(page.url()).toContain('status=failed');
		await rows().first().getByText('bad input').waitFor();
		await page.goBack();
		await expect.poll(() => rows().count()).toBe(5);
		await page.getByRole('searchbox', { name: 'Search jobs' }).fill('BLUE log');
		await expect.poll(() => rows().count()).toBe(3);
		expect(page.url()).toContain('q=BLUE+log');
		await page.reload();
		await expect.poll(() => rows().count()).toBe(3);
		expect(await page.getByRole('searchbox').inputValue()).toBe('BLUE log');
		await page.getByRole('searchbox').fill('nothing has this');
		await page.getByText('No job fits.').waitFor();
	});

	it('goes through pages both ways, in order and without a gap', async () => {
		await server.submit(server.fake('hang'));
		const ids: string[] = [];
		for (let i = 0; i < 120; i++) ids.push(await server.submit(server.fake(`epoch log=many${String(i).padStart(3, '0')}`, { tags: ['many'] })));
		await open('/?tag=many');
		const names = () => page.locator('table.jobs td.job > a').allTextContents();
		const number = (s: string) => Number(/many(\d+)/.exec(s)![1]);
		const seen: number[] = [];
		for (const size of [50, 50, 20]) {
			await expect.poll(async () => (await names()).length).toBe(size);
			seen.push(...(await names()).map(number));
			if (size === 50) {
				const first = (await names())[0];
				await page.getByRole('link', { name: 'Older →' }).click();
				await expect.poll(async () => (await names())[0]).not.toBe(first);
			}
		}
		expect(seen).toEqual(Array.from({ length: 120 }, (_, i) => 119 - i));
		await page.getByRole('link', { name: '← Newer' }).click();
		await expect.poll(async () => (await names()).map(number)).toEqual(seen.slice(50, 100));
		await page.getByRole('link', { name: 'Newest' }).click();
		await expect.poll(async () => (await names()).map(number)).toEqual(seen.slice(0, 50));
	});

	it('is used with the keyboard alone', async () => {
		await open('/?tag=many');
		await rows().first().waitFor();
		await page.keyboard.press('/');
		expect(await page.evaluate(() => document.activeElement?.id)).toBe('search');
		await page.keyboard.type('many119');
		await expect.poll(() => rows().count()).toBe(1);
		await page.keyboard.press('Control+A');
		await page.keyboard.press('Delete');
		await expect.poll(() => rows().count()).toBe(50);
		for (let i = 0; i < 12 && !(await page.evaluate(() => document.activeElement?.tagName === 'TR')); i++) await page.keyboard.press('Tab');
		await page.keyboard.press('ArrowDown');
		await page.keyboard.press('j');
		expect(await page.evaluate(() => document.activeElement?.getAttribute('aria-label'))).toContain('many117');
		await page.keyboard.press('x');
		await page.keyboard.press('k');
		await page.keyboard.press('x');
		await page.getByText('2 jobs selected').waitFor();
		await page.keyboard.press('Home');
		await page.keyboard.press('Enter');
		await page.getByRole('heading', { level: 1, name: /many119/ }).waitFor();
		expect(page.url()).toMatch(/\/jobs\/job_/);
	});

	it('cancels and deletes many at once, after asking', async () => {
		await open('/?tag=many&status=queued');
		await rows().first().waitFor();
		for (const i of [0, 1, 2]) await rows().nth(i).getByRole('checkbox').check();
		await page.getByRole('button', { name: 'Cancel' }).click();
		const dialog = page.getByRole('dialog');
		await dialog.getByText('Checkpoints written so far stay').waitFor();
		expect(await axeFinds(page)).toEqual([]);
		await dialog.getByRole('button', { name: 'Keep them' }).click();
		expect((await server.get<{ status: Record<string, number> }>('/v1/jobs:counts?tag=many')).status.cancelled).toBe(0);
		await page.getByRole('button', { name: 'Cancel' }).click();
		await dialog.getByRole('button', { name: 'Cancel 3 jobs' }).click();
		await page.getByText('3 jobs cancelled').waitFor();
		expect((await server.get<{ status: Record<string, number> }>('/v1/jobs:counts?tag=many')).status.cancelled).toBe(3);

		await page.getByRole('link', { name: /^cancelled 3/ }).click();
		await expect.poll(() => rows().count()).toBe(3);
		await page.getByRole('checkbox', { name: 'Select all on this page' }).check();
		await page.getByRole('button', { name: 'Delete' }).click();
		await dialog.getByRole('button', { name: 'Delete 3 jobs' }).click();
		await page.getByText('No job fits.').waitFor();
		expect((await server.get<{ total: number }>('/v1/jobs:counts?tag=many')).total).toBe(117);
	});

	it('fits a phone, in the dark, and is accessible in both', async () => {
		for (const options of [{}, { colorScheme: 'dark' as const, viewport: { width: 360, height: 740 }, hasTouch: true }]) {
			await open('/', options);
			await rows().first().waitFor();
			expect(await axeFinds(page)).toEqual([]);
			expect(await page.evaluate(() => document.documentElement.scrollWidth - innerWidth)).toBeLessThanOrEqual(0);
			await page.context().close();
		}
	});
});
