// SPDX-License-Identifier: Apache-2.0
import { expect, it } from 'vitest';
import { epochAt, join, smooth, thin, withoutSuperseded, type Step } from '../src/charts/series';

const step = (seq: number, n: number, attempt = 1): Step => ({ event_seq: seq, attempt, created_at: '', step: n, total_steps: 100, epoch: 1, loss: n, learning_rate: 0 });

it('puts steps and epochs on one axis', () => {
	expect(epochAt(50, 100, 10)).toBe(5);
	expect(epochAt(5, 0, 10)).toBe(0);
	expect(join([{ x: [1, 2], y: [10, null] }, { x: [0.5, 2], y: [1, 2] }])).toEqual({ x: [0.5, 1, 2], columns: [[undefined, 10, null], [1, undefined, 2]] });
});

it('drops steps that a later attempt made again', () => {
	const steps = [step(1, 10), step(2, 20), step(3, 30), step(4, 15, 2), step(5, 25, 2)];
	expect(withoutSuperseded(steps).map((s) => [s.step, s.attempt])).toEqual([[10, 1], [15, 2], [25, 2]]);
	expect(withoutSuperseded([...steps].reverse()).map((s) => s.step)).toEqual([10, 15, 25]);
});

it('thins evenly and keeps the last', () => {
	const all = Array.from({ length: 1001 }, (_, i) => i);
	const few = thin(all, 100);
	expect(few).toHaveLength(100);
	expect(few[99]).toBe(1000);
	const gaps = few.slice(1).map((v, i) => v - few[i]!);
	expect(Math.max(...gaps) - Math.min(...gaps)).toBeLessThanOrEqual(1);
	expect(thin(all, 2000)).toBe(all);
});

it('smooths without lag, and leaves gaps', () => {
	const straight = Array.from({ length: 20 }, (_, i) => i);
	expect(smooth(straight, 3).slice(3, 17)).toEqual(straight.slice(3, 17).map((v) => expect.closeTo(v, 12)));
	expect(smooth([1, null, 3], 1)).toEqual([1, null, 3]);
	expect(smooth([0, 10, 0], 1)).toEqual([5, expect.closeTo(10 / 3, 12), 5]);
	expect(smooth([4, 2], 0)).toEqual([4, 2]);
});
