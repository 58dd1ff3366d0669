// A list of which the newest page is asked for again and again, and older pages once, when somebody wants them.

import { Refusal } from './api.js';

/**
 * Lines of the delivery log, newest first, with a `key` each. Their times are in whole seconds: of those that are alike the
 * oldest is the first.
 */
export function withKeys(lines) {
    const alike = new Map();
    for (const line of lines.toReversed()) {
        const key = [line.webhook_id, line.endpoint_id, line.timestamp].join(' ');
        const count = (alike.get(key) ?? 0) + 1;
        alike.set(key, count);
        line.key = `${key} ${count}`;
    }
    return lines;
}

/** `fetch(cursor)` gives `{ items, next }`, newest first; `key(item)` tells them apart. */
export class Pages {
    constructor(fetch, key) {
        Object.assign(this, { fetch, key });
        this.reset();
    }

    /** Forgets everything, as when the filters change. */
    reset() {
        Object.assign(this, { items: null, next: null, fresh: new Set(), refused: null, hasOlder: false, edition: (this.edition ?? 0) + 1 });
    }

    /** Reads the newest page; returns the items that were not there before, none the first time. */
    async refresh() {
        const { edition } = this;
        const { items, next } = await this.fetch().catch((error) => this.refuse(error));
        if (!items || edition !== this.edition) return [];
        this.refused = null;
        const before = new Set(this.items?.map(this.key));
        const added = this.items ? items.filter((item) => !before.has(this.key(item))) : [];
        const page = new Set(items.map(this.key));
        // Where nothing of the page was there before, there may be a gap behind it.
        const isJoined = this.hasOlder && added.length < items.length;
        this.items = isJoined ? [...items, ...this.items.filter((item) => !page.has(this.key(item)))] : items;
        if (!isJoined) Object.assign(this, { next, hasOlder: false });
        this.fresh = new Set([...this.fresh, ...added.map(this.key)].filter((key) => page.has(key)));
        return added;
    }

    // A filter that the server does not take concerns the list, not the view around it.
    refuse(error) {
        if (!(error instanceof Refusal) || [401, 429].includes(error.status) || error.status >= 500) throw error;
        this.refused = error;
        return {};
    }

    /** Reads the page behind the last. */
    async older() {
        const { edition } = this;
        const { items, next } = await this.fetch(this.next);
        if (edition !== this.edition) return;
        const before = new Set(this.items.map(this.key));
        Object.assign(this, { items: [...this.items, ...items.filter((item) => !before.has(this.key(item)))], next, hasOlder: true });
    }
}
