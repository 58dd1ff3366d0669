// Elements out of data, and the page brought up to date with them.
//
// A view says what it should look like, `h(…)`; `patch` changes what is there as little as it can, so that focus,
// selection, scroll and what is being typed survive a refresh. Data becomes text nodes and attributes, never markup.

const SVG = 'http://www.w3.org/2000/svg';

/** Properties of an element that the user changes: they are set when it is made and then left to the user. */
const THEIRS = new Set(['value', 'checked', 'open', 'selected']);

/**
 * An element. `tag` may carry classes (`p.note`); properties are attributes, except `on…` functions and `key`, by which
 * `patch` knows it among its siblings. Of the children null and false are left out, arrays are flattened.
 */
export function h(tag, properties = {}, ...children) {
    const [name, ...classes] = tag.split('.');
    return fill(document.createElement(name), classes, properties, children);
}

/** The same for SVG. */
export function s(tag, properties = {}, ...children) {
    const [name, ...classes] = tag.split('.');
    return fill(document.createElementNS(SVG, name), classes, properties, children);
}

function fill(element, classes, properties, children) {
    if (classes.length) element.setAttribute('class', classes.join(' '));
    element.heard = {};
    for (const [name, value] of Object.entries(properties)) {
        if (name.startsWith('on')) listen(element, name.slice(2), value);
        else if (name === 'key') element.key = String(value);
        else if (name !== 'value' && value !== null && value !== undefined && value !== false)
            element.setAttribute(name, value === true ? '' : value);
    }
    for (const child of children.flat(Infinity))
        if (child instanceof Node) element.append(child);
        else if (child !== null && child !== undefined && child !== false) element.append(String(child));
    // A select takes a value once it has its options.
    if (properties.value !== undefined) element.value = properties.value;
    return element;
}

// One listener for the life of the element; `patch` exchanges what it calls.
function listen(element, type, call) {
    element.heard[type] = call;
    element.addEventListener(type, (event) => element.heard[type](event));
}

/** Makes `old` equal to `fresh` in place where they are alike, else puts `fresh` there. Returns the one that stays. */
export function patch(old, fresh) {
    // It says something for a moment that no view knows of.
    if (old.isHeld && alike(old, fresh)) return old;
    if (!alike(old, fresh)) {
        old.replaceWith(fresh);
        return fresh;
    }
    if (old.nodeType !== Node.ELEMENT_NODE) {
        if (old.data !== fresh.data) old.data = fresh.data;
        return old;
    }
    for (const { name } of [...old.attributes])
        if (!fresh.hasAttribute(name) && !THEIRS.has(name)) old.removeAttribute(name);
    for (const { name, value } of fresh.attributes)
        if (old.getAttribute(name) !== value && !THEIRS.has(name)) old.setAttribute(name, value);
    old.heard = fresh.heard;
    patchChildren(old, fresh);
    return old;
}

function alike(old, fresh) {
    return old.nodeType === fresh.nodeType && old.nodeName === fresh.nodeName && old.key === fresh.key
        && Object.keys(old.heard ?? {}).join() === Object.keys(fresh.heard ?? {}).join();
}

/** Makes the children of `old` those of `fresh`. Children with a key are kept wherever they have moved to. */
export function patchChildren(old, fresh) {
    const coming = [...fresh.childNodes];
    const keys = new Set(coming.map((child) => child.key));
    const keyed = new Map();
    for (const child of [...old.childNodes])
        if (child.key && !keys.has(child.key)) child.remove();
        else if (child.key) keyed.set(child.key, child);
    let at = old.firstChild;
    for (const child of coming) {
        const match = child.key ? keyed.get(child.key) : at && alike(at, child) ? at : null;
        if (!match) {
            old.insertBefore(child, at);
            continue;
        }
        // What is in order already is not moved: that would take its focus.
        if (match !== at) old.insertBefore(match, at);
        at = patch(match, child).nextSibling;
    }
    while (at) {
        const next = at.nextSibling;
        at.remove();
        at = next;
    }
}
