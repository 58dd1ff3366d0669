// One webhook: what it is, how it does, what can be done with it, and its log or its events.

import * as api from './api.js';
import { h } from './dom.js';
import { t, duration } from './language.js';
import { recent, success } from './charts.js';
import { acts } from './webhook-acts.js';
import { address, away, copyButton, givenUp, loading, reason, shape, state, time, waiting, when } from './parts.js';
import { Events } from './events.js';
import { Log } from './log.js';

export function webhook(screen, id) {
    let known = null, health = null;
    const showsEvents = screen.filters.get('view') === 'events';
    const list = new (showsEvents ? Events : Log)(screen, id, draw);
    screen.show(id, loading());
    list.follow(load);

    async function load() {
        const [one, { health: [figures] }] = await Promise.all([api.webhook(id, screen.signal), api.health(id, screen.signal)]);
        known = one.webhook;
        health = figures;
    }

    function draw() {
        if (!known) return;
        screen.show(known.url,
            h('header.top', {},
                h('h1', { tabindex: -1 }, address(known.url)),
                h('p.facts', {}, state(health.state), h('code', {}, known.id), copyButton(known.id, t('copy.what', { what: known.id })),
                    known.description && h('span', {}, known.description))),
            known.active ? null : disabled(),
            screen.canWrite ? acts(known, { refresh: () => list.ask(), go: screen.go }) : h('p.callout', {}, t('read-only')),
            figures(),
            h('nav.tabs', { 'aria-label': t('webhook') },
                h('a', { href: `#/webhooks/${id}`, 'aria-current': showsEvents ? null : 'page' }, t('attempts')),
                h('a', { href: `#/webhooks/${id}?view=events`, 'aria-current': showsEvents ? 'page' : null }, t('nav.events'))),
            h('section', { 'aria-label': t(showsEvents ? 'nav.events' : 'attempts') }, list.draw()));
    }

    function disabled() {
        return h('div.callout', { key: 'disabled' }, h('p', {}, shape('off'), h('strong', {}, t('state.disabled')), ' ', known.disabled_at && when(known.disabled_at)),
            known.disabled_reason && h('p', {}, reason(known.disabled_reason)), h('p', {}, t('disabled.waits', { n: health.pending })));
    }

    function figures() {
        const figure = (label, value, note) => h('div', {}, h('dt', {}, label), h('dd.value', {}, value), note && h('dd.note', {}, note));
        return h('dl.figures.of-webhook', {},
            h('div.chart', {}, h('dt', {}, t('health.recent')), h('dd', {}, recent(health))),
            figure(t('health.delivered'), success(health), t('health.of', { n: health.attempts })),
            figure(t('health.latency'), health.attempts ? duration(health.p50_ms) : '–', health.attempts ? t('health.p95', { time: duration(health.p95_ms) }) : null),
            figure(t('health.pending'), waiting(health.pending), health.next_attempt_at && known.active && [t('next'), ' ', away(health.next_attempt_at)]),
            h('div', {}, h('dt', {}, t('events')), h('dd', {}, known.events.map((name) => h('code.chip', {}, name)))),
            h('div', {}, h('dt', {}, t('secret')), h('dd', {}, known.has_secret ? t('secret.has') : h('span.state.wait', {}, shape('bad'), t('secret.none'))),
                h('dd.note', {}, t('created'), ' ', time(known.created_at))),
            health.last_error && h('div.wide', {}, h('dt', {}, t('health.error')), h('dd', {}, reason(health.last_error)), h('dd.note', {}, away(health.last_error_at)), health.given_up > 0 && h('dd.note', {}, givenUp(health))));
    }
}
