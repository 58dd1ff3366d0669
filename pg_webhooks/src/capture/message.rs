//! An event's message: the envelope that every event has, around data that somebody else writes.

use webhooks_core::{json, time};

use crate::event_log::{Body, Entry, Subject};
use crate::fault::Fault;
use crate::postgres::refuse_where_read_only;
use crate::{cache, settings, wakeup};

/// Appends an event whose `data` the closure writes, and wakes the sidecar at commit; returns its `wh_…`. The closure is told
/// how long what it writes to may become. `body` is emptied first: the events of a row take turns with one.
pub fn append(
    subject: Subject<'_>,
    body: &mut Body,
    push_data: impl FnOnce(&mut Vec<u8>, usize),
) -> Result<String, Fault> {
    // A temporary table may be written to in a READ ONLY transaction, and its trigger gets here.
    refuse_where_read_only(c"INSERT");
    let entry = Entry::next();
    let max_body = settings::max_body();
    let out = body.clear();
    out.extend_from_slice(b"{\"event\":");
    json::push_string(out, subject.name);
    out.extend_from_slice(b",\"timestamp\":\"");
    time::push_whole_seconds(out, entry.occurred_at.div_euclid(1_000_000));
    out.extend_from_slice(b"Z\",\"webhook_id\":\"");
    out.extend_from_slice(entry.webhook_id.as_bytes());
    out.extend_from_slice(b"\",\"data\":");
    // The closing brace has room, too.
    push_data(out, Body::end(max_body - 1));
    out.push(b'}');
    let bytes = body.bytes().len();
    if bytes > max_body {
        return Err(Fault::BodyTooLong { event: subject.name.to_owned(), bytes });
    }
    debug_assert!(std::str::from_utf8(body.bytes()).is_ok(), "the JSON writers write UTF-8, and so are the literals");
    let partition = cache::partition(time::day(entry.occurred_at), entry.xid())?;
    let webhook_id = entry.append(&partition, subject, body, &*cache::signer()?)?;
    wakeup::at_commit();
    Ok(webhook_id)
}
