//! The `pg_webhooks.…` settings. Durations are texts with a unit, checked when they are set.

use std::ffi::{CStr, CString, c_char, c_void};

use pgrx::guc::{GucContext, GucFlags, GucRegistry, GucSetting};
use pgrx::prelude::*;

use crate::json;
use crate::retry::{parse_duration, parse_schedule};

static ENABLED: GucSetting<bool> = GucSetting::<bool>::new(true);
static ACTOR: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(None);
static REASON: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(None);
static RETRY_SCHEDULE: GucSetting<Option<CString>> =
    GucSetting::<Option<CString>>::new(Some(c"1min, 5min, 15min, 1h, 6h"));
static REQUEST_TIMEOUT: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c"30s"));
static EVENT_RETENTION: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c"7 days"));
static LOG_RETENTION: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c"30 days"));
static REPLAY_RATE: GucSetting<i32> = GucSetting::<i32>::new(100);

/// Whether row changes make events in this session.
pub fn enabled() -> bool {
    ENABLED.get()
}

/// Who makes the changes, where the application says so.
pub fn actor() -> Option<String> {
    text(&ACTOR)
}

/// Why rows are deleted, where the application says so.
pub fn reason() -> Option<String> {
    text(&REASON)
}

fn text(setting: &GucSetting<Option<CString>>) -> Option<String> {
    let value = setting.get()?;
    (!value.is_empty()).then(|| json::utf8(value.as_bytes()).into_owned())
}

/// Makes the settings known to Postgres; once a session, when the library is loaded.
pub fn register() {
    GucRegistry::define_bool_guc(
        c"pg_webhooks.enabled",
        c"Whether row changes make webhook events.",
        c"Off mutes capture for a session or transaction, for seeding and migrations.",
        &ENABLED,
        GucContext::Suset,
        GucFlags::default(),
    );
    for (name, about, setting) in [
        (c"pg_webhooks.actor", c"Who makes the changes: created_by, updated_by, deleted_by and started_by.", &ACTOR),
        (c"pg_webhooks.reason", c"Why rows are deleted: reason in product.deleted.", &REASON),
    ] {
        let (context, flags) = (GucContext::Userset, GucFlags::default());
        GucRegistry::define_string_guc(name, about, c"Meant for SET LOCAL.", setting, context, flags);
    }
    define_duration(c"pg_webhooks.request_timeout", c"How long one attempt may take in all.", &REQUEST_TIMEOUT);
    define_duration(c"pg_webhooks.event_retention", c"How long events are kept.", &EVENT_RETENTION);
    define_duration(c"pg_webhooks.log_retention", c"How long the delivery log is kept.", &LOG_RETENTION);
    GucRegistry::define_int_guc(
        c"pg_webhooks.replay_rate",
        c"How many messages a second webhooks.replay sends one endpoint.",
        c"Replayed messages wait behind new ones in any case.",
        &REPLAY_RATE,
        1,
        1_000_000,
        GucContext::Suset,
        GucFlags::default(),
    );
    // SAFETY: the hook has the signature that Postgres calls, is guarded, and neither it nor the setting ever goes away.
    unsafe {
        GucRegistry::define_string_guc_with_hooks(
            c"pg_webhooks.retry_schedule",
            c"The waits before the retries of a failed delivery.",
            c"After the last one fails the endpoint is disabled.",
            &RETRY_SCHEDULE,
            GucContext::Suset,
            GucFlags::default(),
            Some(check_schedule),
            None,
            None,
        );
    }
}

fn define_duration(name: &'static CStr, about: &'static CStr, setting: &'static GucSetting<Option<CString>>) {
    // SAFETY: as for the schedule.
    unsafe {
        GucRegistry::define_string_guc_with_hooks(
            name,
            about,
            c"A whole number and a unit: 250ms, 30s, 5min, 6h, 7 days.",
            setting,
            GucContext::Suset,
            GucFlags::default(),
            Some(check_duration),
            None,
            None,
        );
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn check_duration(
    new: *mut *mut c_char,
    _extra: *mut *mut c_void,
    _source: pg_sys::GucSource::Type,
) -> bool {
    // SAFETY: Postgres hands a check hook of a string setting the address of its proposed value.
    unsafe { proposed(new) }.is_none_or(|text| parse_duration(&text).is_ok())
}

#[pg_guard]
unsafe extern "C-unwind" fn check_schedule(
    new: *mut *mut c_char,
    _extra: *mut *mut c_void,
    _source: pg_sys::GucSource::Type,
) -> bool {
    // SAFETY: as above.
    unsafe { proposed(new) }.is_none_or(|text| parse_schedule(&text).is_ok())
}

/// # Safety
/// `new` is null or points to null or to a C string.
unsafe fn proposed(new: *mut *mut c_char) -> Option<String> {
    // SAFETY: the caller's promise.
    unsafe { (!new.is_null() && !(*new).is_null()).then(|| CStr::from_ptr(*new).to_string_lossy().into_owned()) }
}

/// The value of `pg_webhooks.<name>` in this session; the library is loaded, so the setting is known.
pub fn show(name: &str) -> Option<String> {
    let name = CString::new(format!("pg_webhooks.{name}")).ok()?;
    // SAFETY: the name is a C string; the result, if any, is copied before anything can change it.
    unsafe {
        let value = pg_sys::GetConfigOption(name.as_ptr(), true, false);
        (!value.is_null()).then(|| CStr::from_ptr(value).to_string_lossy().into_owned())
    }
}
