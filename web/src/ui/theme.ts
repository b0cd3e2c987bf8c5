// SPDX-License-Identifier: Apache-2.0
// Light, dark, or as the system has it. Charts are drawn on a canvas, so they ask here for colours.
import { computed, signal } from '@preact/signals';

export type Theme = 'system' | 'light' | 'dark';
const KEY = 'retort-theme';
const wide = matchMedia('(prefers-color-scheme: dark)');
const systemDark = signal(wide.matches);
wide.addEventListener('change', (e) => (systemDark.value = e.matches));

function remembered(): Theme {
	try {
		const t = localStorage.getItem(KEY);
		return t === 'light' || t === 'dark' ? t : 'system';
	} catch {
		return 'system'; // storage may be forbidden
	}
}

export const theme = signal<Theme>(remembered());
export const dark = computed(() => (theme.value === 'system' ? systemDark.value : theme.value === 'dark'));

export function applyTheme(): void {
	if (theme.value === 'system') delete document.documentElement.dataset.theme;
	else document.documentElement.dataset.theme = theme.value;
}

export function nextTheme(): void {
	theme.value = theme.value === 'system' ? (systemDark.value ? 'light' : 'dark') : theme.value === 'dark' ? 'light' : 'dark';
	if ((theme.value === 'dark') === systemDark.value) theme.value = 'system';
	try {
		localStorage.setItem(KEY, theme.value);
	} catch {
		// then it lasts as long as the page
	}
	applyTheme();
}

/** A custom property's colour as it is now. */
export const colour = (name: string): string => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
