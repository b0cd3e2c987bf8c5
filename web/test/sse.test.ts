// SPDX-License-Identifier: Apache-2.0
import { expect, it } from 'vitest';
import { SseReader, type Frame } from '../src/sse';

const text = 'retry: 3000\nid: 16\n\nid: 17\nevent: run.phase\ndata: {"a":1}\n\n: keepalive\n\ndata: one\ndata:two\n\nid: 18\r\nevent: x\r\ndata\r\n\r\n';
const frames: Frame[] = [
	{ id: '16', event: 'message', data: '' },
	{ id: '17', event: 'run.phase', data: '{"a":1}' },
	{ id: '17', event: 'message', data: 'one\ntwo' },
	{ id: '18', event: 'x', data: '' },
];

it('reads frames, however the bytes are cut', () => {
	expect(new SseReader().push(text)).toEqual(frames);
	for (let size = 1; size < 12; size++) {
		const reader = new SseReader();
		const got: Frame[] = [];
		for (let at = 0; at < text.length; at += size) got.push(...reader.push(text.slice(at, at + size)));
		expect(got, `pieces of ${size}`).toEqual(frames);
	}
});

it('keeps half a frame back', () => {
	const reader = new SseReader();
	expect(reader.push('id: 1\ndata: x\n')).toEqual([]);
	expect(reader.push('\n')).toEqual([{ id: '1', event: 'message', data: 'x' }]);
});
