// SPDX-License-Identifier: Apache-2.0
// A form out of a JSON schema: fields, what may be entered in them, and the object that comes out.

export interface Schema {
	type?: string | string[];
	description?: string;
	properties?: Record<string, Schema>;
	required?: string[];
	enum?: (string | null)[];
	default?: unknown;
	minimum?: number;
	maximum?: number;
	exclusiveMinimum?: number;
	exclusiveMaximum?: number;
	minLength?: number;
	maxLength?: number;
	maxItems?: number;
	items?: Schema;
}

export type Kind = 'text' | 'number' | 'integer' | 'switch' | 'choice' | 'list';

export interface Field {
	name: string; // "resources.threads" for a member of a member
	kind: Kind;
	help: string;
	required: boolean;
	fallback: unknown; // what it is when left out; null: nothing
	choices: string[];
	schema: Schema;
}

/** What stands in the form: text for all but switches; '' is left out. */
export type Entries = Record<string, string | boolean>;

function kindOf(s: Schema): Kind | null {
	if (s.enum) return 'choice';
	const types = (Array.isArray(s.type) ? s.type : [s.type]).filter((t) => t !== 'null');
	switch (types[0]) {
		case 'string':
			return 'text';
		case 'integer':
			return 'integer';
		case 'number':
			return 'number';
		case 'boolean':
			return 'switch';
		case 'array':
			return s.items?.type === 'string' ? 'list' : null;
		default:
			return null;
	}
}

/** The fields of an object's schema in its order. What no form can hold is left out. */
export function fieldsOf(schema: Schema, prefix = ''): Field[] {
	return Object.entries(schema.properties ?? {}).flatMap(([name, s]) => {
		if (s.properties) return fieldsOf(s, `${prefix}${name}.`);
		const kind = kindOf(s);
		if (!kind) return [];
		return [
			{
				name: prefix + name,
				kind,
				help: s.description ?? '',
				required: !prefix && (schema.required ?? []).includes(name),
				fallback: s.default ?? null,
				choices: (s.enum ?? []).filter((c): c is string => c !== null),
				schema: s,
			},
		];
	});
}

/** What is allowed, in words: "above 0, at most 1000". */
export function allowed(s: Schema): string {
	const low = s.exclusiveMinimum !== undefined ? `above ${s.exclusiveMinimum}` : s.minimum !== undefined ? `at least ${s.minimum}` : '';
	const far = (s.maximum ?? 0) >= Number.MAX_SAFE_INTEGER;
	const high = s.exclusiveMaximum !== undefined ? `below ${s.exclusiveMaximum}` : s.maximum !== undefined && !far ? `at most ${s.maximum}` : '';
	if (s.minimum !== undefined && s.maximum !== undefined && !far) return `${s.minimum} to ${s.maximum}`;
	return [low, high].filter(Boolean).join(', ');
}

/** One entry as a value. undefined: left out. */
export function parse(field: Field, entry: string | boolean | undefined): { value: unknown } | { error: string } {
	const s = field.schema;
	if (typeof entry === 'boolean') return { value: entry };
	const text = (entry ?? '').trim();
	if (text === '') return field.required ? { error: `${field.name} is needed` } : { value: undefined };
	if (field.kind === 'list') {
		const list = text.split(',').map((t) => t.trim()).filter(Boolean);
		if (s.maxItems !== undefined && list.length > s.maxItems) return { error: `${field.name} holds at most ${s.maxItems} (there are ${list.length})` };
		return { value: list };
	}
	if (field.kind !== 'number' && field.kind !== 'integer') return { value: text };
	const n = /^[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?$/i.test(text) ? Number(text) : NaN;
	if (!Number.isFinite(n)) return { error: `${field.name} must be a number (got “${text}”)` };
	if (field.kind === 'integer' && !Number.isInteger(n)) return { error: `${field.name} must be a whole number (got ${text})` };
	const bad =
		(s.minimum !== undefined && n < s.minimum) ||
		(s.maximum !== undefined && n > s.maximum) ||
		(s.exclusiveMinimum !== undefined && n <= s.exclusiveMinimum) ||
		(s.exclusiveMaximum !== undefined && n >= s.exclusiveMaximum);
	return bad ? { error: `${field.name} must be ${allowed(s)} (got ${text})` } : { value: n };
}

const same = (a: unknown, b: unknown): boolean => JSON.stringify(a) === JSON.stringify(b);

/** The object that the entries make: only what differs from the defaults. */
export function compose(fields: Field[], entries: Entries): { spec: Record<string, unknown>; errors: Map<string, string> } {
	const spec: Record<string, unknown> = {};
	const errors = new Map<string, string>();
	for (const field of fields) {
		const result = parse(field, entries[field.name]);
		if ('error' in result) {
			errors.set(field.name, result.error);
			continue;
		}
		if (result.value === undefined || (!field.required && same(result.value, field.fallback))) continue;
		const [first, second] = field.name.split('.') as [string, string | undefined];
		if (second) spec[first] = { ...((spec[first] as object | undefined) ?? {}), [second]: result.value };
		else spec[first] = result.value;
	}
	return { spec, errors };
}

/** The entries that make a spec: the way back. Unknown members are dropped. */
export function entriesOf(fields: Field[], spec: Record<string, unknown>): Entries {
	const entries: Entries = {};
	for (const field of fields) {
		const [first, second] = field.name.split('.') as [string, string | undefined];
		const outer = spec[first];
		const v = second ? (outer as Record<string, unknown> | null | undefined)?.[second] : outer;
		if (v === undefined || v === null) continue;
		entries[field.name] = typeof v === 'boolean' ? v : Array.isArray(v) ? v.join(', ') : String(v);
	}
	return entries;
}

/** The field that a JSON pointer leads to: "/resources/threads" → "resources.threads", "/tags/3" → "tags". */
export function fieldAt(fields: Field[], pointer: string): string | null {
	const parts = pointer.split('/').slice(1).map((p) => p.replace(/~1/g, '/').replace(/~0/g, '~'));
	for (const name of [parts.slice(0, 2).join('.'), parts[0] ?? '']) if (fields.some((f) => f.name === name)) return name;
	return null;
}

/** A shell word that holds any text. */
export const quoted = (text: string): string => `'${text.replace(/'/g, `'\\''`)}'`;

export const curlOf = (spec: Record<string, unknown>, origin: string): string => `curl --json ${quoted(JSON.stringify(spec, null, 2))} ${origin}/v1/jobs`;
