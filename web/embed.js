// SPDX-License-Identifier: Apache-2.0
// Writes the files of a folder as a table of struct rt_web_file, compressed ahead of time.
//
//   node embed.js DIST OUT.c
import { createHash } from 'node:crypto';
import { readFileSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { extname, join } from 'node:path';
import { brotliCompressSync, constants, gzipSync } from 'node:zlib';

const TYPES = {
	'.html': 'text/html; charset=utf-8',
	'.js': 'text/javascript; charset=utf-8',
	'.css': 'text/css; charset=utf-8',
	'.svg': 'image/svg+xml',
	'.woff2': 'font/woff2',
};

function* walk(dir, path = '') {
	for (const name of readdirSync(dir).sort()) {
		const full = join(dir, name);
		if (statSync(full).isDirectory()) yield* walk(full, `${path}/${name}`);
		else yield { full, path: `${path}/${name}` };
	}
}

// Adjacent string literals; octal escapes always have three digits, so they cannot run on. '?' is out because of trigraphs.
function literal(data) {
	const lines = [];
	for (let at = 0; at < data.length; at += 96) {
		let line = '';
		for (const b of data.subarray(at, at + 96)) {
			const plain = b >= 0x20 && b < 0x7f && b !== 0x22 && b !== 0x5c && b !== 0x3f;
			line += plain ? String.fromCharCode(b) : '\\' + b.toString(8).padStart(3, '0');
		}
		lines.push(`\t"${line}"`);
	}
	return lines.join('\n') || '\t""';
}

const [dist, out] = process.argv.slice(2);
const parts = ['#include "server/route_web.h"', ''];
const rows = [];
let n = 0;

function body(data) {
	const name = `body_${n++}`;
	parts.push(`static const char ${name}[] =\n${literal(data)};`, '');
	return `{ ${name}, ${data.length} }`;
}

for (const { full, path } of walk(dist)) {
	const data = readFileSync(full);
	const type = TYPES[extname(path)];
	if (!type) throw new Error(`no content type is known for ${path}`);
	const br = brotliCompressSync(data, {
		params: { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_SIZE_HINT]: data.length },
	});
	const gz = gzipSync(data, { level: 9 });
	const worth = (x) => x.length < data.length * 0.95;
	const hash = createHash('sha256').update(data).digest('hex').slice(0, 32);
	rows.push(
		`\t{ "${path}", "${type}", "${hash}", ${path.startsWith('/assets/')}, ${body(data)}, ` +
			`${worth(gz) ? body(gz) : '{ 0 }'}, ${worth(br) ? body(br) : '{ 0 }'} },`,
	);
}
writeFileSync(out, [...parts, 'const struct rt_web_file rt_web_files[] = {', ...rows, '\t{ 0 },', '};', ''].join('\n'));
