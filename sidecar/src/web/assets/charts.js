// Small charts: shapes in SVG that stretch, words in HTML that do not. Each says in words what it shows.

import { h, s } from './dom.js';
import { t, number, duration, percent, minute } from './language.js';

const MINUTES = 60;

/** Attempts a minute over the last hour, failures below. */
export function throughput({ points }) {
    const now = Date.now();
    const bars = Array.from({ length: MINUTES }, () => ({ delivered: 0, failed: 0 }));
    for (const { at, delivered, failed } of points) {
        const bar = bars[MINUTES - 1 - Math.floor((now - new Date(at)) / 60_000)];
        if (!bar) continue;
        bar.delivered += delivered;
        bar.failed += failed;
    }
    const top = ceiling(Math.max(...bars.map(({ delivered, failed }) => delivered + failed)));
    const delivered = bars.reduce((sum, bar) => sum + bar.delivered, 0);
    const failed = bars.reduce((sum, bar) => sum + bar.failed, 0);
    const words = t('chart.throughput.words', { delivered, failed });
    return plot(t('chart.throughput'), words, top, now, bars.map((bar, at) => {
        const x = at * 10 + 1, low = 100 * bar.failed / top, high = 100 * bar.delivered / top;
        return s('g', {},
            s('title', {}, `${minute(now - (MINUTES - 1 - at) * 60_000)} · ${t('chart.throughput.words', bar)}`),
            s('rect.ground', { x: at * 10, y: 0, width: 10, height: 100 }),
            high > 0 && s('rect.delivered', { x, y: 100 - low - high, width: 8, height: high }),
            low > 0 && s('rect.failed', { x, y: 100 - low, width: 8, height: low }));
    }), [['delivered', t('state.delivered')], ['failed', t('state.failed')]]);
}

/** Events not sent yet, over the last hour, as far back as this process remembers. */
export function backlog({ points }) {
    const now = Date.now();
    const known = points.filter(({ pending }) => pending !== null)
        .map(({ at, unread, pending }) => [600 - (now - new Date(at)) / 6000, unread + pending]).filter(([x]) => x >= 0);
    const last = known.at(-1)?.[1] ?? 0;
    const top = ceiling(Math.max(0, ...known.map(([, value]) => value)));
    const line = known.map(([x, value]) => `${x.toFixed(1)},${(100 - 100 * value / top).toFixed(1)}`);
    const words = t('chart.backlog.words', { n: last });
    return plot(t('chart.backlog'), words, top, now, known.length > 1 && [
        s('polygon.area', { points: [`${known[0][0].toFixed(1)},100`, ...line, `${known.at(-1)[0].toFixed(1)},100`].join(' ') }),
        s('polyline.line', { points: line.join(' ') }),
    ], []);
}

function plot(title, words, top, now, shapes, legend) {
    return h('figure.plot', {},
        h('figcaption', {}, h('span.title', {}, title), h('span.words', {}, words),
            legend.length > 0 && h('span.legend', { 'aria-hidden': 'true' }, legend.map(([kind, label]) => h(`span.key.${kind}`, {}, label)))),
        h('div.canvas', {},
            h('span.ceiling', { 'aria-hidden': 'true' }, number(top)),
            s('svg', { viewBox: '0 0 600 100', preserveAspectRatio: 'none', role: 'img', 'aria-label': `${title}: ${words}` },
                s('line.grid', { x1: 0, x2: 600, y1: 50, y2: 50 }), s('line.grid', { x1: 0, x2: 600, y1: 0, y2: 0 }), shapes,
                s('line.base', { x1: 0, x2: 600, y1: 100, y2: 100 }))),
        h('div.ticks', { 'aria-hidden': 'true' }, [60, 40, 20, 0].map((ago) => h('span', {}, minute(now - ago * 60_000)))));
}

/** The next number that divides well: 1, 2, 3, 4, 5, 6, 8, 10, 20 … */
function ceiling(value) {
    const scale = 10 ** Math.floor(Math.log10(Math.max(value, 1)));
    return [1, 2, 3, 4, 5, 6, 8, 10].map((step) => step * scale).find((step) => step >= value) ?? 1;
}

const SHOWN = 60;

/** The latest attempts, newest at the right: how long each took beside the slowest (as a square root), failures over the full height. */
export function recent({ recent_ms, recent_ok, attempts, delivered, p50_ms, p95_ms }) {
    if (!attempts) return h('span.quiet', {}, t('health.none'));
    const words = t('health.words', { attempts, delivered, p50: duration(p50_ms), p95: duration(p95_ms) });
    const shown = recent_ms.slice(0, SHOWN);
    const slowest = Math.max(1, ...shown.filter((_, at) => recent_ok[at]));
    return s('svg.recent', { viewBox: `0 0 ${SHOWN * 4} 28`, preserveAspectRatio: 'xMaxYMid meet', role: 'img', 'aria-label': words },
        s('title', {}, words),
        shown.map((ms, at) => {
            const height = recent_ok[at] ? 2 + 20 * Math.sqrt(ms / slowest) : 28;
            return s(recent_ok[at] ? 'rect.delivered' : 'rect.failed', { x: (SHOWN - 1 - at) * 4, y: (28 - height).toFixed(1), width: 3, height: height.toFixed(1) });
        }),
        s('line.base', { x1: 0, x2: SHOWN * 4, y1: 28, y2: 28 }));
}

/** The share of the latest attempts that were delivered. */
export const success = ({ attempts, delivered }) => attempts ? percent(delivered / attempts) : '–';
