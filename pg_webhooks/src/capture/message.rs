//! An event's message: the envelope that every event has, around data that somebody else writes.

use webhooks_core::{json, time};

use crate::event_log::{Entry, Subject};
use crate::fault::Fault;
use crate::postgres::refuse_where_read_only;
use crate::{cache, settings, wakeup};

/// Appends an event whose `data` the closure writes, and wakes the sidecar at commit; returns its `wh_…`.
pub fn append(subject: Subject<'_>, push_data: impl FnOnce(&mut Vec<u8>)) -> Result<String, Fault> {
    // A temporary table may be written to in a READ ONLY transaction, and its trigger gets here.
    refuse_where_read_only(c"INSERT");
    let entry = Entry::next();
    let mut body = Vec::with_capacity(512);
    body.extend_from_slice(b"{\"event\":");
    json::push_string(&mut body, subject.name);
    body.extend_from_slice(b",\"timestamp\":\"");
    time::push_whole_seconds(&mut body, entry.occurred_at.div_euclid(1_000_000));
    body.extend_from_slice(b"Z\",\"webhook_id\":\"");
    body.extend_from_slice(entry.webhook_id.as_bytes());
    body.extend_from_slice(b"\",\"data\":");
    push_data(&mut body);
    body.push(b'}');
    if body.len() > settings::max_body() {
        return Err(Fault::BodyTooLong { event: subject.name.to_owned(), bytes: body.len() });
    }
    debug_assert!(std::str::from_utf8(&body).is_ok(), "the JSON writers write UTF-8, and so are the literals");
    let partition = cache::partition(time::day(entry.occurred_at))?;
    let webhook_id = entry.append(&partition, subject, &body, &*cache::signer()?)?;
    wakeup::at_commit();
    Ok(webhook_id)
}
