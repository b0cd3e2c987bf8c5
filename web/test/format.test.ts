// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it } from 'vitest';
import * as f from '../src/format';

const nb = '\u00a0';

describe('numbers', () => {
	it('says a dash for what is not known, never 0', () => {
		for (const format of [f.percent, f.points, f.value, f.integer, f.bytes, f.duration]) {
			expect(format(null)).toBe(f.NONE);
			expect(format(undefined)).toBe(f.NONE);
			expect(format(NaN)).toBe(f.NONE);
			expect(format(0)).not.toBe(f.NONE);
		}
	});
	it.each([
		[0.9433, 2, `94.33${nb}%`],
		[1, 1, `100.0${nb}%`],
		[0, 1, `0.0${nb}%`],
	])('percent(%s, %s) is %s', (x, digits, text) => expect(f.percent(x, digits)).toBe(text));
	it.each([
		[0.0123, `+1.2${nb}pp`],
		[-0.0281, `−2.8${nb}pp`],
		[0.0001, `0.0${nb}pp`],
	])('points(%s) is %s', (x, text) => expect(f.points(x)).toBe(text));
	it.each([
		[5e-5, '5e−5'],
		[1.25e-7, '1.25e−7'],
		[0.5, '0.5'],
		[0.001, '0.001'],
		[3.21987, '3.22'],
		[12345.678, '12350'],
		[1e6, '1000000'],
		[2.5e6 + 0.5, '2.5e6'],
		[-0.25, '−0.25'],
	])('value(%s) is %s', (x, text) => expect(f.value(x)).toBe(text));
	it.each([
		[0, `0${nb}B`],
		[1023, `1023${nb}B`],
		[1024, `1.00${nb}KiB`],
		[166_700_000, `159${nb}MiB`],
		[1.5 * 1024 ** 3, `1.50${nb}GiB`],
	])('bytes(%s) is %s', (x, text) => expect(f.bytes(x)).toBe(text));
});

describe('times', () => {
	it.each([
		[0.04, `0.0${nb}s`],
		[9.96, `10.0${nb}s`],
		[42.4, `42${nb}s`],
		[59.7, `1${nb}min 00${nb}s`],
		[185, `3${nb}min 05${nb}s`],
		[7800, `2${nb}h 10${nb}min`],
		[356_400, `4${nb}d 3${nb}h`],
		[-1, f.NONE],
	])('duration(%s) is %s', (s, text) => expect(f.duration(s)).toBe(text));
	it('counts back from now', () => {
		const now = Date.parse('2026-11-24T12:00:00.000Z');
		expect(f.ago('2026-11-24T11:59:58.000Z', now)).toBe('just now');
		expect(f.ago('2026-11-24T11:59:01.000Z', now)).toBe(`59${nb}s ago`);
		expect(f.ago('2026-11-24T10:00:01.000Z', now)).toBe(`1${nb}h ago`);
		expect(f.ago('2026-11-14T12:00:00.000Z', now)).toBe(`10${nb}d ago`);
		expect(f.ago('2026-01-14T12:00:00.000Z', now)).toBe('2026-01-14');
		expect(f.ago('2026-11-24T12:00:09.000Z', now)).toBe('just now'); // clocks differ
	});
});

it('shortens paths and ids', () => {
	expect(f.short('/srv/models/minilm/')).toBe('minilm');
	expect(f.short('job_01M87DWTYBDCPM0233TF1KYXYD')).toBe('job_…1KYXYD');
	expect(f.short(null)).toBe(f.NONE);
});
