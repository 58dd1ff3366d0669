// What the page says, in the reader's language: words from the table, numbers and times by Intl.

import { words } from './words.js';

const LANGUAGES = ['en', 'fr'];
const STORED = 'pg-webhooks.language';

export let language = stored() ?? (navigator.languages ?? [navigator.language]).map((tag) => tag.slice(0, 2))
    .find((tag) => LANGUAGES.includes(tag)) ?? 'en';

// Storage may be forbidden; then the choice lasts as long as the page.
function stored() {
    try {
        const choice = localStorage.getItem(STORED);
        return LANGUAGES.includes(choice) ? choice : null;
    } catch {
        return null;
    }
}

/** Changes the language and remembers it. */
export function speak(choice) {
    language = choice;
    formats.clear();
    try {
        localStorage.setItem(STORED, choice);
    } catch { /* as above */ }
}

/** The words under `key`; `{name}` stands for a value. Where there is a number `n`, `one|other` chooses by it. */
export function t(key, values = {}) {
    const [singular, plural] = words[key][LANGUAGES.indexOf(language)].split('|');
    const text = plural !== undefined && format(Intl.PluralRules).select(values.n) !== 'one' ? plural : singular;
    return text.replace(/\{(\w+)\}/g, (_, name) => typeof values[name] === 'number' ? number(values[name]) : values[name]);
}

/** The words under `key`, or `otherwise` where the table has none. */
export const known = (key, otherwise) => Object.hasOwn(words, key) ? t(key) : otherwise;

const formats = new Map();

function format(Kind, options = {}) {
    const key = Kind.name + JSON.stringify(options);
    if (!formats.has(key)) formats.set(key, new Kind(language, options));
    return formats.get(key);
}

export const number = (value) => format(Intl.NumberFormat).format(value);
/** A number that was counted up to a limit. */
export const atLeast = (value, limit) => number(value) + (value >= limit ? '+' : '');
export const bytes = (value) => format(Intl.NumberFormat, { style: 'unit', unit: 'byte', unitDisplay: 'long' }).format(value);

/** A share of 1, rounded down: 100 % means all. */
export const percent = (share) =>
    format(Intl.NumberFormat, { style: 'percent', maximumFractionDigits: share > 0.99 ? 1 : 0, roundingMode: 'floor' }).format(share);

/** A duration in milliseconds, to two or three figures: 145 ms, 2.4 s, 12 min. */
export function duration(ms) {
    const seconds = ms / 1000;
    if (seconds < 1) return `${number(Math.round(ms))}\u00a0ms`;
    if (seconds < 90) return `${number(Number(seconds.toFixed(seconds < 10 ? 1 : 0)))}\u00a0s`;
    if (seconds < 90 * 60) return `${number(Math.round(seconds / 60))}\u00a0min`;
    if (seconds < 36 * 3600) return `${number(Number((seconds / 3600).toFixed(1)))}\u00a0h`;
    return format(Intl.NumberFormat, { style: 'unit', unit: 'day', unitDisplay: 'short' }).format(Math.round(seconds / 86400));
}

/** How far a time is from now: 3 minutes ago, in 2 hours. */
export function distance(at) {
    const seconds = (new Date(at) - Date.now()) / 1000;
    const [size, name] = [[86400, 'day'], [3600, 'hour'], [60, 'minute'], [1, 'second']].find(([size]) => Math.abs(seconds) >= size) ?? [1, 'second'];
    return format(Intl.RelativeTimeFormat, { numeric: 'auto', style: 'short' }).format(Math.trunc(seconds / size), name);
}

const CLOCK = { hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23' };

/** A time of day, with the date where that is not today's. */
export function clock(at) {
    const today = new Date().toDateString() === new Date(at).toDateString();
    return format(Intl.DateTimeFormat, today ? CLOCK : { day: 'numeric', month: 'short', ...CLOCK }).format(new Date(at));
}

/** Hours and minutes. */
export const minute = (at) => format(Intl.DateTimeFormat, { hour: '2-digit', minute: '2-digit', hourCycle: 'h23' }).format(new Date(at));

/** Everything about a time, with its zone. */
export const moment = (at) => format(Intl.DateTimeFormat, { dateStyle: 'full', timeStyle: 'long' }).format(new Date(at));
