// What is shown stays true: views ask again while they can be seen, and the page says so when nobody answers.

import { Unreachable, Refusal } from './api.js';

/** How the last request went, for whoever shows it: `change` is heard when it changes. */
export const connection = Object.assign(new EventTarget(), { trouble: null, since: null });

function report(trouble) {
    if ((connection.trouble?.message ?? null) === (trouble?.message ?? null)) return;
    if (!connection.trouble) connection.since = new Date();
    connection.trouble = trouble;
    connection.dispatchEvent(new Event('change'));
}

const SLOWEST_MS = 10_000;
/** How much longer than an answer takes the page waits before it asks again. */
const UNHURRIED = 3;

/**
 * Runs `load` now and again every `period_ms` after it is done, until `signal` aborts; a page that is not seen waits until
 * it is. A server that is slow is asked less often, one that does not answer less and less; what it refuses goes to `refused`.
 * Returns a function that asks at once.
 */
export function keepFresh(load, period_ms, signal, refused) {
    let timer, wait_ms = period_ms, failures = 0, isBusy = false, again = false;

    async function run() {
        clearTimeout(timer);
        if (signal.aborted) return;
        if (isBusy) {
            again = true;
            return;
        }
        isBusy = true;
        const began = performance.now();
        try {
            await load();
            failures = 0;
            report(null);
        } catch (error) {
            if (signal.aborted) return;
            failures += 1;
            if (error instanceof Unreachable || error.status >= 500 || error.status === 429) report(error);
            else if (error instanceof Refusal) refused(error);
            else throw error;
        } finally {
            isBusy = false;
            wait_ms = Math.max(period_ms, UNHURRIED * (performance.now() - began));
        }
        if (again) {
            again = false;
            run();
        } else if (!document.hidden) timer = setTimeout(run, Math.min(wait_ms * 2 ** failures, SLOWEST_MS));
    }

    document.addEventListener('visibilitychange', () => document.hidden ? clearTimeout(timer) : run(), { signal });
    signal.addEventListener('abort', () => clearTimeout(timer));
    run();
    return run;
}
