// The REST API. Answers come as data; what the server refuses, and a server that does not answer, as exceptions.

/** The server said no. `message` and `hint` are its own words. */
export class Refusal extends Error {
    constructor(status, { code = String(status), message = `HTTP ${status}`, hint = '' } = {}) {
        super(message);
        Object.assign(this, { status, code, hint });
    }
}

/** The server did not answer, or what answered is not ours. */
export class Unreachable extends Error {}

/** Heard when a request finds that nobody is signed in any more (`signedOut`). */
export const signals = new EventTarget();

/** The server gives a request ten seconds; what takes longer hangs somewhere else. */
const PATIENCE_MS = 15_000;

async function call(method, path, body, signal) {
    let response, answer;
    const tooLate = AbortSignal.timeout(PATIENCE_MS);
    try {
        response = await fetch(path, {
            method,
            signal: signal ? AbortSignal.any([signal, tooLate]) : tooLate,
            credentials: 'same-origin',
            headers: {
                Accept: 'application/json',
                // Proof that the request is this page's: another origin could not send it.
                'X-Requested-With': 'pg-webhooks',
                ...(body && { 'Content-Type': 'application/json' }),
            },
            body: body && JSON.stringify(body),
        });
        answer = await response.json();
    } catch (error) {
        if (signal?.aborted) throw error;
        if (response && !response.ok) throw new Refusal(response.status);
        throw new Unreachable(error.message);
    }
    if (response.ok) return answer.data;
    if (response.status === 401 && path !== '/session') signals.dispatchEvent(new Event('signedOut'));
    throw new Refusal(response.status, answer.error);
}

function query(filters) {
    const given = Object.entries(filters).filter(([, value]) => value !== undefined && value !== null && value !== '');
    return given.length ? `?${new URLSearchParams(given)}` : '';
}

const of = (id) => `/api/v1/webhooks/${encodeURIComponent(id)}`;
const event = (id) => `/api/v1/events/${encodeURIComponent(id)}`;

// Each takes an AbortSignal last where a view asks, so that leaving the view ends the request.

export const session = () => call('GET', '/session');
export const signIn = (token) => call('POST', '/session', { token });
export const signOut = () => call('DELETE', '/session');

export const status = (signal) => call('GET', '/api/v1/status', null, signal);
export const history = (signal) => call('GET', '/api/v1/history', null, signal);
export const health = (id, signal) => call('GET', `/api/v1/health${query({ endpoint_id: id })}`, null, signal);
export const eventTypes = (signal) => call('GET', '/api/v1/event-types', null, signal);

export const webhooks = (signal) => call('GET', '/api/v1/webhooks', null, signal);
export const webhook = (id, signal) => call('GET', of(id), null, signal);
export const create = (settings) => call('POST', '/api/v1/webhooks', settings);
export const update = (id, settings) => call('PUT', of(id), settings);
export const remove = (id) => call('DELETE', of(id));
export const test = (id) => call('POST', `${of(id)}/test`, {});
export const trigger = (id, name) => call('POST', `${of(id)}/trigger`, { event: name });
export const rotate = (id, settings) => call('POST', `${of(id)}/rotate-secret`, settings);
export const retry = (id, message) => call('POST', `${of(id)}/retry`, message ? { webhook_id: message } : {});
export const replay = (id, settings) => call('POST', `${of(id)}/replay`, settings);

export const attempts = (filters, signal) => call('GET', `/api/v1/attempts${query(filters)}`, null, signal);
export const events = (filters, signal) => call('GET', `/api/v1/events${query(filters)}`, null, signal);
export const oneEvent = (id, signal) => call('GET', event(id), null, signal);
export const redeliver = (id, endpoint) => call('POST', `${event(id)}/redeliver`, endpoint ? { endpoint_id: endpoint } : {});
