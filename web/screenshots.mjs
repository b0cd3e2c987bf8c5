// SPDX-License-Identifier: Apache-2.0
// Takes the pictures of docs/images from a server with some jobs in it. Look at them before you commit them.
//
//   node web/screenshots.mjs URL JOB [TEXT]     JOB: a distilled student's id, whose page is shown
import { mkdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';

const [url, job, text = 'where is my parcel, it should be here by now'] = process.argv.slice(2);
const out = join(dirname(fileURLToPath(import.meta.url)), '../docs/images');
const only = process.env.ONLY?.split(',');
mkdirSync(out, { recursive: true });

const jobs = (await (await fetch(`${url}/v1/jobs?limit=100`)).json()).data;
const sweep = jobs.filter((j) => j.status === 'succeeded' && j.name?.startsWith('intent student')).map((j) => j.id);
const newest = jobs.find((j) => j.spec.teacher_id)?.id;
const PAGES = [
	['jobs', '/', 'table.jobs tbody tr', 620],
	['job', `/jobs/${job}`, '.plot canvas', 1010],
	['classes', `/jobs/${job}/classes`, 'table.classes', 860],
	['checkpoints', `/jobs/${job}/checkpoints`, '.checkpoint', 760],
	['new', `/new?from=${newest}`, '.report.is-valid', 900],
	['compare', `/compare?jobs=${sweep.slice(0, 6).join(',')}`, 'table.compare tbody tr', 1180],
	['temperature', `/temperature?job=${job}&text=${encodeURIComponent(text)}`, 'table.bars', 1000],
];

const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: ['--headless', '--no-sandbox', '--disable-gpu', '--hide-scrollbars'] });
for (const colorScheme of ['light', 'dark']) {
	for (const [name, path, wait, height] of PAGES) {
		if (only && !only.includes(name)) continue;
		const page = await browser.newPage({ viewport: { width: 1280, height }, colorScheme, reducedMotion: 'reduce' });
		await page.goto(url + path);
		await page.locator(wait).first().waitFor();
		await page.waitForTimeout(1200);
		await page.screenshot({ path: join(out, `${name}-${colorScheme}.png`) });
		await page.close();
	}
	if (!only || only.includes('phone')) {
		const page = await browser.newPage({ viewport: { width: 390, height: 844 }, colorScheme, deviceScaleFactor: 2, reducedMotion: 'reduce' });
		await page.goto(`${url}/jobs/${job}`);
		await page.locator('.plot canvas').first().waitFor();
		await page.waitForTimeout(1200);
		await page.screenshot({ path: join(out, `phone-${colorScheme}.png`) });
		await page.close();
	}
}
await browser.close();
