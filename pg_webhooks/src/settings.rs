//! The `pg_webhooks.…` settings. Durations are texts with a unit, checked when they are set.

use std::cell::RefCell;
use std::collections::HashSet;
use std::ffi::{CStr, CString, c_char, c_void};
use std::ops::RangeInclusive;

use pgrx::guc::{GucContext, GucFlags, GucRegistry, GucSetting};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use webhooks_core::duration;
use webhooks_core::retry::parse_schedule;

static ENABLED: GucSetting<bool> = GucSetting::<bool>::new(true);
static ACTOR: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(None);
static REASON: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(None);
static RETRY_SCHEDULE: GucSetting<Option<CString>> =
    GucSetting::<Option<CString>>::new(Some(c"1min, 5min, 15min, 1h, 6h"));
static REQUEST_TIMEOUT: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c"30s"));
static EVENT_RETENTION: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c"7 days"));
static LOG_RETENTION: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c"30 days"));
static RETRY_JITTER: GucSetting<f64> = GucSetting::<f64>::new(0.05);
static DISABLE: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c"failing"));
static REPLAY_RATE: GucSetting<i32> = GucSetting::<i32>::new(100);

static MAX_BODY: GucSetting<i32> = GucSetting::<i32>::new(1 << 20);

const RETRY_JITTERS: RangeInclusive<f64> = 0.0..=1.0;
const REPLAY_RATES: RangeInclusive<i32> = 1..=1_000_000;
/// In bytes.
const MAX_BODIES: RangeInclusive<i32> = (8 << 10)..=(64 << 20);

/// What a duration looks like.
pub const DURATION_HINT: &CStr = c"A duration is a number and a unit: 250ms, 30s, 5min, 1.5h, 7 days.";
const TIMEOUT_HINT: &CStr = c"A request needs more than no time: 30s, for example.";
const SCHEDULE_HINT: &CStr =
    c"A schedule is durations with commas between them: 1min, 5min, 1h. An empty one is no retry.";
const DISABLE_HINT: &CStr = c"It is failing or any.";
const BOOLEAN_HINT: &CStr = c"It is on or off.";
const UNKNOWN_HINT: &CStr = c"There is no setting of this name.";
const JITTER_HINT: &CStr = c"A number from 0 to 1: 0.05 lengthens a wait by up to a twentieth.";
const RATE_HINT: &CStr = c"A whole number from 1 to 1000000: messages a second.";
const MAX_BODY_HINT: &CStr = c"A size from 8kB to 64MB: 4MB, for example.";

thread_local! {
    /// The warnings of this session about values that are not valid.
    static WARNED: RefCell<HashSet<String>> = RefCell::default();
}

/// Whether row changes make events in this session.
pub fn enabled() -> bool {
    ENABLED.get()
}

/// How many bytes a message may have.
pub fn max_body() -> usize {
    MAX_BODY.get().unsigned_abs() as usize
}

/// The same as people write it: `1MB`.
pub fn shown_max_body() -> String {
    // SAFETY: the setting is known; Postgres allocates the text.
    unsafe {
        let shown = pg_sys::GetConfigOptionByName(c"pg_webhooks.max_body".as_ptr(), std::ptr::null_mut(), false);
        CStr::from_ptr(shown).to_string_lossy().into_owned()
    }
}

/// Calls `use_text` with who makes the changes, where the application says so.
pub fn with_actor<T>(use_text: impl FnOnce(Option<&[u8]>) -> T) -> T {
    with_text(&ACTOR, use_text)
}

/// Calls `use_text` with why rows are deleted, where the application says so.
pub fn with_reason<T>(use_text: impl FnOnce(Option<&[u8]>) -> T) -> T {
    with_text(&REASON, use_text)
}

/// A session may give a text of any length, so it is not copied.
fn with_text<T>(setting: &GucSetting<Option<CString>>, use_text: impl FnOnce(Option<&[u8]>) -> T) -> T {
    // SAFETY: null or a C string of Postgres', which stays until a statement sets another: none runs in `use_text`.
    let text = unsafe {
        let text = *setting.as_ptr();
        (!text.is_null()).then(|| CStr::from_ptr(text).to_bytes())
    };
    use_text(text.filter(|text| !text.is_empty()))
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
    let about = c"How long one attempt may take in all.";
    define_duration(c"pg_webhooks.request_timeout", about, &REQUEST_TIMEOUT, check_timeout);
    define_duration(c"pg_webhooks.event_retention", c"How long events are kept.", &EVENT_RETENTION, check_retention);
    let about = c"How long the delivery log is kept.";
    define_duration(c"pg_webhooks.log_retention", about, &LOG_RETENTION, check_retention);
    define_numbers();
    // SAFETY: the hooks have the signature that Postgres calls, are guarded, and neither they nor the settings ever go away.
    unsafe {
        GucRegistry::define_string_guc_with_hooks(
            c"pg_webhooks.retry_schedule",
            c"The waits before the retries of a failed delivery.",
            c"After the last one fails the endpoint may be disabled: pg_webhooks.disable.",
            &RETRY_SCHEDULE,
            GucContext::Suset,
            GucFlags::default(),
            Some(check_schedule),
            None,
            None,
        );
        GucRegistry::define_string_guc_with_hooks(
            c"pg_webhooks.disable",
            c"Which endpoints are disabled when a message has run out of retries.",
            c"failing: one that took no more messages meanwhile than ran out; any: each.",
            &DISABLE,
            GucContext::Suset,
            GucFlags::default(),
            Some(check_disable),
            None,
            None,
        );
    }
    // A typo in SET is an error from here on; one that came with the session is a WARNING.
    // SAFETY: the name lives as long as the program.
    unsafe { pg_sys::MarkGUCPrefixReserved(c"pg_webhooks".as_ptr()) }
}

fn define_numbers() {
    GucRegistry::define_float_guc(
        c"pg_webhooks.retry_jitter",
        c"By which share of it, at most, a wait before a retry is lengthened at random.",
        c"It adds a minute at most: what failed together does not come back together.",
        &RETRY_JITTER,
        *RETRY_JITTERS.start(),
        *RETRY_JITTERS.end(),
        GucContext::Suset,
        GucFlags::default(),
    );
    for (name, about, detail, setting, range, flags) in [
        (
            c"pg_webhooks.replay_rate",
            c"How many messages a second webhooks.replay sends one endpoint.",
            c"Replayed messages wait behind new ones in any case.",
            &REPLAY_RATE,
            REPLAY_RATES,
            GucFlags::default(),
        ),
        (
            c"pg_webhooks.max_body",
            c"How long a message may be.",
            c"In the place of a longer one goes a message with the identifying fields and \"truncated\": true.",
            &MAX_BODY,
            MAX_BODIES,
            GucFlags::UNIT_BYTE,
        ),
    ] {
        let (least, most) = range.into_inner();
        GucRegistry::define_int_guc(name, about, detail, setting, least, most, GucContext::Suset, flags);
    }
}

fn define_duration(
    name: &'static CStr,
    about: &'static CStr,
    setting: &'static GucSetting<Option<CString>>,
    check: CheckHook,
) {
    // SAFETY: as for the schedule.
    unsafe {
        GucRegistry::define_string_guc_with_hooks(
            name,
            about,
            DURATION_HINT,
            setting,
            GucContext::Suset,
            GucFlags::default(),
            Some(check),
            None,
            None,
        );
    }
}

type CheckHook = unsafe extern "C-unwind" fn(*mut *mut c_char, *mut *mut c_void, pg_sys::GucSource::Type) -> bool;

#[pg_guard]
unsafe extern "C-unwind" fn check_retention(
    new: *mut *mut c_char,
    _extra: *mut *mut c_void,
    _source: pg_sys::GucSource::Type,
) -> bool {
    // SAFETY: Postgres hands a check hook of a string setting the address of its proposed value.
    unsafe { accepts("event_retention", new) }
}

#[pg_guard]
unsafe extern "C-unwind" fn check_timeout(
    new: *mut *mut c_char,
    _extra: *mut *mut c_void,
    _source: pg_sys::GucSource::Type,
) -> bool {
    // SAFETY: as above.
    unsafe { accepts("request_timeout", new) }
}

#[pg_guard]
unsafe extern "C-unwind" fn check_schedule(
    new: *mut *mut c_char,
    _extra: *mut *mut c_void,
    _source: pg_sys::GucSource::Type,
) -> bool {
    // SAFETY: as above.
    unsafe { accepts("retry_schedule", new) }
}

#[pg_guard]
unsafe extern "C-unwind" fn check_disable(
    new: *mut *mut c_char,
    _extra: *mut *mut c_void,
    _source: pg_sys::GucSource::Type,
) -> bool {
    // SAFETY: as above.
    unsafe { accepts("disable", new) }
}

/// Whether the proposed value of a setting is valid; if not, Postgres gets the hint for its error.
///
/// # Safety
/// As for `proposed`.
unsafe fn accepts(name: &str, new: *mut *mut c_char) -> bool {
    // SAFETY: the caller's promise; Postgres copies the hint.
    unsafe {
        let fault = proposed(new).and_then(|value| normal_form(name, &value).err());
        if let Some(hint) = fault {
            pg_sys::GUC_check_errhint_string = hint.as_ptr().cast_mut();
        }
        fault.is_none()
    }
}

/// # Safety
/// `new` is null or points to null or to a C string.
unsafe fn proposed(new: *mut *mut c_char) -> Option<String> {
    // SAFETY: the caller's promise.
    unsafe { (!new.is_null() && !(*new).is_null()).then(|| CStr::from_ptr(*new).to_string_lossy().into_owned()) }
}

/// The value of `pg_webhooks.<name>` in this session; the library is loaded, so the setting is known.
fn show(name: &str) -> Option<String> {
    let name = CString::new(format!("pg_webhooks.{name}")).ok()?;
    // SAFETY: the name is a C string; the result, if any, is copied before anything can change it.
    unsafe {
        let value = pg_sys::GetConfigOption(name.as_ptr(), true, false);
        (!value.is_null()).then(|| CStr::from_ptr(value).to_string_lossy().into_owned())
    }
}

/// What counts for `pg_webhooks.<name>` where the catalogue has a value that no session has checked: that one if it is valid,
/// else what this session has. The latter is said in a warning, once a session for each such value.
pub fn effective(name: &str, stored: Option<&str>) -> Option<String> {
    let Some(stored) = stored else { return show(name) };
    let hint = match normal_form(name, stored) {
        Ok(value) => return Some(value),
        Err(hint) => hint.to_string_lossy(),
    };
    let counts = show(name)?;
    let message = format!("pg_webhooks.{name} cannot be \"{stored}\": {counts} counts instead");
    if WARNED.with_borrow_mut(|warned| warned.insert(message.clone())) {
        ErrorReport::new(PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE, message, pgrx::function_name!())
            .set_hint(hint)
            .report(PgLogLevel::WARNING);
    }
    Some(counts)
}

/// The value of `pg_webhooks.<name>` in a form that SQL can use, or a hint that says what would be one.
pub fn normal_form(name: &str, value: &str) -> Result<String, &'static CStr> {
    let is_valid = match name {
        "request_timeout" if duration::parse(value).is_ok_and(|timeout| timeout.is_zero()) => return Err(TIMEOUT_HINT),
        "request_timeout" | "event_retention" | "log_retention" => {
            duration::parse(value).map(drop).or(Err(DURATION_HINT))
        }
        "retry_schedule" => parse_schedule(value).map(drop).or(Err(SCHEDULE_HINT)),
        "retry_jitter" => {
            value.trim().parse().is_ok_and(|jitter| RETRY_JITTERS.contains(&jitter)).then_some(()).ok_or(JITTER_HINT)
        }
        "replay_rate" => return integer(value, GucFlags::default(), REPLAY_RATES).ok_or(RATE_HINT),
        "max_body" => return integer(value, GucFlags::UNIT_BYTE, MAX_BODIES).ok_or(MAX_BODY_HINT),
        "disable" => matches!(value, "failing" | "any").then_some(()).ok_or(DISABLE_HINT),
        "enabled" => is_boolean(value).then_some(()).ok_or(BOOLEAN_HINT),
        // Names that are not known Postgres has removed.
        _ if show(name).is_none() => Err(UNKNOWN_HINT),
        _ => Ok(()),
    };
    is_valid.map(|()| value.to_owned())
}

fn is_boolean(value: &str) -> bool {
    // SAFETY: reads a C string; a null pointer stands for a result that nobody wants.
    CString::new(value).is_ok_and(|value| unsafe { pg_sys::parse_bool(value.as_ptr(), std::ptr::null_mut()) })
}

/// A whole number as Postgres reads it in a setting of these flags, without its unit.
fn integer(value: &str, flags: GucFlags, range: RangeInclusive<i32>) -> Option<String> {
    let (value, mut number) = (CString::new(value).ok()?, 0);
    // SAFETY: a C string and room for the number.
    let is_number = unsafe { pg_sys::parse_int(value.as_ptr(), &mut number, flags.bits(), std::ptr::null_mut()) };
    (is_number && range.contains(&number)).then(|| number.to_string())
}
