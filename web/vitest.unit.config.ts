// SPDX-License-Identifier: Apache-2.0
import { defineConfig } from 'vitest/config';

export default defineConfig({
	test: {
		include: ['test/*.test.ts'],
		reporters: process.env.JUNIT ? ['default', ['junit', { outputFile: process.env.JUNIT, classnameTemplate: 'web' }]] : ['verbose'],
	},
});
