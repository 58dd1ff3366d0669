//! What a type's output function prints, the same in every session.

use std::ffi::{CStr, c_int};

use pgrx::prelude::*;

/// The output function of a type, and which settings its text hangs on.
#[derive(Clone, Copy)]
pub struct Output {
    function: pg_sys::Oid,
    dependence: Dependence,
}

/// Which settings of a session the text of a type hangs on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Dependence {
    Nothing,
    /// Those of `PlainStyle`.
    Style,
    /// Others as well.
    Settings,
}

impl Output {
    /// The output function of an existing type.
    pub fn of(type_oid: pg_sys::Oid) -> Self {
        Self { function: output_function(type_oid), dependence: Dependence::of(type_oid) }
    }

    /// Calls `use_text` with what it prints.
    ///
    /// # Safety
    /// The value is of the function's type.
    pub unsafe fn print<T>(self, value: pg_sys::Datum, use_text: impl FnOnce(&[u8]) -> T) -> T {
        let _style = (self.dependence != Dependence::Nothing).then(PlainStyle::set);
        // SAFETY: the caller's promise; the text is a C string, and is freed after its use. Where an error leaves the settings
        // of the inner level in place, the abort of its (sub)transaction puts back the outer ones.
        unsafe {
            let outer_settings = (self.dependence == Dependence::Settings).then(|| pin_settings());
            let text = pg_sys::OidOutputFunctionCall(self.function, value);
            if let Some(level) = outer_settings {
                pg_sys::AtEOXact_GUC(true, level);
            }
            let used = use_text(CStr::from_ptr(text).to_bytes());
            pg_sys::pfree(text.cast());
            used
        }
    }
}

/// Postgres' own types that print the names of objects by search_path, or amounts by lc_monetary.
const SETTINGS_TYPES: &[pg_sys::Oid] = &[
    pg_sys::MONEYOID,
    pg_sys::REGCLASSOID,
    pg_sys::REGCOLLATIONOID,
    pg_sys::REGCONFIGOID,
    pg_sys::REGDICTIONARYOID,
    pg_sys::REGOPEROID,
    pg_sys::REGOPERATOROID,
    pg_sys::REGPROCOID,
    pg_sys::REGPROCEDUREOID,
    pg_sys::REGTYPEOID,
];

/// Postgres' own types whose text hangs on no setting.
const FIXED_TYPES: [pg_sys::Oid; 4] = [pg_sys::NUMERICOID, pg_sys::JSONOID, pg_sys::JSONBOID, pg_sys::UUIDOID];

impl Dependence {
    /// That of an existing type. What an extension's function looks at, nobody knows.
    fn of(type_oid: pg_sys::Oid) -> Self {
        // SAFETY: look-ups in the catalogue for an existing type.
        unsafe {
            let base = pg_sys::getBaseType(type_oid);
            let element = pg_sys::get_element_type(base);
            match pg_sys::get_typtype(base) as u8 {
                pg_sys::TYPTYPE_ENUM => Self::Nothing,
                pg_sys::TYPTYPE_RANGE => Self::of(pg_sys::get_range_subtype(base)),
                pg_sys::TYPTYPE_MULTIRANGE => Self::of(pg_sys::get_multirange_range(base)),
                pg_sys::TYPTYPE_BASE if element != pg_sys::InvalidOid => Self::of(element),
                pg_sys::TYPTYPE_BASE if FIXED_TYPES.contains(&base) => Self::Nothing,
                pg_sys::TYPTYPE_BASE
                    if output_function(base).to_u32() < pg_sys::FirstNormalObjectId
                        && !SETTINGS_TYPES.contains(&base) =>
                {
                    Self::Style
                }
                _ => Self::Settings,
            }
        }
    }
}

fn output_function(type_oid: pg_sys::Oid) -> pg_sys::Oid {
    let (mut function, mut is_varlena) = (pg_sys::InvalidOid, false);
    // SAFETY: writes the output function of an existing type.
    unsafe { pg_sys::getTypeOutputInfo(type_oid, &mut function, &mut is_varlena) };
    function
}

/// The settings that no plain variable holds, with the values that count for every event.
const PINNED_SETTINGS: [(&CStr, &CStr); 2] = [(c"search_path", c"pg_catalog, pg_temp"), (c"lc_monetary", c"C")];

/// Begins a level of settings with the pinned ones, and returns it.
///
/// # Safety
/// In a transaction; the level is ended by `AtEOXact_GUC`, or by the end of the transaction.
unsafe fn pin_settings() -> c_int {
    // SAFETY: the caller's promise; names and values are C strings that Postgres copies.
    unsafe {
        let level = pg_sys::NewGUCNestLevel();
        for (name, value) in PINNED_SETTINGS {
            let present = pg_sys::GetConfigOption(name.as_ptr(), true, false);
            if present.is_null() || CStr::from_ptr(present) != value {
                pg_sys::set_config_option(
                    name.as_ptr(),
                    value.as_ptr(),
                    pg_sys::GucContext::PGC_USERSET,
                    pg_sys::GucSource::PGC_S_SESSION,
                    pg_sys::GucAction::GUC_ACTION_SAVE,
                    true,
                    0,
                    false,
                );
            }
        }
        level
    }
}

unsafe extern "C" {
    /// Postgres' variable behind the setting of this name, which the bindings leave out.
    static mut bytea_output: c_int;
}

/// `BYTEA_OUTPUT_HEX` of utils/bytea.h.
const HEX: c_int = 1;

/// Output functions print dates, intervals, floats, times with a zone (in a tstzrange, say), bytes and quoted names in one way
/// while this lives, whatever the session has set. On drop it puts back what the session had.
struct PlainStyle(Style);

/// The plain variables on which output functions hang.
struct Style {
    time_zone: *mut pg_sys::pg_tz,
    date_style: c_int,
    interval_style: c_int,
    float_digits: c_int,
    bytea_output: c_int,
    quote_all_identifiers: bool,
}

impl PlainStyle {
    fn set() -> Self {
        let before = Style::present();
        let plain = Style {
            time_zone: utc(),
            date_style: pg_sys::USE_ISO_DATES as c_int,
            interval_style: pg_sys::INTSTYLE_POSTGRES as c_int,
            float_digits: 1,
            bytea_output: HEX,
            quote_all_identifiers: false,
        };
        plain.apply();
        Self(before)
    }
}

impl Drop for PlainStyle {
    /// Also when an error unwinds.
    fn drop(&mut self) {
        self.0.apply();
    }
}

impl Style {
    fn present() -> Self {
        // SAFETY: reads plain variables of this single-threaded process.
        unsafe {
            Self {
                time_zone: pg_sys::session_timezone,
                date_style: pg_sys::DateStyle,
                interval_style: pg_sys::IntervalStyle,
                float_digits: pg_sys::extra_float_digits,
                bytea_output,
                quote_all_identifiers: pg_sys::quote_all_identifiers,
            }
        }
    }

    fn apply(&self) {
        // SAFETY: plain variables of this single-threaded process; a time zone is never freed.
        unsafe {
            pg_sys::session_timezone = self.time_zone;
            pg_sys::DateStyle = self.date_style;
            pg_sys::IntervalStyle = self.interval_style;
            pg_sys::extra_float_digits = self.float_digits;
            bytea_output = self.bytea_output;
            pg_sys::quote_all_identifiers = self.quote_all_identifiers;
        }
    }
}

/// GMT, which Postgres knows without its files; looked up once a session.
fn utc() -> *mut pg_sys::pg_tz {
    thread_local! {
        // SAFETY: looks a name up.
        static UTC: *mut pg_sys::pg_tz = unsafe { pg_sys::pg_tzset(c"GMT".as_ptr()) };
    }
    UTC.with(|zone| *zone)
}
