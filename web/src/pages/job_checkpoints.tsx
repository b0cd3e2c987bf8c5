// SPDX-License-Identifier: Apache-2.0
// What can be taken away: checkpoints, their files, and how to load them.
import type { Checkpoint, Job } from '../api';
import type { JobData } from '../data';
import * as f from '../format';
import { Code, Copy, When, Scroll } from '../ui/parts';

export function Checkpoints({ job, d }: { job: Job; d: JobData }) {
	const list = [...d.checkpoints.value].sort((a, b) => Number(b.best) - Number(a.best) || b.step - a.step);
	if (list.length === 0) return <p class="nothing">No checkpoint yet. The first comes with the first epoch.</p>;
	const base = `${location.origin}/v1/jobs/${job.id}/checkpoints/best`;
	return (
		<div class="columns">
			<section>
				{list.map((c) => (
					<One key={c.id} c={c} />
				))}
			</section>
			<section>
				<h2>Take the best with curl</h2>
				<Code label="Fetching with curl" text={`mkdir -p student\ncurl -L ${base}.tar |\n  tar -x -C student --strip-components=1`} />
				<p>Works while the job runs; the address always leads to the best checkpoint so far.</p>
				<h2>Load it with transformers</h2>
				<Code
					label="Loading with transformers"
					text={`from transformers import pipeline\n\nclassify = pipeline("text-classification", model="student")\nclassify("where is my parcel?")\n\n# or\nfrom transformers import AutoModelForSequenceClassification, AutoTokenizer\n\nmodel = AutoModelForSequenceClassification.from_pretrained("student")\ntokenizer = AutoTokenizer.from_pretrained("student")`}
				/>
			</section>
		</div>
	);
}

const One = ({ c }: { c: Checkpoint }) => {
	const metrics = c.metrics as Record<string, number | null> | null;
	return (
		<article class={`checkpoint ${c.best ? 'is-best' : ''}`}>
			<div class="headline">
				<h2>
					Epoch {c.epoch}
					{c.best ? <span class="best-word">best</span> : null}
					{c.last ? <span class="last-word">last</span> : null}
				</h2>
				<a class="button" href={c.links.archive} download>
					Download .tar
				</a>
			</div>
			<p class="ids">
				<code>{c.id}</code> <Copy text={c.id} label="Copy id" />
				<span>step {f.integer(c.step)}</span>
				<span>{f.percent(metrics?.eval_accuracy, 2)}</span>
				<span>{f.bytes(c.size_bytes)}</span>
				<When at={c.created_at} />
			</p>
			<Scroll label={`Files of epoch ${c.epoch}`}>
				<table class="files">
					<thead>
						<tr>
							<th>File</th>
							<th class="num">Size</th>
							<th>SHA-256</th>
						</tr>
					</thead>
					<tbody>
						{c.files.map((file) => (
							<tr key={file.name}>
								<td>
									<a href={c.links.files.replace('{name}', file.name.split('/').map(encodeURIComponent).join('/'))} download>
										{file.name}
									</a>
								</td>
								<td class="num" title={`${f.integer(file.size_bytes)} bytes`}>
									{f.bytes(file.size_bytes)}
								</td>
								<td>
									<code title={file.sha256}>{file.sha256.slice(0, 16)}…</code> <Copy text={file.sha256} label="Copy hash" />
								</td>
							</tr>
						))}
					</tbody>
				</table>
			</Scroll>
		</article>
	);
};
