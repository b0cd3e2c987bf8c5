// SPDX-License-Identifier: Apache-2.0
// The address is the state of a page: filters, tabs and choices stand in it, so that it can be shared and gone back to.
import { signal } from '@preact/signals';

export interface Place {
	path: string;
	query: URLSearchParams;
}

const read = (): Place => ({ path: location.pathname.replace(/(.)\/+$/, '$1'), query: new URLSearchParams(location.search) });

export const place = signal<Place>(read());

window.addEventListener('popstate', () => (place.value = read()));

export function go(href: string, how: 'push' | 'replace' = 'push'): void {
	if (how === 'push') history.pushState(null, '', href);
	else history.replaceState(null, '', href);
	const before = place.value.path;
	place.value = read();
	if (how === 'push' && place.value.path !== before) window.scrollTo(0, 0);
}

/** The same page with some of its query changed; an empty value leaves out. */
export function withQuery(changes: Record<string, string | string[] | null>, query = place.value.query): string {
	const next = new URLSearchParams(query);
	for (const [name, value] of Object.entries(changes)) {
		next.delete(name);
		for (const v of Array.isArray(value) ? value : [value]) if (v) next.append(name, v);
	}
	const text = next.toString().replace(/%2C/g, ',');
	return place.value.path + (text ? `?${text}` : '');
}

/** Links within the site do not load the page again. */
export function onLinkClick(e: MouseEvent): void {
	if (e.defaultPrevented || e.button !== 0 || e.metaKey || e.ctrlKey || e.shiftKey || e.altKey) return;
	const a = (e.target as Element | null)?.closest?.('a');
	if (!a || a.target || a.hasAttribute('download') || a.origin !== location.origin || a.pathname.startsWith('/v1') || a.pathname.endsWith('.json')) return;
	e.preventDefault();
	go(a.pathname + a.search + a.hash);
}
