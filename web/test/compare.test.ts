// SPDX-License-Identifier: Apache-2.0
import { expect, it } from 'vitest';
import type { Job } from '../src/api';
import { axisOf, differing, hyperparameters, order, type Value } from '../src/compare';

const job = (spec: Record<string, unknown>): Job => ({ spec }) as unknown as Job;

it('finds what differs, and nothing that does not change the outcome', () => {
	const a = job({ name: 'a', tags: ['x'], priority: 1, alpha: 0.5, epochs: 3, resources: { threads: 1 }, max_length: null });
	const b = job({ name: 'b', tags: [], priority: 2, alpha: 0.1, epochs: 3, resources: { threads: 2 }, max_length: 64 });
	expect(differing([a, b])).toEqual(['alpha', 'resources.threads', 'max_length']);
	expect(differing([a, a])).toEqual([]);
	expect(hyperparameters(a)['resources.threads']).toBe(1);
});

it('sorts numbers by size, words by letters, the unknown last both ways', () => {
	const sorted = (v: Value[], down: boolean) => [...v].sort((a, b) => order(a, b, down));
	expect(sorted([10, null, 9, 100], false)).toEqual([9, 10, 100, null]);
	expect(sorted([10, null, 9, 100], true)).toEqual([100, 10, 9, null]);
	expect(sorted(['b2', 'b10', 'a'], false)).toEqual(['a', 'b2', 'b10']);
});

it('lays values along an axis', () => {
	const linear = axisOf('alpha', [0, 0.5, 1]);
	expect([linear.log, linear.at(0), linear.at(0.5), linear.at(1), linear.at(null)]).toEqual([false, 0, 0.5, 1, null]);
	const log = axisOf('learning_rate', [1e-5, 1e-4, 1e-3]);
	expect(log.log).toBe(true);
	expect(log.at(1e-4)).toBeCloseTo(0.5, 12);
	const words = axisOf('precision', ['fp32', 'bf16', null]);
	expect([words.at('bf16'), words.at('fp32'), words.at(null)]).toEqual([0, 1, null]);
	expect(axisOf('same', [3, 3]).at(3)).toBe(0.5);
	expect(axisOf('many', [1, 2, 3, 4, 5, 6, 7]).ticks.map((t) => t.value)).toEqual([1, 7]);
});
