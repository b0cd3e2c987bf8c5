// SPDX-License-Identifier: Apache-2.0
// One chart: uPlot, fitted to its box, redrawn in the colours of the theme. Charts that share `zoom` show the same part.
import { type Signal, useSignalEffect } from '@preact/signals';
import { useEffect, useRef } from 'preact/hooks';
import uPlot from 'uplot';
import { colour, dark } from '../ui/theme';
import { join, type Line } from './series';

export interface PlotLine extends Line {
	label: string;
	colour: string; // a custom property's name, or a colour
	width?: number;
	dash?: number[];
	points?: boolean; // a dot at each value
	faint?: boolean;
	hidden?: boolean;
}

export interface Mark {
	x: number;
	label: string;
	colour: string;
	y?: number; // a point there; otherwise a line from top to bottom
}

export type Zoom = Signal<[number, number] | null>;

interface Props {
	label: string; // what the chart shows, for those who do not see it
	lines: PlotLine[];
	format: (v: number) => string;
	range?: [number, number]; // of x when nothing is zoomed
	marks?: Mark[];
	zoom?: Zoom;
	sync?: string;
	height?: number;
	floor?: number; // y never begins above it
	xLabel?: string;
	compact?: boolean; // the legend shows values only; the names stand elsewhere on the page
}

const resolve = (c: string): string => (/^[a-z0-9-]+$/.test(c) ? colour(c) : c);

function fade(c: string, alpha: number): string {
	const probe = /^#([0-9a-f]{6})$/i.exec(c);
	return probe ? `${c}${Math.round(alpha * 255).toString(16).padStart(2, '0')}` : c;
}

function drawMarks(u: uPlot, marks: Mark[]): void {
	const { ctx, bbox } = u;
	const ratio = devicePixelRatio;
	ctx.save();
	ctx.beginPath();
	ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
	ctx.clip();
	ctx.font = `500 ${11 * ratio}px 'IBM Plex Sans Variable', sans-serif`;
	for (const m of marks) {
		ctx.setLineDash([]);
		const x = u.valToPos(m.x, 'x', true);
		const c = resolve(m.colour);
		ctx.strokeStyle = ctx.fillStyle = c;
		ctx.lineWidth = ratio;
		if (m.y === undefined) {
			ctx.setLineDash([3 * ratio, 3 * ratio]);
			ctx.beginPath();
			ctx.moveTo(x, bbox.top);
			ctx.lineTo(x, bbox.top + bbox.height);
			ctx.stroke();
			ctx.setLineDash([]);
			ctx.textBaseline = 'top';
			ctx.textAlign = 'left';
			ctx.fillText(m.label, x + 4 * ratio, bbox.top + 3 * ratio);
		} else {
			const y = u.valToPos(m.y, 'y', true);
			const r = 6.5 * ratio;
			ctx.lineWidth = 2 * ratio;
			ctx.beginPath();
			ctx.arc(x, y, r, 0, 2 * Math.PI);
			ctx.stroke();
			const right = x > bbox.left + bbox.width * 0.7;
			const below = y < bbox.top + 26 * ratio;
			ctx.textAlign = right ? 'right' : 'left';
			ctx.textBaseline = below ? 'top' : 'bottom';
			ctx.lineWidth = 4 * ratio;
			ctx.strokeStyle = colour('page');
			ctx.lineJoin = 'round';
			const at: [number, number] = [x + (right ? -1 : 1) * 9 * ratio, y + (below ? 9 : -7) * ratio];
			ctx.strokeText(m.label, ...at); // so that it is read over a line
			ctx.fillText(m.label, ...at);
		}
	}
	ctx.restore();
}

export function Plot(props: Props) {
	const box = useRef<HTMLDivElement>(null);
	const plot = useRef<uPlot | null>(null);
	const latest = useRef(props);
	latest.current = props;
	// What makes a new chart; other changes are new data for the one that is there.
	const shape = JSON.stringify([props.lines.map((l) => [l.label, l.colour, l.width, l.dash, l.points, l.faint]), props.height, props.sync, dark.value]);

	useEffect(() => {
		const el = box.current!;
		const { lines, height = 220, sync, xLabel = 'epoch' } = latest.current;
		const axis = { stroke: colour('muted'), grid: { stroke: colour('grid'), width: 1 }, ticks: { show: false }, font: "11px 'IBM Plex Sans Variable', sans-serif" };
		const u = new uPlot(
			{
				width: Math.max(200, el.clientWidth),
				height,
				padding: [10, 12, 0, 0],
				cursor: {
					drag: { x: true, y: false, setScale: false },
					...(sync ? { sync: { key: sync, setSeries: false } } : {}),
					points: { size: 7 },
					focus: { prox: 24 },
				},
				focus: { alpha: 1 },
				legend: {
					live: true,
					markers: {
						dash: (_u, i) => {
							const dash = lines[i - 1]?.dash;
							return dash ? (dash[0]! > 4 ? 'dashed' : 'dotted') : 'solid';
						},
					},
				},
				scales: {
					x: { time: false, range: (_u, min, max) => latest.current.zoom?.value ?? latest.current.range ?? [min, max === min ? min + 1 : max] },
					y: {
						range: (_u, min, max) => {
							if (min === null || max === null) return [0, 1];
							const pad = (max - min || Math.abs(max) || 1) * 0.08;
							const low = min - pad;
							const { floor } = latest.current;
							return [floor !== undefined && low < floor ? floor : low, max + pad];
						},
					},
				},
				axes: [
					{ ...axis, size: 34, label: xLabel, labelSize: 14, labelFont: axis.font, labelGap: -2, space: 44, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000] },
					{ ...axis, size: 58, values: (_u, ticks) => ticks.map((v) => latest.current.format(v)) },
				],
				series: [
					{ label: xLabel, value: (_u, v) => (v === null ? '–' : String(Math.round(v * 100) / 100)) },
					...lines.map(
						(l): uPlot.Series => ({
							label: l.label,
							show: !l.hidden,
							stroke: l.faint ? fade(resolve(l.colour), 0.35) : resolve(l.colour),
							width: l.width ?? 2,
							dash: l.dash,
							spanGaps: false,
							points: { show: l.points ?? false, size: 6, fill: resolve(l.colour), width: 0 },
							value: (_u, v) => (v === null || v === undefined ? '–' : latest.current.format(v)),
						}),
					),
				],
				hooks: {
					draw: [(u) => drawMarks(u, latest.current.marks ?? [])],
					setSelect: [
						(u) => {
							if (u.select.width < 4 || !latest.current.zoom) return;
							latest.current.zoom.value = [u.posToVal(u.select.left, 'x'), u.posToVal(u.select.left + u.select.width, 'x')];
							u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
						},
					],
				},
			},
			[[], ...lines.map(() => [])],
			el,
		);
		el.ondblclick = () => {
			if (latest.current.zoom) latest.current.zoom.value = null;
		};
		plot.current = u;
		setData();
		const size = new ResizeObserver(() => {
			if (el.clientWidth > 0 && Math.abs(el.clientWidth - u.width) > 1) u.setSize({ width: el.clientWidth, height });
		});
		size.observe(el);
		return () => {
			size.disconnect();
			u.destroy();
			plot.current = null;
		};
	}, [shape]);

	const setData = () => {
		const { x, columns } = join(latest.current.lines);
		plot.current?.setData([x, ...columns] as uPlot.AlignedData);
	};
	useEffect(setData, [props.lines, props.marks, props.range?.[0], props.range?.[1]]);
	useSignalEffect(() => {
		void props.zoom?.value;
		setData();
	});

	return <div class={`plot ${props.compact ? 'is-compact' : ''}`} ref={box} role="img" aria-label={props.label} />;
}
