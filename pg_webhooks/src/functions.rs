//! The functions that the SQL in `../../sql` calls: each converts its arguments and forwards to the module that knows.

use std::time::{Duration, SystemTime};

use pgrx::prelude::*;
use webhooks_core::endpoint_options::EndpointOptions;
use webhooks_core::{
    duration, event_names, event_rules, event_types, ids, json, retry, secret_names, signature, tokens, url,
};

use crate::capture::{Attachment, Resolved, append};
use crate::errors::Error;
use crate::event_log::{Body, Subject};
use crate::fault::Fault;
use crate::postgres::{self, random, refuse_where_read_only, saved_settings};
use crate::{cache, settings, wakeup};

// These three take the texts as bytes: a text in a table need not be UTF-8, and they sign what is there.
#[pg_extern(sql = false)]
fn sign(payload: &[u8], secret: &[u8]) -> String {
    signature::header(payload, secret)
}

#[pg_extern(sql = false)]
fn verify(payload: &[u8], signature: &[u8], secret: &[u8]) -> bool {
    signature::verify(payload, signature, secret)
}

#[pg_extern(sql = false)]
fn sign_standard(webhook_id: &[u8], timestamp: i64, payload: &[u8], secret: &[u8]) -> String {
    signature::standard_header(webhook_id, timestamp.to_string().as_bytes(), payload, secret)
}

#[pg_extern(sql = false)]
fn log_signature(webhook_id: &[u8], body: &[u8], key: &[u8]) -> Vec<u8> {
    signature::of_log(&signature::Signer::with_key(key), webhook_id, body).to_vec()
}

#[pg_extern(sql = false)]
fn legible(text: &[u8]) -> String {
    String::from_utf8_lossy(text).into_owned()
}

#[pg_extern(sql = false)]
fn check_url(url: Option<&str>) -> String {
    let url = url.unwrap_or_else(|| Error::Null("url").raise());
    url::normalize(url).unwrap_or_else(|invalid| Error::Url(url.to_owned(), invalid).raise())
}

#[pg_extern(sql = false)]
fn check_events(patterns: Option<Vec<Option<String>>>) -> Vec<String> {
    let patterns: Option<Vec<String>> = patterns.unwrap_or_default().into_iter().collect();
    let patterns = patterns.filter(|patterns| !patterns.is_empty()).unwrap_or_else(|| Error::NoEvents.raise());
    let mut checked: Vec<String> = Vec::with_capacity(patterns.len());
    for pattern in patterns {
        if let Err(invalid) = event_names::check_pattern(&pattern) {
            Error::Event(invalid).raise();
        }
        if !checked.contains(&pattern) {
            checked.push(pattern);
        }
    }
    checked
}

#[pg_extern(sql = false)]
fn patterns_of(event: &[u8]) -> Vec<String> {
    event_names::patterns_of(&json::utf8(event))
}

/// `webhooks.latest_snapshot()`: pgrx has no type for a pg_snapshot, so the call is Postgres' own, under another snapshot.
///
/// # Safety
/// Called by Postgres.
#[pg_guard]
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn latest_snapshot_wrapper(call: pg_sys::FunctionCallInfo) -> pg_sys::Datum {
    // SAFETY: inside a transaction, which lets go of the snapshot where an error does not.
    unsafe {
        pg_sys::PushActiveSnapshot(pg_sys::GetLatestSnapshot());
        let snapshot = pg_sys::pg_current_snapshot(call);
        pg_sys::PopActiveSnapshot();
        snapshot
    }
}

/// Tells Postgres how `latest_snapshot` is called.
#[unsafe(no_mangle)]
pub extern "C" fn pg_finfo_latest_snapshot_wrapper() -> &'static pg_sys::Pg_finfo_record {
    &pg_sys::Pg_finfo_record { api_version: 1 }
}

#[pg_extern(sql = false)]
fn check_secret(secret: Option<&str>) -> Option<String> {
    let secret = secret.filter(|secret| !secret.is_empty())?;
    if secret.len() > signature::MAX_SECRET_BYTES {
        Error::LongSecret(secret.len()).raise();
    }
    if secret.starts_with("whsec_") && signature::decoded_key(secret.as_bytes()).is_none_or(|key| key.is_empty()) {
        Error::Secret.raise();
    }
    Some(secret.to_owned())
}

#[pg_extern(sql = false)]
fn new_endpoint_id() -> String {
    ids::endpoint_id(u128::from_le_bytes(random()))
}

#[pg_extern(sql = false)]
fn generate_secret() -> String {
    signature::standard_secret(&random::<24>())
}

#[pg_extern(sql = false)]
fn new_token() -> TableIterator<'static, (name!(id, String), name!(token, String), name!(hash, Vec<u8>))> {
    let random = || u128::from_le_bytes(random());
    let tokens::Token { id, text } = tokens::Token::new(random(), random());
    let hash = tokens::hash(&text).to_vec();
    TableIterator::once((id, text, hash))
}

#[pg_extern(sql = false)]
fn token_id(token: &str) -> Option<String> {
    tokens::id(token)
}

#[pg_extern(sql = false)]
fn is_token(token: &str, hash: &[u8]) -> bool {
    tokens::matches(token, hash)
}

// Postgres holds a json as it holds a text.
#[pg_extern(sql = false)]
fn event_types() -> TableIterator<
    'static,
    (name!(event, String), name!(description, String), name!(schema, String), name!(sample, String)),
> {
    TableIterator::new(event_types::all().map(|kind| {
        let (schema, sample) = (kind.message_schema(), kind.message_sample());
        (kind.event, kind.description, schema, sample)
    }))
}

#[pg_extern(sql = false)]
fn position_of(webhook_id: &str) -> TableIterator<'static, (name!(xid, i64), name!(seq, i32))> {
    let position = ids::position(webhook_id).map(|position| (position.xid as i64, position.seq as i32));
    TableIterator::new(position)
}

#[pg_extern(sql = false)]
fn events_of(kind: &str) -> SetOfIterator<'static, &'static str> {
    let events = event_rules::kind(kind).into_iter().flat_map(|kind| kind.events);
    SetOfIterator::new(events.map(|event| event.name))
}

#[pg_extern(sql = false)]
fn looks_like_secret(name: &str) -> bool {
    secret_names::looks_like_secret(name)
}

// These two return nothing where the trigger is not one of webhooks.attach().
#[pg_extern(sql = false)]
fn attached_fields(
    target: pg_sys::Oid,
    attachment: &str,
) -> TableIterator<'static, (name!(field, &'static str), name!(attnum, i16))> {
    let fields = resolve(target, attachment).map_or(Vec::new(), |resolved| resolved.fields);
    TableIterator::new(fields.into_iter().map(|(field, index)| (field, index as i16 + 1)))
}

#[pg_extern(sql = false)]
fn left_out_columns(target: pg_sys::Oid, attachment: &str) -> SetOfIterator<'static, i16> {
    let left_out = resolve(target, attachment).map_or(Vec::new(), |resolved| resolved.left_out);
    SetOfIterator::new(left_out.into_iter().map(|index| index as i16 + 1))
}

fn resolve(target: pg_sys::Oid, attachment: &str) -> Option<Resolved> {
    let attachment = Attachment::parse(attachment).ok()?;
    // SAFETY: relation_open raises an error if there is no such table; the lock is kept.
    unsafe {
        let table = pg_sys::relation_open(target, pg_sys::AccessShareLock as pg_sys::LOCKMODE);
        let resolved = attachment.resolve(table);
        pg_sys::relation_close(table, pg_sys::NoLock as pg_sys::LOCKMODE);
        Some(resolved)
    }
}

#[pg_extern(sql = false)]
fn kinds() -> SetOfIterator<'static, &'static str> {
    SetOfIterator::new(event_rules::KINDS.iter().map(|kind| kind.name))
}

#[pg_extern(sql = false)]
fn fields(kind: &str) -> TableIterator<'static, (name!(field, &'static str), name!(required, bool))> {
    let fields = event_rules::kind(kind).into_iter().flat_map(|kind| kind.fields);
    TableIterator::new(fields.map(|field| (field.name, field.required)))
}

#[pg_extern(sql = false)]
fn merge_options(
    max_in_flight: Option<i32>,
    max_per_second: Option<f64>,
    timeout_ms: Option<i32>,
    options: &str,
) -> TableIterator<
    'static,
    (name!(max_in_flight, Option<i32>), name!(max_per_second, Option<f64>), name!(timeout_ms, Option<i32>)),
> {
    let before = EndpointOptions { max_in_flight, max_per_second, timeout_ms };
    let after = before.merged(options).unwrap_or_else(|invalid| Error::Options(invalid).raise());
    TableIterator::once((after.max_in_flight, after.max_per_second, after.timeout_ms))
}

#[pg_extern(sql = false)]
fn classify_attempt(
    http_status: Option<i32>,
    retry_after: Option<&str>,
    retry_count: i32,
    ours_for_ms: Option<i64>,
    retry_schedule: &str,
    jitter: f64,
) -> TableIterator<'static, (name!(outcome, &'static str), name!(wait_ms, Option<i64>), name!(next_retry, Option<i32>))>
{
    let schedule = retry::parse_schedule(retry_schedule).unwrap_or_else(|invalid| Error::Duration(invalid).raise());
    let attempt = retry::Attempt {
        status: http_status.and_then(|status| u16::try_from(status).ok()),
        retry_after,
        retry_count: retry_count.max(0) as usize,
        ours_for: ours_for_ms.map(|ms| Duration::from_millis(ms.max(0) as u64)),
    };
    let outcome = retry::classify_attempt(&attempt, &schedule, SystemTime::now());
    let (wait_ms, next_retry) = match outcome {
        retry::Outcome::Retry { wait, retry_count } => {
            (Some(retry::lengthened(wait, jitter).as_millis() as i64), Some(retry_count as i32))
        }
        _ => (None, None),
    };
    TableIterator::once((outcome.name(), wait_ms, next_retry))
}

#[pg_extern(sql = false)]
fn duration_ms(duration: &str) -> i64 {
    match duration::parse(duration) {
        Ok(duration) => duration.as_millis() as i64,
        Err(invalid) => Error::Duration(invalid).raise(),
    }
}

#[pg_extern(sql = false)]
fn effective_setting(name: &str, stored: Option<&str>) -> Option<String> {
    settings::effective(name, stored)
}

#[pg_extern(sql = false)]
fn is_valid_setting(name: &str, value: &str) -> bool {
    settings::normal_form(name, value).is_ok()
}

#[pg_extern(sql = false)]
fn setting_before(name: &str) -> Option<String> {
    saved_settings::before_script(name)
}

#[pg_extern(sql = false)]
fn notify_at_commit() {
    wakeup::at_commit();
}

#[pg_extern(sql = false)]
fn try_sleep() -> bool {
    wakeup::try_sleep()
}

#[pg_extern(sql = false)]
fn stop_sleeping() {
    wakeup::stop_sleeping();
}

#[pg_extern(sql = false)]
fn flush_commits(xids: Vec<i64>) {
    postgres::flush_commits(xids.into_iter().map(|xid| xid as u64));
}

#[pg_extern(sql = false)]
fn wait_for_commit(seen: &str, least_us: i32, most_us: i32) {
    wakeup::wait_for_commit(seen, least_us.max(0).unsigned_abs(), most_us.max(0).unsigned_abs());
}

// A text is held as a bytea is, and may be no UTF-8.
#[pg_extern(sql = false)]
fn append_custom(event: Option<&[u8]>, data: Option<&[u8]>) -> Option<String> {
    refuse_where_read_only(c"webhooks.emit()");
    let event = json::utf8(event.unwrap_or_else(|| Error::Null("event").raise()));
    let data = json::utf8_json(data.unwrap_or_else(|| Error::Null("data").raise()));
    if let Err(invalid) = event_names::check_custom(&event) {
        Error::Event(invalid).raise();
    }
    if data.len() > settings::max_body() {
        Error::BodyTooLong { event: event.into_owned(), bytes: data.len() }.raise();
    }
    if !data.starts_with('{') {
        Error::NotAnObject(data.into_owned()).raise();
    }
    let is_wanted = settings::enabled() && cache::is_wanted(&event).unwrap_or_else(|fault| error!("{fault}"));
    if !is_wanted {
        return None;
    }
    let push_data = |out: &mut Vec<u8>, _limit| {
        if json::push_json(out, &data).is_err() {
            error!("Postgres printed a jsonb that is no JSON");
        }
    };
    let webhook_id = append(Subject { name: &event, key: None, target: None }, &mut Body::new(), push_data)
        .unwrap_or_else(|fault| match fault {
            Fault::BodyTooLong { event, bytes } => Error::BodyTooLong { event, bytes }.raise(),
            fault => error!("{fault}"),
        });
    Some(webhook_id)
}

#[pg_extern(sql = false)]
fn append_sample(event: &str, endpoint: i32) -> String {
    refuse_where_read_only(c"webhooks.trigger()");
    let kind = event_types::all().find(|kind| kind.event == event);
    let kind = kind.unwrap_or_else(|| error!("there is no sample of {event}"));
    let push_data = |out: &mut Vec<u8>, _limit| {
        json::push_json(out, kind.sample.get()).expect("samples are JSON: a test sees to it");
    };
    append(Subject { name: &kind.event, key: None, target: Some(endpoint) }, &mut Body::new(), push_data)
        .unwrap_or_else(|fault| error!("{fault}"))
}
