// SPDX-License-Identifier: Apache-2.0
// What temperature makes of a model's answer.

/** softmax(logits / T), without overflow. */
export function softmax(logits: number[], temperature: number): number[] {
	const most = Math.max(...logits);
	const e = logits.map((x) => Math.exp((x - most) / temperature));
	const sum = e.reduce((a, b) => a + b, 0);
	return e.map((x) => x / sum);
}

/** In nats; 0 log 0 is 0. */
export const entropy = (p: number[]): number => -p.reduce((sum, x) => (x > 0 ? sum + x * Math.log(x) : sum), 0);

/** How much larger the second probability is than the last: what the workshop's table shows. 0.5 means by half. */
export function relativeDifference(p: number[]): number {
	const sorted = [...p].sort((a, b) => b - a);
	const second = sorted[1] ?? NaN;
	const last = sorted[sorted.length - 1] ?? NaN;
	return (second - last) / last;
}

/** Which classes are shown: the likeliest, then the least likely, in order of the logits; all where there are few. */
export function ends(logits: number[], top = 5, bottom = 4): { shown: number[]; left: number } {
	const order = logits.map((_, i) => i).sort((a, b) => logits[b]! - logits[a]! || a - b);
	if (order.length <= top + bottom + 1) return { shown: order, left: 0 };
	return { shown: [...order.slice(0, top), ...order.slice(-bottom)], left: order.length - top - bottom };
}

/** A slider's place, 0 to 1, as a temperature from 0.5 to 20, evenly in its logarithm; and back. */
const LOW = 0.5;
const HIGH = 20;
export const temperatureAt = (place: number): number => Number((LOW * (HIGH / LOW) ** place).toPrecision(3));
export const placeOf = (temperature: number): number => Math.min(1, Math.max(0, Math.log(temperature / LOW) / Math.log(HIGH / LOW)));
