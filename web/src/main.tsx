// SPDX-License-Identifier: Apache-2.0
// The frame around every page: the name, where one can go, whether the server is there.
import 'uplot/dist/uPlot.min.css';
import './style.css';
import { render } from 'preact';
import { lazy, Suspense } from 'preact/compat';
import * as f from './format';
import { Jobs } from './pages/jobs';
import { onLinkClick, place } from './router';
import { now } from './store';
import { link, retryNow } from './stream';
import { Confirm } from './ui/actions';
import { Messages } from './ui/parts';
import { applyTheme, nextTheme, theme } from './ui/theme';

const JobPage = lazy(() => import('./pages/job'));
const NewPage = lazy(() => import('./pages/new'));
const ComparePage = lazy(() => import('./pages/compare'));
const TemperaturePage = lazy(() => import('./pages/temperature'));

const Logo = () => (
	<svg class="logo" width="30" height="30" viewBox="0 0 32 32" aria-hidden="true">
		<path d="M10.2 8.2c3.2-1.5 6-.9 8.4 1.2l8.2 9.2" fill="none" stroke="currentColor" stroke-width="2.1" stroke-linecap="round" />
		<path d="M10.2 8.2A8.6 8.6 0 1 0 19 19.4c.3-2.2-.4-3.9-1.5-5.3" fill="none" stroke="currentColor" stroke-width="2.1" stroke-linecap="round" />
		<path class="fill" d="M4.2 18.6h13.4a6.7 6.7 0 0 1-13.4 0z" />
		<circle class="fill drop" cx="27" cy="24.6" r="2.2" />
	</svg>
);

const PAGES = [
	{ href: '/', name: 'Jobs', is: (p: string) => p === '/' || p.startsWith('/jobs') },
	{ href: '/new', name: 'New job', is: (p: string) => p === '/new' },
	{ href: '/compare', name: 'Compare', is: (p: string) => p === '/compare' },
	{ href: '/temperature', name: 'Temperature', is: (p: string) => p === '/temperature' },
];

function Connection() {
	const l = link.value;
	const text = l.state === 'live' ? 'live' : l.state === 'connecting' ? 'connecting' : 'server lost';
	return (
		<span class={`connection is-${l.state}`} role="status" title={l.state === 'live' ? 'Changes show as they happen' : undefined}>
			{text}
		</span>
	);
}

function Lost() {
	const l = link.value;
	if (l.state !== 'lost') return null;
	const wait = Math.max(0, Math.ceil((l.next - now.value) / 1000));
	return (
		<div class="lost" role="alert">
			<p>
				<strong>The server does not answer.</strong> What you see is from {f.ago(new Date(l.since).toISOString(), now.value)}. Trying again
				{wait > 0 ? ` in ${wait} s` : ' now'}; nothing has to be loaded anew.
			</p>
			<button type="button" onClick={retryNow}>
				Try now
			</button>
		</div>
	);
}


function App() {
	const path = place.value.path;
	const page =
		path === '/' || path === '/jobs' ? <Jobs />
		: path.startsWith('/jobs/') ? <JobPage />
		: path === '/new' ? <NewPage />
		: path === '/compare' ? <ComparePage />
		: path === '/temperature' ? <TemperaturePage />
		: <h1>There is no such page</h1>;
	return (
		<div class="frame" onClick={onLinkClick}>
			<a class="skip" href="#main" onClick={(e) => { e.preventDefault(); document.getElementById('main')?.focus(); }}>
				Skip to content
			</a>
			<header class="top">
				<a class="brand" href="/">
					<Logo />
					<span>Retort</span>
				</a>
				<nav aria-label="Pages">
					{PAGES.map((p) => (
						<a key={p.href} href={p.href} aria-current={p.is(path) ? 'page' : undefined}>
							{p.name}
						</a>
					))}
				</nav>
				<Connection />
				<button type="button" class="theme" onClick={nextTheme} aria-label={`Colours: ${theme.value}. Change`} title={`Colours: ${theme.value}`}>
					<svg width="18" height="18" viewBox="0 0 18 18" aria-hidden="true">
						<circle cx="9" cy="9" r="7" fill="none" stroke="currentColor" stroke-width="1.6" />
						<path d={theme.value === 'dark' ? 'M9 2a7 7 0 0 1 0 14 7 7 0 0 1 0-14z' : theme.value === 'light' ? 'M9 5.5v7' : 'M9 2a7 7 0 0 1 0 14z'} fill="currentColor" stroke="none" />
					</svg>
				</button>
			</header>
			<Lost />
			<main id="main" tabIndex={-1}>
				<Suspense fallback={<p class="loading">Loading</p>}>{page}</Suspense>
			</main>
			<Confirm />
			<Messages />
		</div>
	);
}

applyTheme();
render(<App />, document.getElementById('app')!);
