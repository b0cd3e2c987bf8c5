// SPDX-License-Identifier: Apache-2.0
// Parallel coordinates: an axis for each thing that differs, a line for each job.
import { useRef, useState, useEffect } from 'preact/hooks';
import { axisOf, type Value } from '../compare';
import * as f from '../format';
import { modelName } from '../ui/parts';

export interface ParallelLine {
	id: string;
	label: string;
	stroke: string; // a CSS colour
	dash?: string;
	values: Value[];
}

const HEIGHT = 300;
const TOP = 48;
const BOTTOM = 18;

export const show = (v: Value): string => (typeof v === 'number' ? f.value(v) : v === null ? f.NONE : modelName(String(v)));
const cut = (text: string): string => (text.length > 13 ? `${text.slice(0, 12)}…` : text);

export function Parallel({ names, lines, lit, label, format }: { names: string[]; lines: ParallelLine[]; lit: string | null; label: string; format: (axis: number, v: Value) => string }) {
	const box = useRef<HTMLDivElement>(null);
	const [width, setWidth] = useState(900);
	useEffect(() => {
		const size = new ResizeObserver(() => box.current && setWidth(Math.max(box.current.clientWidth, names.length * 104)));
		size.observe(box.current!);
		return () => size.disconnect();
	}, [names.length]);
	const axes = names.map((n, i) => axisOf(n, lines.map((l) => l.values[i] ?? null)));
	const side = 84;
	const x = (i: number) => (axes.length === 1 ? width / 2 : side + (i * (width - 2 * side)) / (axes.length - 1));
	const y = (at: number) => TOP + (1 - at) * (HEIGHT - TOP - BOTTOM);
	const path = (l: ParallelLine): string => {
		let d = '';
		let open = false;
		axes.forEach((a, i) => {
			const at = a.at(l.values[i] ?? null);
			if (at === null) {
				open = false;
				return;
			}
			if (!open) d += `M${x(i)} ${y(at)}`;
			else {
				const half = (x(i) - x(i - 1)) / 2;
				const before = y(axes[i - 1]!.at(l.values[i - 1] ?? null)!);
				d += `C${x(i - 1) + half} ${before} ${x(i) - half} ${y(at)} ${x(i)} ${y(at)}`;
			}
			open = true;
		});
		return d;
	};
	return (
		<div class="parallel" ref={box} tabIndex={0} role="img" aria-label={label}>
			<svg width={width} height={HEIGHT} aria-hidden="true">
				{axes.map((a, i) => (
					<g key={a.name} transform={`translate(${x(i)} 0)`}>
						<text class="axis-name" y={18} text-anchor="middle">
							{a.name}
							{a.log ? ' (log)' : ''}
						</text>
						<path class="axis" d={`M0 ${y(1)}V${y(0)}`} />
					</g>
				))}
				{lines.map((l) => (
					<g key={l.id} class={lit === null ? '' : lit === l.id ? 'is-lit' : 'is-dim'}>
						<path class="line" d={path(l)} style={{ stroke: l.stroke, strokeDasharray: l.dash ?? 'none' }} />
						{axes.map((a, i) => {
							const at = a.at(l.values[i] ?? null);
							return at === null ? null : <circle key={a.name} cx={x(i)} cy={y(at)} r={4} style={{ fill: l.stroke }} />;
						})}
					</g>
				))}
				{axes.map((a, i) => (
					<g key={a.name} transform={`translate(${x(i)} 0)`}>
						{a.ticks.filter((t, k) => k === 0 || k === a.ticks.length - 1 || (t.at - a.ticks[k - 1]!.at > 0.07 && a.ticks[a.ticks.length - 1]!.at - t.at > 0.07)).map((t) => (
							<text key={String(t.value)} class="tick" x={i === axes.length - 1 ? 10 : -10} y={y(t.at) + 4} text-anchor={i === axes.length - 1 ? 'start' : 'end'}>
								{cut(format(i, t.value))}
							</text>
						))}
					</g>
				))}
			</svg>
		</div>
	);
}
