// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it } from 'vitest';
import { allowed, compose, curlOf, entriesOf, fieldAt, fieldsOf, parse, quoted, type Field, type Schema } from '../src/schema';

const schema: Schema = {
	type: 'object',
	required: ['student_id'],
	properties: {
		name: { type: ['string', 'null'], maxLength: 200, default: null },
		tags: { type: ['array', 'null'], maxItems: 2, items: { type: 'string' }, default: [] },
		student_id: { type: 'string', description: 'The model to train.' },
		epochs: { type: 'integer', minimum: 1, maximum: 10000, default: 3 },
		temperature: { type: 'number', exclusiveMinimum: 0, maximum: 1000, default: 4 },
		warmup_ratio: { type: 'number', minimum: 0, exclusiveMaximum: 1, default: 0 },
		max_runtime_s: { type: ['integer', 'null'], minimum: 1, maximum: Number.MAX_SAFE_INTEGER, default: null },
		precision: { type: 'string', enum: ['auto', 'fp32'], default: 'auto' },
		shuffle: { type: 'boolean', default: true },
		resources: { type: ['object', 'null'], properties: { threads: { type: ['integer', 'null'], minimum: 1, maximum: 1024, default: null } } },
		strange: { type: 'object' },
	},
};
const fields = fieldsOf(schema);
const field = (name: string): Field => fields.find((f) => f.name === name)!;

it('makes a field of everything that a form can hold, in order', () => {
	expect(fields.map((f) => `${f.name}:${f.kind}`)).toEqual([
		'name:text', 'tags:list', 'student_id:text', 'epochs:integer', 'temperature:number', 'warmup_ratio:number', 'max_runtime_s:integer', 'precision:choice', 'shuffle:switch',
		'resources.threads:integer',
	]);
	expect(fields.filter((f) => f.required).map((f) => f.name)).toEqual(['student_id']);
});

it.each([
	['epochs', '1 to 10000'],
	['temperature', 'above 0, at most 1000'],
	['warmup_ratio', 'at least 0, below 1'],
	['max_runtime_s', 'at least 1'],
	['name', ''],
])('says what %s may be', (name, words) => expect(allowed(field(name).schema)).toBe(words));

describe('an entry', () => {
	it.each([
		['epochs', '10', 10],
		['temperature', '2.5', 2.5],
		['temperature', '1e-4', 1e-4],
		['temperature', '.5', 0.5],
		['tags', 'a, b,', ['a', 'b']],
		['name', '  x ', 'x'],
		['epochs', ' ', undefined],
	])('%s = "%s"', (name, text, value) => expect(parse(field(name), text)).toEqual({ value }));
	it.each([
		['epochs', '1.5', 'epochs must be a whole number (got 1.5)'],
		['epochs', '0', 'epochs must be 1 to 10000 (got 0)'],
		['epochs', '0x10', 'epochs must be a number (got “0x10”)'],
		['epochs', 'Infinity', 'epochs must be a number (got “Infinity”)'],
		['temperature', '0', 'temperature must be above 0, at most 1000 (got 0)'],
		['warmup_ratio', '1', 'warmup_ratio must be at least 0, below 1 (got 1)'],
		['tags', 'a,b,c', 'tags holds at most 2 (there are 3)'],
		['student_id', '', 'student_id is needed'],
	])('%s = "%s" is refused', (name, text, error) => expect(parse(field(name), text)).toEqual({ error }));
});

it('composes a spec of what differs from the defaults, and takes it apart again', () => {
	const entries = { student_id: '/m', epochs: '3', temperature: '2', 'resources.threads': '2', tags: 'a', shuffle: false, precision: 'auto' };
	const { spec, errors } = compose(fields, entries);
	expect(errors.size).toBe(0);
	expect(spec).toEqual({ student_id: '/m', temperature: 2, resources: { threads: 2 }, tags: ['a'], shuffle: false });
	expect(compose(fields, entriesOf(fields, spec)).spec).toEqual(spec);
	expect(entriesOf(fields, { unknown: 1, name: null, epochs: 7 })).toEqual({ epochs: '7' });
});

it('names every mistake and leaves it out', () => {
	const { spec, errors } = compose(fields, { epochs: 'x', temperature: '-1' });
	expect([...errors.keys()]).toEqual(['student_id', 'epochs', 'temperature']);
	expect(spec).toEqual({});
});

it('finds the field of a pointer', () => {
	expect(fieldAt(fields, '/epochs')).toBe('epochs');
	expect(fieldAt(fields, '/resources/threads')).toBe('resources.threads');
	expect(fieldAt(fields, '/tags/3')).toBe('tags');
	expect(fieldAt(fields, '')).toBeNull();
	expect(fieldAt(fields, '/nothing')).toBeNull();
});

it('writes a curl command that a shell reads back', async () => {
	const { execFileSync } = await import('node:child_process');
	for (const name of ["it's", "'", '$HOME `x` "q" \\ !', 'ü\nline']) {
		const spec = { name, temperature: 2 };
		const command = curlOf(spec, 'http://h').replace('curl --json', 'printf %s').replace(/ http:\/\/h\/v1\/jobs$/, '');
		expect(JSON.parse(execFileSync('sh', ['-c', command]).toString())).toEqual(spec);
	}
	expect(quoted("a'b")).toBe("'a'\\''b'");
});
