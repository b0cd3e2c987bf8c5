// SPDX-License-Identifier: Apache-2.0
// tests/browser against a real retortd, in Debian's Chromium.
import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));
const factor = Number(process.env.TEST_FACTOR ?? '1');

export default defineConfig({
	resolve: { alias: { 'playwright-core': here('node_modules/playwright-core/index.mjs'), 'axe-core': here('node_modules/axe-core/axe.js') } },
	server: { fs: { allow: [here('..')] } },
	test: {
		dir: here('../tests/browser'),
		include: ['**/*.test.ts'],
		fileParallelism: false,
		pool: 'forks',
		expect: { poll: { timeout: 20_000 * factor } },
		testTimeout: 60_000 * factor,
		hookTimeout: 180_000 * factor,
		reporters: process.env.JUNIT ? ['default', ['junit', { outputFile: process.env.JUNIT, classnameTemplate: 'browser' }]] : ['verbose'],
	},
});
