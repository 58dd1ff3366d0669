// One event: where it went, every attempt with what was sent and what came back, and its exact body.

import * as api from './api.js';
import { h } from './dom.js';
import { t, number, bytes, duration } from './language.js';
import { address, away, coloured, copyButton, empty, loading, perform, reason, state, table, time, when } from './parts.js';
import { withKeys } from './pages.js';

const PERIOD_MS = 1000;

export function event(screen, id) {
    let shown = null, isPretty = true;
    screen.show(id, loading());
    const ask = screen.keepFresh(async () => {
        ({ event: shown } = await api.oneEvent(id, screen.signal));
        draw();
    }, PERIOD_MS);

    function draw() {
        screen.show(shown.event,
            h('header.top', {},
                h('h1', { tabindex: -1 }, shown.event),
                h('p.facts', {}, h('code', {}, shown.webhook_id), ' ', copyButton(shown.webhook_id, t('copy.what', { what: shown.webhook_id })), ' ', when(shown.occurred_at))),
            h('section', {},
                h('div.head', {}, h('h2', {}, t('deliveries')),
                    screen.canWrite && shown.deliveries.length > 1 && h('button', { type: 'button', onclick: ({ currentTarget }) => again(currentTarget) }, t('redeliver.all'))),
                shown.deliveries.length ? deliveries() : empty(t('empty.deliveries'), t('empty.deliveries.text'))),
            h('section', {},
                h('h2', {}, t('attempts'), ' ', h('span.quiet', {}, number(shown.attempts.length))),
                shown.attempts.length ? h('ol.attempts', {}, withKeys(shown.attempts).map(attempt)) : h('p.quiet', {}, t('attempts.none'))),
            body());
    }

    function again(button, endpoint) {
        perform(button, () => api.redeliver(id, endpoint), ({ deliveries }) => t('redeliver.done', { n: deliveries })).then(ask);
    }

    function deliveries() {
        return table({
            caption: t('deliveries'),
            kind: 'deliveries',
            items: shown.deliveries,
            key: ({ endpoint_id }) => endpoint_id,
            columns: [
                { label: t('state'), cell: (line) => state(line.state) },
                { label: t('webhook'), kind: 'wide', cell: (line) => [h('a', { href: `#/webhooks/${line.endpoint_id}` }, address(line.url)), !line.active && h('span.note', {}, t('state.disabled'))] },
                { label: t('attempts'), kind: 'number', cell: (line) => number(line.attempts) },
                { label: t('status'), kind: 'number', cell: (line) => line.http_status ?? '–' },
                { label: t('error'), kind: 'error', cell: (line) => line.error && reason(line.error) },
                { label: t('next.attempt'), cell: (line) => line.next_attempt_at ? [time(line.next_attempt_at), h('span.note', {}, away(line.next_attempt_at))] : null },
                ...(screen.canWrite ? [{ label: t('action'), kind: 'action', cell: (line) => againOrWhy(line) }] : []),
            ],
        });
    }

    // What waits comes by itself, but perhaps only in six hours.
    function againOrWhy(line) {
        if (line.state === 'waiting' && line.active) {
            return h('button.small', {
                type: 'button', 'aria-label': t('retry.what', { what: line.url }),
                onclick: ({ currentTarget }) => perform(currentTarget, () => api.retry(line.endpoint_id, id), () => t('retry.done')).then(ask),
            }, t('retry.now'));
        }
        if (line.state === 'waiting' || line.state === 'queued') return h('span.quiet', {}, t('redeliver.waits'));
        return h('button.small', {
            type: 'button', 'aria-label': t('redeliver.what', { what: line.url }), onclick: ({ currentTarget }) => again(currentTarget, line.endpoint_id),
        }, t('redeliver'));
    }

    function attempt(line) {
        return h('li.attempt', { key: line.key },
            h('div.said', {},
                state(isRetried(line) ? 'retried' : line.outcome), h('strong', {}, line.http_status ?? t('no-answer')), h('span', {}, duration(line.response_time_ms)),
                time(line.timestamp), h('span.quiet', {}, line.retry_count ? t('retry.n', { n: line.retry_count }) : t('retry.first')),
                shown.deliveries.length > 1 && address(line.url)),
            line.error && h('p', {}, reason(line.error)),
            new Date(line.next_attempt_at ?? 0) > Date.now() && h('p.quiet', {}, t('next'), ' ', when(line.next_attempt_at)),
            h('details', {}, h('summary', {}, t('sent')), headers(line.request_headers ?? {})),
            h('details', {}, h('summary', {}, t('answer'), ' ', h('span.quiet', {}, line.response ? bytes(size(line.response)) : t('answer.none'))),
                line.response ? text(line.response, t('answer')) : h('p.quiet', {}, t('answer.kept'))));
    }

    // Of what was to be tried again, and has been since.
    function isRetried({ outcome, endpoint_id, timestamp }) {
        return outcome === 'retry' && shown.attempts.some((later) => later.endpoint_id === endpoint_id && new Date(later.timestamp) > new Date(timestamp));
    }

    function body() {
        const pretty = parsed(shown.body);
        const asSent = !isPretty || pretty === null;
        const view = (label, value) => h('button', { type: 'button', 'aria-pressed': String(isPretty === value), onclick: () => { isPretty = value; draw(); } }, label);
        return h('section', {},
            h('div.head', {}, h('h2', {}, t('body')), h('span.quiet', {}, bytes(size(shown.body))),
                pretty !== null && h('div.switch', { role: 'group', 'aria-label': t('body.view') }, view(t('body.pretty'), true), view(t('body.exact'), false)),
                copyButton(shown.body, t('copy.what', { what: t('body.exact') }))),
            h(asSent ? 'pre.body.exact' : 'pre.body', { tabindex: 0, role: 'group', 'aria-label': t('body') }, asSent ? shown.body : coloured(JSON.stringify(pretty, null, 2))));
    }
}

const size = (string) => new TextEncoder().encode(string).length;

const text = (content, label) => h('pre', { tabindex: 0, role: 'group', 'aria-label': label }, content);

const headers = (sent) => h('dl.headers', {}, Object.entries(sent).map(([name, value]) => [h('dt', {}, name), h('dd', {}, value)]));

function parsed(json) {
    try {
        return JSON.parse(json);
    } catch {
        return null;
    }
}
