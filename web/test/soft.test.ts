// SPDX-License-Identifier: Apache-2.0
import { expect, it } from 'vitest';
import { ends, entropy, placeOf, relativeDifference, softmax, temperatureAt } from '../src/soft';

it('is the softmax of the logits divided by T', () => {
	const p = softmax([2, 1, 0], 1);
	const e = [Math.exp(2), Math.exp(1), 1];
	expect(p).toEqual(e.map((x) => expect.closeTo(x / (e[0]! + e[1]! + e[2]!), 12)));
	expect(softmax([2, 1, 0], 2)[0]).toBeCloseTo(Math.exp(1) / (Math.exp(1) + Math.exp(0.5) + 1), 12);
	expect(softmax([1000, 0], 1)).toEqual([1, 0]); // no overflow
	expect(softmax([-1000, -1000], 4)).toEqual([0.5, 0.5]);
});

it('has the entropy of its distribution', () => {
	expect(entropy([0.25, 0.25, 0.25, 0.25])).toBeCloseTo(Math.log(4), 12);
	expect(entropy([1, 0, 0])).toBe(-0);
	expect(entropy(softmax([3, 1, 0], 10))).toBeGreaterThan(entropy(softmax([3, 1, 0], 1)));
});

it('compares the second with the last', () => {
	expect(relativeDifference([0.1, 0.7, 0.2])).toBeCloseTo(1, 12);
	expect(relativeDifference([0.25, 0.25, 0.25, 0.25])).toBe(0);
});

it('shows both ends, and all where there are few', () => {
	const logits = Array.from({ length: 151 }, (_, i) => (i * 37) % 151);
	const { shown, left } = ends(logits);
	expect(shown.map((i) => logits[i])).toEqual([150, 149, 148, 147, 146, 3, 2, 1, 0]);
	expect(left).toBe(142);
	expect(ends([1, 3, 2])).toEqual({ shown: [1, 2, 0], left: 0 });
});

it('has a slider that goes there and back', () => {
	expect(temperatureAt(0)).toBe(0.5);
	expect(temperatureAt(1)).toBe(20);
	for (const t of [0.5, 1, 2, 4, 10, 20]) expect(temperatureAt(placeOf(t))).toBeCloseTo(t, 2);
	expect(placeOf(1000)).toBe(1);
});
