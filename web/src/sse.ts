// SPDX-License-Identifier: Apache-2.0
// Reads Server-Sent Events from text that comes in pieces (WHATWG HTML, 9.2.6).

export interface Frame {
	id: string | null; // the last id so far, of this frame or of one before it
	event: string;
	data: string; // "": a frame that only sets the id
}

export class SseReader {
	private rest = '';
	private id: string | null = null;
	private event = '';
	private data: string[] = [];
	private sawId = false;

	/** The frames that are complete with this piece. */
	push(text: string): Frame[] {
		const frames: Frame[] = [];
		this.rest += text;
		let from = 0;
		for (;;) {
			const cr = this.rest.indexOf('\r', from);
			const lf = this.rest.indexOf('\n', from);
			const end = cr < 0 ? lf : lf < 0 ? cr : Math.min(cr, lf);
			if (end < 0 || (end === cr && end === this.rest.length - 1)) break; // a lone CR at the end may be half of CRLF
			this.line(this.rest.slice(from, end), frames);
			from = end + (this.rest.startsWith('\r\n', end) ? 2 : 1);
		}
		this.rest = this.rest.slice(from);
		return frames;
	}

	private line(line: string, frames: Frame[]): void {
		if (line === '') {
			if (this.data.length > 0 || this.sawId) frames.push({ id: this.id, event: this.event || 'message', data: this.data.join('\n') });
			this.event = '';
			this.data = [];
			this.sawId = false;
			return;
		}
		const colon = line.indexOf(':');
		if (colon === 0) return; // a comment
		const name = colon < 0 ? line : line.slice(0, colon);
		let value = colon < 0 ? '' : line.slice(colon + 1);
		if (value.startsWith(' ')) value = value.slice(1);
		if (name === 'data') this.data.push(value);
		else if (name === 'event') this.event = value;
		else if (name === 'id' && !value.includes('\0')) {
			this.id = value;
			this.sawId = true;
		}
	}
}
