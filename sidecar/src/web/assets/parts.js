// What views are put together from: states, times, copyable text, tables, notices, dialogs.

import { h, s, patchChildren } from './dom.js';
import { t, atLeast, known, clock, moment, distance } from './language.js';

// States ------------------------------------------------------------------------------------------------------------

/** A state is told by a shape and a word, and only then by a colour. */
const SHAPES = {
    good: 'M8 1.5a6.5 6.5 0 1 0 0 13a6.5 6.5 0 0 0 0-13zM4.8 8.2l2.2 2.2 4.2-4.6',
    bad: 'M8 1.8l6.7 12H1.3zM8 6v3.8M8 11.5v.6',
    wait: 'M8 1.5a6.5 6.5 0 1 0 0 13a6.5 6.5 0 0 0 0-13zM8 4.5V8l2.5 2',
    off: 'M2 2h12v12H2zM5 8h6',
    idle: 'M8 1.5a6.5 6.5 0 1 0 0 13a6.5 6.5 0 0 0 0-13z',
};

const KINDS = {
    healthy: 'good', delivered: 'good',
    failing: 'bad', failed: 'bad', rejected: 'bad', gone: 'bad', exhausted: 'bad', unreadable: 'bad',
    waiting: 'wait', retry: 'wait', queued: 'wait',
    disabled: 'off', skipped: 'off', idle: 'idle',
};

export const shape = (kind) => s('svg.shape', { viewBox: '0 0 16 16', 'aria-hidden': 'true' }, s('path', { d: SHAPES[kind] }));

/** A state of a webhook, an event or a delivery, or an attempt's outcome. */
export const state = (name) =>
    h(`span.state.${KINDS[name] ?? 'idle'}`, { title: known(`state.${name}.why`, null) }, shape(KINDS[name] ?? 'idle'), known(`state.${name}`, name));

// Text ---------------------------------------------------------------------------------------------------------------

export const time = (at) => h('time', { datetime: at, title: moment(at) }, clock(at));
/** A time, and how far off it is. */
export const when = (at) => h('span', {}, time(at), ' (', away(at), ')');
export const away = (at) => h('time', { datetime: at, title: moment(at) }, distance(at));

/** What the server says is English, whatever the page speaks. */
export const theirs = (text, tag = 'span') => h(tag, { lang: 'en' }, text);

/** What is known of the reasons why a delivery failed or a webhook is disabled. What is not stays as it is, in English. */
const REASONS = [
    [/^(wh_\w+) failed (\d+) times, at last with (.+)$/, 'exhausted'],
    [/^the endpoint answered 410 Gone to (wh_\w+)$/, 'gone'],
    [/^disabled by (.+)$/, 'by'],
    [/^registered as inactive$/, 'inactive'],
    [/^Connection refused$/, 'connection.refused'],
    [/^Connection reset$/, 'connection.reset'],
    [/^Connection timed out$/, 'connection.timeout'],
    [/^Connection closed without a response$/, 'connection.closed'],
    [/^Host unreachable$/, 'unreachable'],
    [/^Request timeout$/, 'timeout'],
    [/^DNS lookup failed: (.+)$/, 'dns'],
    [/^TLS error: (.+)$/, 'tls'],
];

/** A reason in the reader's words, with a link to the event that it names. */
export function reason(text) {
    const [words, lang] = translated(text);
    return h('span', { lang }, words.split(/(wh_\w+)/).map((part, at) => at % 2 ? h('a', { href: `#/events/${part}` }, h('code', {}, part)) : part));
}

function translated(text) {
    for (const [pattern, name] of REASONS) {
        const match = pattern.exec(text);
        if (match) return [t(`reason.${name}`, { a: match[1], b: match[2], c: match[3] && translated(match[3])[0] }), null];
    }
    return [text, 'en'];
}

/** Words with `code` in them. */
export const rich = (text) => text.split('`').map((part, at) => at % 2 ? h('code', {}, part) : part);

/** A URL with its parts weighed: who, and then where. */
export function address(url) {
    const [, scheme, host, path] = /^(\w+:\/\/)?([^/]*)(.*)$/.exec(url);
    return h('span.address', { title: url }, h('span.scheme', {}, scheme ?? ''), h('span.host', {}, host), h('span.path', {}, path));
}

/** JSON with its names set off from its values. */
export function coloured(json) {
    return json.split(/("(?:[^"\\]|\\.)*")/).map((part, at, parts) =>
        at % 2 === 0 ? part : h(/^\s*:/.test(parts[at + 1]) ? 'span.property' : 'span.string', {}, part));
}

export function copyButton(text, label = t('copy')) {
    return h('button.small', {
        type: 'button', 'aria-label': label === t('copy') ? null : label,
        onclick: async ({ currentTarget: button }) => {
            await copy(text, button);
            button.textContent = t('copied');
            button.isHeld = true;
            announce(t('copied'));
            clearTimeout(button.heldUntil);
            button.heldUntil = setTimeout(() => {
                button.textContent = t('copy');
                button.isHeld = false;
            }, 2000);
        },
    }, t('copy'));
}

// A page that is not served over https or from this machine has no clipboard, and a policy may forbid it; the old way still
// works there.
async function copy(text, beside) {
    try {
        return await navigator.clipboard.writeText(text);
    } catch { /* the old way */ }
    const field = h('textarea.unseen', { value: text });
    beside.after(field);
    field.select();
    document.execCommand('copy');
    field.remove();
    beside.focus();
}

/** Text to be taken elsewhere: an SQL line, a curl line, a secret. */
export const snippet = (label, text) =>
    h('figure.snippet', {}, h('figcaption', {}, label, copyButton(text, t('copy.what', { what: label }))), h('pre', { tabindex: 0, role: 'group', 'aria-label': label }, text));

/** Nothing there yet, and what to do about it. */
export const empty = (title, text, ...snippets) => h('section.empty', {}, h('h3', {}, title), h('p', {}, rich(text)), ...snippets);

/** A refusal: the server's in its words, or our own. */
export const refusal = (error) => h('div.refusal', { role: 'alert' },
    h('strong', {}, shape('bad'), known(`refused.${error.code}`, t('refused'))),
    error.status ? theirs(error.message, 'p') : h('p', {}, error.message), error.hint && theirs(error.hint, 'p'));

export const loading = () => h('p.quiet', {}, t('loading'));

// Tables -------------------------------------------------------------------------------------------------------------

/**
 * A table that is a list of cards where it is narrow. `columns` are `{ label, cell(item), kind }`, `key(item)` tells rows
 * apart. The roles are said again because cards lay rows out as grids, which takes them from some screen readers.
 */
export function table({ caption, kind = '', columns, items, key, rowKind = () => '' }) {
    return h(kind ? `table.${kind}` : 'table', { role: 'table' },
        h('caption.unseen', {}, caption),
        h('thead', { role: 'rowgroup' }, h('tr', { role: 'row' },
            columns.map(({ label, kind }) => h('th', { role: 'columnheader', scope: 'col', class: kind }, label)))),
        h('tbody', { role: 'rowgroup' }, items.map((item) => h('tr', { role: 'row', key: key(item), class: rowKind(item) || null },
            columns.map(({ label, kind, cell }) => h('td', { role: 'cell', class: kind, 'data-label': label }, cell(item)))))));
}

// Forms --------------------------------------------------------------------------------------------------------------

/** A control with its label and, below, what there is to know. */
export function field(label, control, note) {
    return h('label.field', {}, h('span.label', {}, label), control, note && h('span.note', {}, rich(note)));
}

export const choice = (type, name, value, label, note, properties = {}) => h('label.choice', {},
    h('input', { type, name, value, ...properties }), h('span', {}, label, note && h('span.note', {}, rich(note))));

export const options = (pairs, chosen) => pairs.map(([value, label]) => h('option', { value, selected: value === chosen }, label));

// Notices ------------------------------------------------------------------------------------------------------------

/** Says something to whoever listens to the page. */
export function announce(text) {
    document.getElementById('announcer').textContent = text;
}

/** A line at the foot of the page: gone after a while, an error once it is closed. */
export function notice(content, isError = false) {
    const close = h('button.small', { type: 'button', onclick: () => line.remove() }, t('close'));
    const line = h(isError ? 'div.notice.error' : 'div.notice', {}, content, close);
    // What succeeded before is no news beside it; an error stays until it is closed.
    if (!isError) document.querySelector('.notice:not(.error)')?.remove();
    document.getElementById('notices').append(line);
    if (!isError) setTimeout(() => line.remove(), 6000);
}

const busy = new WeakSet();

/** Runs what a button is for, once at a time; says what came of it. Returns whether it succeeded. */
export async function perform(button, act, done) {
    if (busy.has(button)) return false;
    busy.add(button);
    // Not `disabled`, which would take its focus, and which the next refresh would take back.
    button.setAttribute('aria-disabled', 'true');
    try {
        const result = await act();
        if (done) notice(typeof done === 'function' ? done(result) : done);
        return true;
    } catch (error) {
        notice(error.status ? refusal(error) : h('span', {}, t('connection.lost')), true);
        return false;
    } finally {
        busy.delete(button);
        button.removeAttribute('aria-disabled');
    }
}

// Dialogs ------------------------------------------------------------------------------------------------------------

let dialogs = 0;

/**
 * Opens a dialog. `draw({ redraw, close })` gives its content and is called again by `redraw`. Resolves when it is closed;
 * focus goes back to where it came from. Escape closes it, unless it shows what is not shown again (`isOnce`).
 */
export function openDialog(title, draw, { isOnce = false } = {}) {
    const id = `dialog-${++dialogs}`;
    return new Promise((resolve) => {
        const dialog = h('dialog', {
            'aria-labelledby': id,
            onclose: () => { dialog.remove(); resolve(); },
            onkeydown: (event) => { if (isOnce && event.key === 'Escape') event.preventDefault(); },
        });
        const control = { redraw, close: () => dialog.close() };
        function redraw() {
            patchChildren(dialog, h('dialog', {}, h('h2', { id }, title), draw(control)));
        }
        redraw();
        document.body.append(dialog);
        dialog.showModal();
    });
}

/** A dialog with a form: `fields(control)` above, then cancel and the button that does it; a refusal is shown inside. */
export function openForm(title, { fields, submit, label, isDanger = false }) {
    let refused = null, isBusy = false;
    return openDialog(title, (control) => h('form', {
        onsubmit: async (event) => {
            event.preventDefault();
            if (isBusy) return;
            isBusy = true;
            refused = null;
            try {
                await submit(new FormData(event.currentTarget), control);
            } catch (error) {
                refused = error.status ? error : { code: 'unreachable', message: t('connection.lost') };
            }
            isBusy = false;
            control.redraw();
        },
    },
    refused && refusal(refused),
    fields(control),
    h('div.buttons', {},
        h('button', { type: 'button', onclick: control.close, autofocus: isDanger }, t('cancel')),
        h(isDanger ? 'button.danger' : 'button.primary', { type: 'submit' }, typeof label === 'function' ? label() : label))));
}

/** How many deliveries wait for a webhook; `webhooks.health` counts no further. */
export const waiting = (count) => atLeast(count, 1000);

/** How many deliveries of the last hour are tried no more. */
export const givenUp = ({ given_up: n }) => n > 0 && h('span.note', {}, t('health.given-up', { n }));
