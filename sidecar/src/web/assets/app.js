// The page: who is signed in, which view the address asks for, and the frame around it. Views are in modules of their own.

import * as api from './api.js';
import { h, patchChildren } from './dom.js';
import { t, known, language, speak, clock } from './language.js';
import { connection, keepFresh } from './live.js';
import { refusal, loading, shape, theirs, perform } from './parts.js';
import { signIn } from './sign-in.js';

// A view is loaded when it is first wanted; what is on the first page comes first.
const ROUTES = [
    [/^\/$/, 'overview', () => import('./overview.js').then((module) => module.overview)],
    [/^\/deliveries$/, 'deliveries', () => import('./log.js').then((module) => module.deliveries)],
    [/^\/events$/, 'events', () => import('./events.js').then((module) => module.events)],
    [/^\/events\/([^/]+)$/, 'events', () => import('./event.js').then((module) => module.event)],
    [/^\/webhooks\/new$/, 'overview', () => import('./webhook-form.js').then((module) => module.newWebhook)],
    [/^\/webhooks\/([^/]+)$/, 'overview', () => import('./webhook.js').then((module) => module.webhook)],
    [/^\/webhooks\/([^/]+)\/edit$/, 'overview', () => import('./webhook-form.js').then((module) => module.editWebhook)],
];

const main = document.getElementById('main');
let token = null;
let screen = null;

/** What a view gets: its place on the page for as long as it is shown. */
class Screen {
    constructor(path, filters) {
        this.leaving = new AbortController();
        Object.assign(this, { path, filters, signal: this.leaving.signal, canWrite: token?.role === 'manage' });
    }

    /** Shows a heading and what belongs under it. */
    show(title, ...content) {
        if (this.signal.aborted) return;
        document.title = `${title} · pg_webhooks`;
        const fresh = h('main', {}, content.flat(Infinity).some((node) => node?.tagName === 'HEADER') ? null : heading(title), content);
        patchChildren(main, fresh);
        main.setAttribute('aria-busy', 'false');
    }

    /** Asks again and again; what the server refuses is shown in the place of the view. */
    keepFresh(load, period_ms) {
        return keepFresh(load, period_ms, this.signal, (error) => {
            if (error.status !== 401) this.show(known(`refused.${error.code}`, t('refused')), refusal(error), h('p', {}, h('a', { href: '#/' }, t('nav.overview'))));
        });
    }

    /** Changes a filter; it is in the address, too, so that a list can be linked to. */
    filter(name, value) {
        if (value) this.filters.set(name, value);
        else this.filters.delete(name);
        history.replaceState(null, '', `#${this.path}${this.filters.size ? `?${this.filters}` : ''}`);
    }

    go(path) {
        location.hash = path;
    }
}

// In a header as where a view has more to say there: what is patched keeps the focus.
const heading = (title) => h('header.top', {}, h('h1', { tabindex: -1 }, title));

// Frame --------------------------------------------------------------------------------------------------------------

function drawFrame(current) {
    const link = (name, path) => h('a', { href: `#${path}`, 'aria-current': name === current ? 'page' : null }, t(`nav.${name}`));
    const other = language === 'fr' ? 'en' : 'fr';
    const names = { en: 'English', fr: 'Français' };
    patchChildren(document.getElementById('frame'), h('header', {},
        h('a.skip', { href: '#main', onclick: (event) => { event.preventDefault(); main.focus(); } }, t('skip')),
        h('a.name', { href: '#/' }, 'pg_webhooks'),
        token && h('nav', { 'aria-label': t('nav') }, link('overview', '/'), link('deliveries', '/deliveries'), link('events', '/events')),
        h('div.session', {},
            h('a.docs', { href: '/api/docs' }, t('nav.docs')),
            h('button.plain', { type: 'button', lang: other, id: 'language', onclick: () => { speak(other); start(); } }, names[other]),
            token && h('span.who', { title: t(`role.${token.role}.why`) }, token.name, ' ', h('span.role', {}, t(`role.${token.role}`))),
            token && h('button.plain', { type: 'button', id: 'sign-out', onclick: ({ currentTarget }) => perform(currentTarget, leave) }, t('sign-out')))));
}

async function leave() {
    await api.signOut();
    token = null;
    start();
}

function drawConnection() {
    const { trouble, since } = connection;
    patchChildren(document.getElementById('connection'), h('div', {}, trouble && h('p', {}, shape('bad'),
        h('strong', {}, trouble.status ? t('connection.trouble') : t('connection.lost')), ' ',
        trouble.status && [theirs(trouble.message), ' · '], t('connection.stale', { time: clock(since) }))));
}

// Navigation -----------------------------------------------------------------------------------------------------------

async function navigate({ keepsFocus = false } = {}) {
    screen?.leaving.abort();
    for (const dialog of document.querySelectorAll('dialog[open]')) dialog.close();
    const [path, search] = (location.hash.slice(1) || '/').split('?');
    const here = screen = new Screen(path, new URLSearchParams(search));
    const [pattern, section, load] = ROUTES.find(([pattern]) => pattern.test(path)) ?? [];
    drawFrame(token ? section : null);
    main.replaceChildren(loading());
    main.setAttribute('aria-busy', 'true');
    if (!token) signIn(here, signedIn);
    else if (!load) here.show(t('not-found'), h('p', {}, h('a', { href: '#/' }, t('nav.overview'))));
    else {
        try {
            const view = await load();
            if (here !== screen) return;
            view(here, ...pattern.exec(path).slice(1).map(decodeURIComponent));
        } catch (error) {
            if (error instanceof URIError) here.show(t('not-found'), h('p', {}, h('a', { href: '#/' }, t('nav.overview'))));
            else here.show(t('refused.unreachable'), h('p', {}, t('connection.lost')), h('a.button', { href: location.hash, onclick: () => location.reload() }, t('again')));
        }
    }
    if (keepsFocus || !token) return;
    window.scrollTo(0, 0);
    (main.querySelector('h1') ?? main).focus();
}

function signedIn(who) {
    token = who;
    navigate();
}

function start() {
    document.documentElement.lang = language;
    drawConnection();
    navigate({ keepsFocus: true });
}

// Heard while a view asks: the view's address stays, and is where signing in leads.
api.signals.addEventListener('signedOut', () => {
    if (!token) return;
    token = null;
    navigate();
    screen.expired();
});

connection.addEventListener('change', drawConnection);
window.addEventListener('hashchange', () => navigate());

// Who is signed in, asked until there is an answer: then the page begins.
document.documentElement.lang = language;
drawFrame();
const asking = new AbortController();
keepFresh(async () => {
    try {
        ({ token } = await api.session());
    } catch (error) {
        if (error.status !== 401) throw error;
    }
    asking.abort();
    start();
}, 1000, asking.signal, () => { asking.abort(); start(); });
