//! What a setting was in the session before CREATE EXTENSION, whose script is running, put its own value in the place. SQL cannot
//! see it; Postgres keeps it to put it back, and this reads it there.

use std::ffi::{CStr, CString, c_char};

use pgrx::pg_sys::{self, GucStackState, config_generic, config_type};

/// The value of a setting that is a text or one of several words; the current one where the script has changed nothing.
pub fn before_script(name: &str) -> Option<String> {
    let name = CString::new(name).ok()?;
    // SAFETY: the name is a C string; settings and what is kept of them are Postgres' own, and the value is copied before any
    // statement could change it.
    unsafe {
        let setting = find(&name)?;
        let saved = (*setting).stack;
        let value = if saved.is_null() || (*saved).state != GucStackState::GUC_SAVE {
            pg_sys::GetConfigOption(name.as_ptr(), true, false)
        } else {
            let value = (*saved).prior.val;
            match (*setting).vartype {
                config_type::PGC_STRING => value.stringval as *const c_char,
                config_type::PGC_ENUM => pg_sys::config_enum_lookup_by_value(setting.cast(), value.enumval),
                _ => std::ptr::null(),
            }
        };
        (!value.is_null()).then(|| CStr::from_ptr(value).to_string_lossy().into_owned())
    }
}

/// # Safety
/// To be called in a backend.
#[cfg(feature = "pg15")]
unsafe fn find(name: &CStr) -> Option<*mut config_generic> {
    // SAFETY: the table has so many entries, each with a name.
    unsafe {
        let all = std::slice::from_raw_parts(pg_sys::get_guc_variables(), pg_sys::GetNumConfigOptions() as usize);
        all.iter().copied().find(|setting| CStr::from_ptr((**setting).name) == name)
    }
}

/// # Safety
/// To be called in a backend.
#[cfg(not(feature = "pg15"))]
unsafe fn find(name: &CStr) -> Option<*mut config_generic> {
    // SAFETY: it only looks the name up.
    let setting = unsafe { pg_sys::find_option(name.as_ptr(), false, true, 0) };
    (!setting.is_null()).then_some(setting)
}
