// How it goes: the verdict in a sentence, the figures behind it, the last hour, and every webhook with its health.

import * as api from './api.js';
import { h } from './dom.js';
import { t, atLeast, number, duration, percent, distance } from './language.js';
import { throughput, backlog, recent, success } from './charts.js';
import { address, away, empty, givenUp, loading, reason, shape, snippet, state, table, waiting } from './parts.js';

const PERIOD_MS = 2000;
/** The history comes in stretches of ten seconds. */
const HISTORY_MS = 10_000;
/** `webhooks.status` counts no further. */
const MAX_COUNTED = 10_000;

export function overview(screen) {
    let history = null, historyAt = 0;
    screen.show(t('nav.overview'), loading());
    screen.keepFresh(async () => {
        const isOld = Date.now() - historyAt > HISTORY_MS;
        const [{ status, leases }, { health }, { webhooks }, points] = await Promise.all([
            api.status(screen.signal), api.health(null, screen.signal), api.webhooks(screen.signal), isOld ? api.history(screen.signal) : history,
        ]);
        if (isOld) historyAt = Date.now();
        history = points;
        const healthOf = new Map(health.map((one) => [one.id, one]));
        draw(status, leases, webhooks.map((webhook) => ({ ...healthOf.get(webhook.id), ...webhook, state: healthOf.get(webhook.id)?.state ?? 'idle' }))
            .sort((a, b) => urgency(a, status) - urgency(b, status)));
    }, PERIOD_MS);

    function draw(status, leases, webhooks) {
        screen.show(t('nav.overview'),
            h('header.top', {}, h('h1', { tabindex: -1 }, t('nav.overview')), verdict(status, webhooks.filter((one) => urgency(one, status) < 2).length)),
            figures(status, history.points),
            h('div.plots', {}, throughput(history), backlog(history)),
            h('section', {},
                h('div.head', {}, h('h2', {}, t('webhooks')), webhooks.length > 0 && h('span.quiet', {}, number(webhooks.length)),
                    screen.canWrite && h('a.button.primary', { href: '#/webhooks/new' }, t('webhook.create'))),
                webhooks.length ? list(webhooks) : firstWebhook(screen.canWrite)),
            h('details.shards', {}, h('summary', {}, t('shards')), shards(leases)),
            h('p.quiet', {}, t('version', { version: status.version })));
    }
}

/** What needs attention comes first; the rest stays in its order. */
const urgency = ({ id, state }, { in_trouble }) => in_trouble.includes(id) ? 0 : state === 'failing' ? 1 : 2;

function verdict(status, troubled) {
    const [kind, words, form = kind] = status.shards_held === 0 ? ['bad', t('verdict.nobody')]
        : status.shards_held < status.shards ? ['bad', t('verdict.shards', { n: status.shards - status.shards_held, shards: status.shards })]
        : status.behind_seconds > 30 ? ['bad', t('verdict.behind', { time: duration(status.behind_seconds * 1000) })]
        : status.missed ? ['bad', `${t('verdict.missed', { n: status.missed })} ${status.missed_reasons[0]}`]
        : troubled ? ['wait', t('verdict.trouble', { n: troubled }), 'bad']
        : status.endpoints === 0 ? ['idle', t('verdict.none')]
        : ['good', t('verdict.good')];
    return h(`p.verdict.${kind}`, {}, shape(form), words);
}

function figures(status, points) {
    const sum = (name) => points.reduce((all, point) => all + point[name], 0);
    const delivered = sum('delivered'), made = delivered + sum('failed');
    const figure = (name, value, note, isBad = false) =>
        h('div', {}, h('dt', {}, t(`figure.${name}`)), h(isBad ? 'dd.value.bad' : 'dd.value', {}, value), h('dd.note', {}, note));
    const isBehind = status.behind_seconds >= 1;
    const oldest = Math.min(...[status.oldest_unread_at, status.oldest_due_at].filter(Boolean).map((at) => new Date(at)));
    return h('dl.figures', {},
        figure('sidecars', number(status.sidecars), t('figure.sidecars.note', { held: status.shards_held, n: status.shards }), status.shards_held < status.shards),
        figure('behind', isBehind ? duration(status.behind_seconds * 1000) : '0\u00a0s', isBehind && Number.isFinite(oldest)
            ? t('figure.behind.note', { time: distance(oldest) }) : t('figure.behind.none'), status.behind_seconds > 30),
        figure('unread', atLeast(status.unread, MAX_COUNTED), t('figure.unread.note')),
        figure('pending', atLeast(status.pending, MAX_COUNTED), t('figure.pending.note', { n: status.overdue })),
        figure('delivered', number(delivered), t('figure.hour')),
        figure('success', made ? percent(delivered / made) : '–', t('figure.success.note', { n: made - delivered })));
}

function list(webhooks) {
    return table({
        caption: t('webhooks'),
        kind: 'webhooks',
        items: webhooks,
        key: ({ id }) => id,
        columns: [
            { label: t('state'), cell: (one) => state(one.state) },
            {
                label: t('webhook'), kind: 'wide', cell: (one) => [
                    h('a', { href: `#/webhooks/${one.id}` }, address(one.url)),
                    h('span.note', {}, one.description && h('span.description', {}, one.description), h('span.patterns', {}, one.events.join(' '))),
                ],
            },
            { label: t('health.recent'), kind: 'chart', cell: recent },
            { label: t('health.delivered'), kind: 'number', cell: success },
            { label: t('health.latency'), kind: 'number', cell: (one) => one.attempts ? [duration(one.p50_ms), h('span.note', {}, duration(one.p95_ms))] : '–' },
            { label: t('health.pending'), kind: 'number', cell: (one) => [waiting(one.pending ?? 0), one.next_attempt_at && one.active && h('span.note', {}, away(one.next_attempt_at))] },
            { label: t('health.error'), kind: 'error', cell: trouble },
        ],
    });
}

function trouble(one) {
    if (!one.active) return [reason(one.disabled_reason ?? ''), one.disabled_at && h('span.note', {}, away(one.disabled_at))];
    return one.last_error ? [reason(one.last_error), h('span.note', {}, away(one.last_error_at)), givenUp(one)] : null;
}

// A secret is never shown again, so one that the database makes up in passing would be known to nobody.
const SECRET = `whsec_${btoa(String.fromCharCode(...crypto.getRandomValues(new Uint8Array(24))))}`;

function firstWebhook(canWrite) {
    return empty(t('empty.webhooks'), t(canWrite ? 'empty.webhooks.text' : 'empty.webhooks.read'),
        snippet('SQL', `SELECT webhooks.register('https://example.com/webhooks', ARRAY['product.*'],\n                         secret => '${SECRET}');`),
        snippet('curl', `curl -X POST ${location.origin}/api/v1/webhooks -H 'Authorization: Bearer pgw_…' -H 'Content-Type: application/json' \\\n  -d '{"url":"https://example.com/webhooks","events":["product.*"],"generate_secret":true}'`));
}

function shards(leases) {
    return table({
        caption: t('shards'),
        items: leases,
        key: ({ shard }) => shard,
        columns: [
            { label: t('shard'), kind: 'number', cell: ({ shard }) => number(shard) },
            { label: t('state'), cell: ({ is_held }) => h(is_held ? 'span.state.good' : 'span.state.bad', {}, shape(is_held ? 'good' : 'bad'), t(is_held ? 'shard.held' : 'shard.free')) },
            { label: t('shard.owner'), kind: 'wide', cell: ({ owner }) => h('code', {}, owner ?? '–') },
            { label: t('shard.taken'), cell: ({ taken_at }) => taken_at ? away(taken_at) : '–' },
            { label: t('shard.expires'), cell: ({ expires_at }) => expires_at ? away(expires_at) : '–' },
        ],
    });
}
