// Creating a webhook, and changing one: where it goes, what it hears of, how it is signed.

import * as api from './api.js';
import { h } from './dom.js';
import { t, known } from './language.js';
import { choice, empty, field, loading, notice, refusal, theirs } from './parts.js';
import { showSecret } from './webhook-acts.js';

export function newWebhook(screen) {
    edit(screen, t('webhook.create'), { url: '', events: [], description: null, active: true, has_secret: false }, {
        back: '/',
        async save(settings) {
            const { webhook, secret } = await api.create(settings);
            if (secret) await showSecret(secret);
            notice(t('webhook.created'));
            screen.go(`/webhooks/${webhook.id}`);
        },
    });
}

export async function editWebhook(screen, id) {
    const title = t('webhook.edit');
    screen.show(title, loading());
    try {
        const { webhook } = await api.webhook(id, screen.signal);
        edit(screen, title, { ...webhook, isKnown: true }, {
            back: `/webhooks/${id}`,
            async save(settings) {
                await api.update(id, settings);
                notice(t('webhook.saved'));
                screen.go(`/webhooks/${id}`);
            },
        });
    } catch (error) {
        screen.show(title, error.status ? refusal(error) : h('p', {}, t('connection.lost')));
    }
}

async function edit(screen, title, webhook, { back, save }) {
    if (!screen.canWrite) return screen.show(title, empty(t('role.read'), t('read-only')));
    let types = null, refused = null, isBusy = false;
    let isAll = webhook.events.includes('*'), secret = webhook.isKnown ? 'keep' : 'generate';
    const chosen = new Set(webhook.events);
    draw();
    try {
        types = (await api.eventTypes(screen.signal)).event_types.filter(({ event }) => event !== 'webhook.test');
    } catch (error) {
        types = [];
        refused = error;
    }
    draw();

    function draw() {
        screen.show(title, types === null ? loading() : h('form.edit', { onsubmit: submit },
            refused && (refused.status || refused.isOurs ? refusal(refused) : h('p.refusal', { role: 'alert' }, t('connection.lost'))),
            field(t('url'), h('input', { name: 'url', type: 'url', required: true, value: webhook.url, placeholder: 'https://example.com/webhooks', spellcheck: 'false', autocomplete: 'off' }), t('url.note')),
            field(t('description'), h('input', { name: 'description', value: webhook.description ?? '', autocomplete: 'off' }), t('description.note')),
            events(),
            secrets(),
            limits(),
            choice('checkbox', 'active', 'yes', t('active'), t('active.note'), { checked: webhook.active }),
            h('div.buttons', {}, h('a.button', { href: `#${back}` }, t('cancel')),
                h('button.primary', { type: 'submit' }, t(webhook.isKnown ? 'save' : 'webhook.create')))));
    }

    function events() {
        const families = Map.groupBy(types, ({ event }) => event.split('.')[0]);
        const offered = new Set(['*', ...types.map(({ event }) => event), ...[...families.keys()].map((family) => `${family}.*`)]);
        return h('fieldset', {}, h('legend', {}, t('events')),
            choice('checkbox', 'events', '*', t('events.all'), t('events.all.note'), { checked: isAll, onchange: ({ currentTarget }) => { isAll = currentTarget.checked; draw(); } }),
            h('div.families', { hidden: isAll }, [...families].map(([family, members]) => {
                const whole = `${family}.*`;
                return h('fieldset.family', { key: family }, h('legend', {}, known(`family.${family}`, family)),
                    choice('checkbox', 'events', whole, t('events.family', { family: whole }), null,
                        { checked: chosen.has(whole), onchange: ({ currentTarget }) => { chosen[currentTarget.checked ? 'add' : 'delete'](whole); draw(); } }),
                    members.map(({ event, description }) => h('div', { hidden: chosen.has(whole) },
                        choice('checkbox', 'events', event, h('code', {}, event), known(`event.${event}`, null) ?? theirs(description), { checked: chosen.has(event) }))));
            })),
            h('div', { hidden: isAll }, field(t('events.own'), h('input', {
                name: 'own', value: webhook.events.filter((event) => !offered.has(event)).join(' '), placeholder: 'order.paid invoice.*', spellcheck: 'false', autocomplete: 'off',
            }), t('events.own.note'))));
    }

    function secrets() {
        const kinds = webhook.isKnown ? ['keep', 'own', 'none'] : ['generate', 'own', 'none'];
        return h('fieldset', { onchange: ({ target }) => { if (target.name === 'from') { secret = target.value; draw(); } } }, h('legend', {}, t('secret')),
            kinds.map((kind) => choice('radio', 'from', kind, t(`secret.${kind === 'none' ? 'without' : kind}`), t(`secret.${kind === 'none' ? 'without' : kind}.note`), { checked: kind === secret })),
            secret === 'own' && field(t('secret'), h('input', { name: 'secret', required: true, autocomplete: 'off', spellcheck: 'false' })));
    }

    function limits() {
        const number = (name, settings) => field(t(name), h('input', { name, type: 'number', value: webhook[name] ?? '', autocomplete: 'off', ...settings }), t(`${name}.note`));
        return h('fieldset', {}, h('legend', {}, t('limits')),
            number('max_in_flight', { min: 1, max: 64 }),
            number('max_per_second', { min: 0, max: 10000, step: 'any' }),
            field(t('timeout'), h('input', { name: 'timeout', value: webhook.timeout ?? '', autocomplete: 'off', spellcheck: 'false' }), t('timeout.note')));
    }

    /** What was asked for, without what a wider choice includes. */
    function subscription(form) {
        if (isAll) return ['*'];
        const own = form.get('own').split(/[\s,]+/).filter(Boolean);
        const ticked = form.getAll('events').filter((event) => event !== '*' && (event.endsWith('.*') || !chosen.has(`${event.split('.')[0]}.*`)));
        return [...new Set([...ticked, ...own])];
    }

    async function submit(event) {
        event.preventDefault();
        if (isBusy) return;
        const form = new FormData(event.currentTarget);
        const settings = { url: form.get('url').trim(), events: subscription(form), active: form.has('active'), description: form.get('description').trim() };
        for (const name of ['max_in_flight', 'max_per_second']) settings[name] = form.get(name) === '' ? null : Number(form.get(name));
        settings.timeout = form.get('timeout').trim() || null;
        if (secret === 'generate') settings.generate_secret = true;
        if (secret === 'own') settings.secret = form.get('secret');
        if (secret === 'none' && webhook.isKnown) settings.secret = '';
        isBusy = true;
        refused = null;
        try {
            if (!settings.events.length) throw Object.assign(new Error(t('events.choose')), { isOurs: true });
            await save(settings);
        } catch (error) {
            refused = error;
            draw();
            document.querySelector('.refusal').scrollIntoView({ block: 'center' });
        }
        isBusy = false;
    }
}
