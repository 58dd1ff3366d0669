//! The row trigger: from a changed row to the events it makes.
//!
//! A fault of ours (an unreadable table of the extension's, say) is a WARNING and no event; the user's statement goes on.

use pgrx::prelude::*;

use super::append;
use super::change::Change;
use crate::{cache, settings};

/// `webhooks.wanted_…()`: the WHEN clauses of the triggers, evaluated for each row before the trigger is even queued. A row
/// that nobody wants costs this and nothing else. One function for each kind of table, for Postgres parses a clause anew
/// for each statement, and half of that would be an argument.
macro_rules! when_clauses {
    ($($function:ident, $called:ident: $kind:literal;)*) => {$(
        /// # Safety
        /// Called by Postgres.
        #[pg_guard]
        #[unsafe(no_mangle)]
        pub unsafe extern "C-unwind" fn $function(_call: pg_sys::FunctionCallInfo) -> pg_sys::Datum {
            pg_sys::Datum::from(wanted($kind))
        }

        /// Tells Postgres how it is called.
        #[unsafe(no_mangle)]
        pub extern "C" fn $called() -> &'static pg_sys::Pg_finfo_record {
            &pg_sys::Pg_finfo_record { api_version: 1 }
        }
    )*};
}

when_clauses! {
    wanted_products, pg_finfo_wanted_products: "products";
    wanted_suppliers, pg_finfo_wanted_suppliers: "suppliers";
    wanted_imports, pg_finfo_wanted_imports: "imports";
}

fn wanted(kind: &str) -> bool {
    // Where it can not be told, capture tries, and says what is wrong.
    settings::enabled() && cache::is_wanted(kind).unwrap_or(true)
}

/// When a trigger is fired: any other than an AFTER ROW trigger has not the rows that `Change::of` reads.
const FIRED: u32 = pg_sys::TRIGGER_EVENT_ROW | pg_sys::TRIGGER_EVENT_TIMINGMASK;
const AFTER_ROW: u32 = pg_sys::TRIGGER_EVENT_ROW | pg_sys::TRIGGER_EVENT_AFTER;

/// `webhooks.capture()`: called after each row change of an attached table.
///
/// # Safety
/// Called by Postgres.
#[pg_guard]
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn capture(call: pg_sys::FunctionCallInfo) -> pg_sys::Datum {
    // SAFETY: the call's information is Postgres' own; its context says whether a trigger called.
    unsafe {
        if !pgrx::trigger_support::called_as_trigger(call) {
            error!("webhooks.capture() is a trigger function: webhooks.attach() makes its triggers");
        }
        let trigger = &*(*call).context.cast::<pg_sys::TriggerData>();
        if trigger.tg_event & FIRED != AFTER_ROW {
            error!("webhooks.capture() must be fired AFTER and FOR EACH ROW: webhooks.attach() makes its triggers");
        }
        if let Err(fault) = capture_row(trigger) {
            warning!("pg_webhooks made no event of a row change: {fault}");
        }
    }
    pg_sys::Datum::from(0)
}

/// Tells Postgres how `capture` is called.
#[unsafe(no_mangle)]
pub extern "C" fn pg_finfo_capture() -> &'static pg_sys::Pg_finfo_record {
    &pg_sys::Pg_finfo_record { api_version: 1 }
}

fn capture_row(trigger: &pg_sys::TriggerData) -> Result<(), String> {
    let plan = cache::plan(trigger)?;
    if plan.events.is_empty() {
        return Ok(());
    }
    let change = Change::of(trigger, &plan);
    let mut changes = None;
    for event in &plan.events {
        if change.makes(event, &mut changes) {
            let recipients = &event.recipients;
            append(event.name, recipients, |out| change.push_data(out, event, changes.as_deref().unwrap_or_default()))?;
        }
    }
    Ok(())
}
