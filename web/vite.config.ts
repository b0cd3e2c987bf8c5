// SPDX-License-Identifier: Apache-2.0
import { defineConfig } from 'vite';

export default defineConfig({
	// JSX through esbuild, no plugin.
	esbuild: { jsx: 'automatic', jsxImportSource: 'preact', legalComments: 'none' },
	build: {
		target: 'es2022',
		assetsInlineLimit: 0, // the policy allows no data: scripts, and the cache wants files
		modulePreload: { polyfill: false },
		cssCodeSplit: false,
		reportCompressedSize: false,
	},
	// `npx vite` beside a running retortd, while one works on the pages
	server: { proxy: { '/v1': 'http://127.0.0.1:8080', '/openapi.json': 'http://127.0.0.1:8080', '/version': 'http://127.0.0.1:8080' } },
});
