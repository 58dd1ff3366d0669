// The events, newest first, and how the deliveries of each stand: of all webhooks, or with one.

import * as api from './api.js';
import { h } from './dom.js';
import { t, number } from './language.js';
import { empty, loading, options, perform, refusal, snippet, state, table, time } from './parts.js';
import { Pages } from './pages.js';

const PERIOD_MS = 2000;
const PAGE = 50;
const STATES = ['failed', 'waiting', 'queued', 'skipped', 'delivered'];

export function events(screen) {
    const list = new Events(screen, null, () => screen.show(t('nav.events'), list.draw()));
    screen.show(t('nav.events'), loading());
    list.follow();
}

/** The events for one webhook or for all, for a view to draw. */
export class Events {
    constructor(screen, endpoint, redraw) {
        Object.assign(this, { screen, endpoint, redraw });
        this.pages = new Pages(async (cursor) => {
            const { events, next_cursor } = await api.events({ ...this.filters(), limit: PAGE, cursor }, screen.signal);
            return { items: events, next: next_cursor };
        }, ({ webhook_id }) => webhook_id);
    }

    filters() {
        const { filters } = this.screen;
        return { endpoint_id: this.endpoint, event: filters.get('event'), state: filters.get('state') };
    }

    follow(also = async () => {}) {
        this.ask = this.screen.keepFresh(async () => {
            await Promise.all([also(), this.pages.refresh()]);
            this.redraw();
        }, PERIOD_MS);
    }

    change(name, value) {
        this.screen.filter(name, value);
        this.pages.reset();
        this.redraw();
        this.ask();
    }

    draw() {
        const { filters } = this.screen;
        const onchange = ({ currentTarget: { name, value } }) => this.change(name, value.trim());
        return [
            h('form.filters', { role: 'search', onsubmit: (event) => event.preventDefault() },
                h('label', {}, h('span.label', {}, t('state')),
                    h('select', { name: 'state', onchange, value: filters.get('state') ?? '' }, options([['', t('all')], ...STATES.map((name) => [name, t(`state.${name}`)])]))),
                h('label', {}, h('span.label', {}, t('event')),
                    h('input', { name: 'event', onchange, value: filters.get('event') ?? '', placeholder: 'product.*', spellcheck: 'false', autocomplete: 'off' }))),
            this.pages.refused ? refusal(this.pages.refused) : this.pages.items === null ? loading() : this.pages.items.length ? this.lines() : this.nothing(),
        ];
    }

    lines() {
        const { items, next, fresh } = this.pages;
        return [
            table({
                caption: t('nav.events'),
                kind: 'log',
                items,
                key: ({ webhook_id }) => webhook_id,
                rowKind: ({ webhook_id, state }) => [state === 'failed' && 'failed', fresh.has(webhook_id) && 'fresh'].filter(Boolean).join(' '),
                columns: [
                    { label: t('time'), kind: 'time', cell: ({ occurred_at }) => time(occurred_at) },
                    { label: t('state'), cell: (line) => state(line.state) },
                    { label: t('event'), kind: 'name', cell: ({ event, webhook_id }) => h('a', { href: `#/events/${webhook_id}` }, event) },
                    { label: 'webhook_id', kind: 'wide', cell: ({ webhook_id }) => h('code', {}, webhook_id) },
                    ...(this.endpoint ? [] : [{ label: t('deliveries'), kind: 'wide', cell: tally }]),
                    ...(this.screen.canWrite ? [{ label: t('action'), kind: 'action', cell: (line) => this.again(line) }] : []),
                ],
            }),
            next && h('p.more', {}, h('button', { type: 'button', onclick: ({ currentTarget }) => perform(currentTarget, () => this.pages.older()).then(this.redraw) }, t('older'))),
        ];
    }

    // What waits comes by itself, but perhaps only in six hours.
    again({ webhook_id, state }) {
        if (state === 'waiting' && this.endpoint) {
            return h('button.small', {
                type: 'button', 'aria-label': t('retry.what', { what: webhook_id }),
                onclick: ({ currentTarget }) => perform(currentTarget, () => api.retry(this.endpoint, webhook_id), () => t('retry.done')).then(() => this.ask()),
            }, t('retry.now'));
        }
        if (state === 'waiting' || state === 'queued') return h('span.quiet', {}, t('redeliver.waits'));
        return h('button.small', {
            type: 'button', 'aria-label': t('redeliver.what', { what: webhook_id }),
            onclick: ({ currentTarget }) => perform(currentTarget, () => api.redeliver(webhook_id, this.endpoint), ({ deliveries }) => t('redeliver.done', { n: deliveries }))
                .then(() => this.ask()),
        }, t('redeliver'));
    }

    nothing() {
        const { event, state } = this.filters();
        if (event || state) return empty(t('empty.filtered'), t('empty.filtered.text'));
        return empty(t('empty.events'), t('empty.events.text'), snippet('SQL', "SELECT webhooks.emit('order.paid', '{\"order_id\": 7}');"),
            snippet('curl', `curl -X POST ${location.origin}/api/v1/webhooks/${this.endpoint ?? 'ep_…'}/trigger -H 'Authorization: Bearer pgw_…' -H 'Content-Type: application/json' \\\n  -d '{"event":"product.updated"}'`));
    }
}

/** How many of the deliveries are where. */
function tally({ deliveries, delivered, waiting, failed, skipped }) {
    const queued = deliveries - delivered - waiting - failed - skipped;
    const parts = Object.entries({ delivered, waiting, queued, failed, skipped }).filter(([, count]) => count > 0);
    return h('span.tally', {}, parts.length ? parts.map(([name, count]) => h('span', {}, `${number(count)} `, t(`tally.${name}`, { n: count }))) : t('none'));
}
