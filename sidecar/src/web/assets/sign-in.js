// Signing in with a token, and what a token is.

import * as api from './api.js';
import { h } from './dom.js';
import { t } from './language.js';
import { field, refusal, rich, snippet } from './parts.js';

const SQL = "SELECT webhooks.create_token('me', role => 'manage');";

export function signIn(screen, signedIn) {
    let trouble = null, isExpired = false;
    screen.expired = () => { isExpired = true; draw(); };
    draw();
    document.querySelector('[name=token]').focus();

    function draw() {
        screen.show(t('sign-in'),
            isExpired && h('p.callout', { role: 'alert' }, t('sign-in.expired')),
            h('div.columns', {},
                h('form.panel', { onsubmit: submit, 'aria-label': t('sign-in') },
                    trouble && (trouble.status === 401 ? refusal({ code: 'unauthorized', message: t('sign-in.unknown') }) : trouble.status ? refusal(trouble) : h('p.refusal', { role: 'alert' }, t('connection.lost'))),
                    // A password manager wants a name beside the secret.
                    h('input', { name: 'username', autocomplete: 'username', value: 'pg_webhooks', hidden: true }),
                    field(t('token'), h('input', {
                        name: 'token', type: 'password', autocomplete: 'current-password', required: true, spellcheck: 'false', placeholder: 'pgw_…',
                    })),
                    h('div.buttons', {}, h('button.primary', { type: 'submit' }, t('sign-in')))),
                h('section', {},
                    h('h2', {}, t('token.what')),
                    h('p', {}, rich(t('token.is'))),
                    snippet(t('token.make'), SQL),
                    h('p.quiet', {}, rich(t('token.roles'))))));
    }

    async function submit(event) {
        event.preventDefault();
        const input = event.currentTarget.elements.token;
        try {
            signedIn((await api.signIn(input.value.trim())).token);
        } catch (error) {
            trouble = error;
            draw();
            input.select();
        }
    }
}
