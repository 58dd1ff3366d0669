// The delivery log as it is written: every attempt, newest first, new ones without a reload.

import * as api from './api.js';
import { h } from './dom.js';
import { t, number, duration } from './language.js';
import { connection } from './live.js';
import { address, announce, away, empty, loading, options, perform, reason, refusal, snippet, state, table, time } from './parts.js';
import { Pages, withKeys } from './pages.js';

const PERIOD_MS = 1000;
const PAGE = 100;
/** How long what is new is gathered before it is said aloud. */
const ANNOUNCE_MS = 10_000;
const TYPING_MS = 300;
const OUTCOMES = ['failed', 'delivered', 'retry', 'rejected', 'gone', 'exhausted', 'unreadable'];

/** The log of all webhooks. */
export function deliveries(screen) {
    const log = new Log(screen, null, () => screen.show(t('nav.deliveries'), log.draw()));
    screen.show(t('nav.deliveries'), loading());
    log.follow();
}

/** The log of one webhook or of all, for a view to draw. `redraw` is called when there is something new to see. */
export class Log {
    constructor(screen, endpoint, redraw) {
        Object.assign(this, { screen, endpoint, redraw, isPaused: false, webhooks: [], types: [], unsaid: { n: 0, failed: 0 }, saidAt: Date.now() });
        connection.addEventListener('change', () => redraw(), { signal: screen.signal });
        this.pages = new Pages(async (cursor) => {
            const { attempts, next_cursor } = await api.attempts({ ...this.filters(), limit: PAGE, cursor }, screen.signal);
            return { items: withKeys(attempts), next: next_cursor };
        }, (line) => line.key);
    }

    filters() {
        const { filters } = this.screen;
        return {
            endpoint_id: this.endpoint ?? filters.get('webhook'), outcome: filters.get('outcome'), event: filters.get('event'), search: filters.get('search'),
        };
    }

    /** Begins to follow the log; `also` is loaded along with it. */
    async follow(also = async () => {}) {
        this.ask = this.screen.keepFresh(async () => {
            if (!this.types.length) await this.loadChoices();
            await also();
            if (!this.isPaused) this.say(await this.pages.refresh());
            this.redraw();
        }, PERIOD_MS);
    }

    async loadChoices() {
        const [{ event_types }, { webhooks }] = await Promise.all([
            api.eventTypes(this.screen.signal), this.endpoint ? { webhooks: [] } : api.webhooks(this.screen.signal),
        ]);
        const names = event_types.map(({ event }) => event);
        this.types = [...new Set(names.map((name) => `${name.split('.')[0]}.*`)), ...names].sort();
        this.webhooks = webhooks;
    }

    // A sentence now and then, however much there is.
    say(added) {
        this.unsaid.n += added.length;
        this.unsaid.failed += added.filter(({ outcome }) => outcome !== 'delivered').length;
        if (!this.unsaid.n || Date.now() - this.saidAt < ANNOUNCE_MS) return;
        announce(t('log.news', this.unsaid));
        Object.assign(this, { unsaid: { n: 0, failed: 0 }, saidAt: Date.now() });
    }

    change(name, value) {
        this.screen.filter(name, value);
        this.pages.reset();
        this.isPaused = false;
        this.redraw();
        this.ask();
    }

    // Each key is no question yet.
    search({ currentTarget: { name, value } }) {
        clearTimeout(this.typing);
        this.typing = setTimeout(() => this.change(name, value.trim()), TYPING_MS);
    }

    draw() {
        return [this.controls(), this.pages.refused ? refusal(this.pages.refused) : this.pages.items === null ? loading() : this.pages.items.length ? this.lines() : this.nothing()];
    }

    controls() {
        const { filters } = this.screen;
        const onchange = ({ currentTarget: { name, value } }) => this.change(name, value.trim());
        return h('form.filters', { role: 'search', onsubmit: (event) => event.preventDefault() },
            h('label', {}, h('span.label', {}, t('outcome')),
                h('select', { name: 'outcome', onchange, value: filters.get('outcome') ?? '' },
                    options([['', t('all')], ...OUTCOMES.map((name) => [name, name === 'failed' ? t('outcome.failed') : t(`state.${name}`)])]))),
            h('label', {}, h('span.label', {}, t('event')),
                h('input', { name: 'event', list: 'types', onchange, value: filters.get('event') ?? '', placeholder: 'product.*', spellcheck: 'false', autocomplete: 'off' }),
                h('datalist', { id: 'types' }, this.types.map((name) => h('option', { value: name })))),
            !this.endpoint && h('label', {}, h('span.label', {}, t('webhook')),
                h('select', { name: 'webhook', key: `webhooks ${this.webhooks.length}`, onchange, value: filters.get('webhook') ?? '' },
                    options([['', t('all')], ...this.webhooks.map(({ id, url }) => [id, url.replace(/^\w+:\/\//, '')])]))),
            h('label.grow', {}, h('span.label', {}, t('search')),
                h('input', { name: 'search', type: 'search', oninput: (event) => this.search(event), value: filters.get('search') ?? '', placeholder: t('search.what'), spellcheck: 'false' })),
            h('button', { type: 'button', id: 'pause', 'aria-pressed': String(this.isPaused), onclick: () => this.pause() }, t(this.isPaused ? 'log.resume' : 'log.pause')),
            this.liveness());
    }

    liveness() {
        const name = this.isPaused ? 'paused' : connection.trouble ? 'lost' : 'live';
        return h(name === 'live' ? 'span.live' : 'span.live.paused', {}, t(`log.${name}`));
    }

    pause() {
        this.isPaused = !this.isPaused;
        this.redraw();
        if (!this.isPaused) this.ask();
    }

    lines() {
        const { items, next, fresh, key } = this.pages;
        return [
            table({
                caption: t('nav.deliveries'),
                kind: 'log',
                items,
                key,
                rowKind: (line) => [line.outcome !== 'delivered' && 'failed', fresh.has(key(line)) && 'fresh'].filter(Boolean).join(' '),
                columns: [
                    { label: t('time'), kind: 'time', cell: (line) => time(line.timestamp) },
                    { label: t('outcome'), cell: (line) => state(line.outcome) },
                    { label: t('event'), kind: 'name', cell: (line) => h('a', { href: `#/events/${line.webhook_id}` }, line.event) },
                    ...(this.endpoint ? [] : [{ label: t('webhook'), kind: 'wide', cell: (line) => h('a.quiet', { href: `#/webhooks/${line.endpoint_id}` }, address(line.url)) }]),
                    { label: t('status'), kind: 'number', cell: (line) => line.http_status ?? '–' },
                    { label: t('took'), kind: 'number', cell: (line) => duration(line.response_time_ms) },
                    { label: t('retry'), kind: 'number labelled', cell: (line) => line.retry_count ? number(line.retry_count) : null },
                    {
                        label: t('error'), kind: 'error', cell: (line) => [line.error && reason(line.error), new Date(line.next_attempt_at ?? 0) > Date.now() && h('span.note', {}, t('next'), ' ', away(line.next_attempt_at))],
                    },
                ],
            }),
            next && h('p.more', {}, h('button', { type: 'button', onclick: ({ currentTarget }) => perform(currentTarget, () => this.pages.older()).then(this.redraw) }, t('older'))),
        ];
    }

    nothing() {
        const { outcome, event, search } = this.filters();
        if (outcome || event || search) return empty(t('empty.filtered'), t('empty.filtered.text'));
        const sql = this.endpoint ? `SELECT webhooks.test('${this.endpoint}');` : "UPDATE products SET price = price + 1 WHERE id = 1;";
        return empty(t('empty.log'), t('empty.log.text'), snippet('SQL', sql),
            snippet('curl', `curl -X POST ${location.origin}/api/v1/webhooks/${this.endpoint ?? 'ep_…'}/test -H 'Authorization: Bearer pgw_…'`));
    }
}
