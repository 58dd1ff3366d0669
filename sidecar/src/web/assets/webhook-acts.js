// What can be done with a webhook: test, send a sample, edit, rotate the secret, retry, replay, disable and enable, delete.

import * as api from './api.js';
import { h } from './dom.js';
import { t } from './language.js';
import { choice, coloured, field, notice, openDialog, openForm, options, perform, snippet } from './parts.js';

/** The buttons. `refresh` asks for the webhook again, `go` leaves for another view. */
export function acts(webhook, { refresh, go }) {
    const button = (name, onclick, kind = '') => h(`button${kind}`, { key: name, type: 'button', id: `act-${name}`, onclick }, t(`act.${name}`));
    return h('div.acts', { key: 'acts', role: 'group', 'aria-label': t('action') },
        webhook.active && button('test', ({ currentTarget }) => perform(currentTarget, () => api.test(webhook.id), ({ webhook_id }) => sent(webhook_id)).then(refresh), '.primary'),
        webhook.active && button('trigger', () => sendSample(webhook).then(refresh)),
        h('a.button', { key: 'edit', href: `#/webhooks/${webhook.id}/edit` }, t('act.edit')),
        button('rotate', () => rotate(webhook).then(refresh)),
        webhook.active && button('retry', ({ currentTarget }) => perform(currentTarget, () => api.retry(webhook.id), ({ deliveries }) => t('act.retry.done', { n: deliveries })).then(refresh)),
        button('replay', () => replay(webhook).then(refresh)),
        webhook.active
            ? button('disable', () => disable(webhook).then(refresh))
            : button('enable', ({ currentTarget }) => perform(currentTarget, () => api.update(webhook.id, { active: true }), t('act.enable.done')).then(refresh), '.primary'),
        button('delete', () => remove(webhook, go), '.danger'));
}

const sent = (webhook_id) => h('span', {}, t('act.test.done'), ' ', h('a', { href: `#/events/${webhook_id}` }, webhook_id));

/** Shows a secret that was made, the one time it can be. */
export function showSecret(secret) {
    return openDialog(t('secret.made'), ({ close }) => [
        h('p', {}, t('secret.once')),
        snippet(t('secret'), secret),
        h('div.buttons', {}, h('button.primary', { type: 'button', onclick: close }, t('secret.kept'))),
    ], { isOnce: true });
}

async function sendSample(webhook) {
    let types;
    try {
        types = (await api.eventTypes()).event_types.filter(({ event }) => event !== 'webhook.test');
    } catch {
        return notice(t('connection.lost'), true);
    }
    let name = types[0].event;
    return openForm(t('act.trigger.title'), {
        label: t('act.trigger.do'),
        fields: ({ redraw }) => [
            h('p', {}, t('act.trigger.text')),
            field(t('event'), h('select', { name: 'event', onchange: ({ currentTarget }) => { name = currentTarget.value; redraw(); } },
                options(types.map(({ event }) => [event, event]), name))),
            h('pre.body', { tabindex: 0, role: 'group', 'aria-label': t('body') }, coloured(JSON.stringify(types.find(({ event }) => event === name).sample, null, 2))),
        ],
        async submit(form, { close }) {
            const { webhook_id } = await api.trigger(webhook.id, form.get('event'));
            close();
            notice(sent(webhook_id));
        },
    });
}

const HOUR_S = 3600;
const OVERLAPS = [['0', 'overlap.none'], [`${HOUR_S}`, 'overlap.hour'], [`${24 * HOUR_S}`, 'overlap.day'], [`${7 * 24 * HOUR_S}`, 'overlap.week']];

function rotate(webhook) {
    let isOwn = false, made = null;
    return openForm(t('act.rotate.title'), {
        label: t('act.rotate.do'),
        fields: ({ redraw }) => [
            h('p', {}, t('act.rotate.text')),
            h('fieldset', { onchange: ({ target }) => { isOwn = target.value === 'own'; redraw(); } }, h('legend', {}, t('secret.new')),
                choice('radio', 'from', 'generate', t('secret.generate'), t('secret.generate.note'), { checked: true }),
                choice('radio', 'from', 'own', t('secret.own'), t('secret.own.note')),
                isOwn && field(t('secret'), h('input', { name: 'secret', required: true, autocomplete: 'off', spellcheck: 'false' }))),
            webhook.has_secret && field(t('overlap'), h('select', { name: 'overlap' }, options(OVERLAPS.map(([value, key]) => [value, t(key)]), OVERLAPS[2][0])), t('overlap.note')),
        ],
        async submit(form, { close }) {
            const own = isOwn && { new_secret: form.get('secret') };
            made = (await api.rotate(webhook.id, { ...own, overlap_seconds: Number(form.get('overlap') ?? 0) })).secret;
            close();
        },
    }).then(() => made && showSecret(made));
}

function disable(webhook) {
    return openForm(t('act.disable.title'), {
        label: t('act.disable.do'),
        fields: () => h('p', {}, t('act.disable.text')),
        async submit(_, { close }) {
            await api.update(webhook.id, { active: false });
            close();
            notice(t('act.disable.done'));
        },
    });
}

/** What `datetime-local` takes: the local time without its zone. */
const local = (at) => new Date(at - at.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);

// Counts first; what is sent is what was counted, so a changed field asks for a new count.
function replay(webhook) {
    let counted = null, until = null;
    const wanted = (form) => ({
        since: new Date(form.get('since')).toISOString(),
        until: form.get('until') ? new Date(form.get('until')).toISOString() : until,
        only_failed: form.get('what') === 'failed',
    });
    return openForm(t('act.replay.title'), {
        label: () => counted ? t('act.replay.do', { n: counted }) : t('act.replay.count'),
        fields: ({ redraw }) => h('div', { oninput: () => { counted = null; redraw(); } },
            h('p', {}, t('act.replay.text')),
            h('div.pair', {},
                field(t('since'), h('input', { name: 'since', type: 'datetime-local', required: true, value: local(new Date(Date.now() - 24 * HOUR_S * 1000)) })),
                field(t('until'), h('input', { name: 'until', type: 'datetime-local' }), t('until.now'))),
            h('fieldset', {}, h('legend', {}, t('act.replay.what')),
                choice('radio', 'what', 'failed', t('act.replay.failed'), null, { checked: true }),
                choice('radio', 'what', 'all', t('act.replay.all'), t('act.replay.all.note'))),
            h('p.count', { role: 'status' }, counted !== null && t('act.replay.counted', { n: counted }))),
        async submit(form, { close }) {
            if (!counted) {
                until = new Date().toISOString();
                counted = (await api.replay(webhook.id, { ...wanted(form), dry_run: true })).deliveries;
                return;
            }
            const { deliveries } = await api.replay(webhook.id, wanted(form));
            close();
            notice(t('redeliver.done', { n: deliveries }));
        },
    });
}

function remove(webhook, go) {
    return openForm(t('act.delete.title'), {
        label: t('act.delete.do'),
        isDanger: true,
        fields: () => [h('p', {}, h('strong', {}, webhook.url)), h('p', {}, t('act.delete.text'))],
        async submit(_, { close }) {
            await api.remove(webhook.id);
            close();
            go('/');
            notice(t('act.delete.done'));
        },
    });
}
