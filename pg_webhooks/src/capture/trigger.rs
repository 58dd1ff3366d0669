//! The row trigger: from a changed row to the events it makes.
//!
//! Where an event cannot be made (a column that it needs is gone, or by a fault of ours) the user's statement goes on, with a
//! WARNING, and what was missed is counted.
//! An error that an application retries, a lock timeout say, fails the statement.

use pgrx::prelude::*;
use webhooks_core::event_rules::When;

use super::append;
use super::attachment::Attachment;
use super::change::Change;
use super::plan::Plan;
use crate::event_log::{Body, Subject};
use crate::fault::Fault;
use crate::{cache, missed, settings};

/// `webhooks.wanted_…()`: the WHEN clauses of the triggers, evaluated for each row before the trigger is even queued. A row
/// that nobody wants costs this and nothing else. There is one SQL function for each kind of table, for Postgres parses a
/// clause anew for each statement, and half of that would be an argument; which kind it asks for, its name says.
///
/// # Safety
/// Called by Postgres.
#[pg_guard]
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn wanted(call: pg_sys::FunctionCallInfo) -> pg_sys::Datum {
    // SAFETY: Postgres says which function it calls.
    let function = unsafe { (*(*call).flinfo).fn_oid };
    // Where it cannot be told, capture tries, and says what is wrong.
    let is_wanted = settings::enabled() && cache::is_kind_wanted(function).unwrap_or(true);
    pg_sys::Datum::from(is_wanted)
}

/// Tells Postgres how `wanted` is called.
#[unsafe(no_mangle)]
pub extern "C" fn pg_finfo_wanted() -> &'static pg_sys::Pg_finfo_record {
    &pg_sys::Pg_finfo_record { api_version: 1 }
}

/// When a trigger is fired: any other than an AFTER ROW trigger has not the rows that `Change::of` reads.
const TIMING_MASK: u32 = pg_sys::TRIGGER_EVENT_ROW | pg_sys::TRIGGER_EVENT_TIMINGMASK;
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
        if trigger.tg_event & (TIMING_MASK | pg_sys::TRIGGER_EVENT_OPMASK) == pg_sys::TRIGGER_EVENT_TRUNCATE {
            miss_deletes(trigger);
            return pg_sys::Datum::from(0);
        }
        if trigger.tg_event & TIMING_MASK != AFTER_ROW {
            error!("webhooks.capture() must be fired AFTER and FOR EACH ROW: webhooks.attach() makes its triggers");
        }
        if let Err(fault) = capture_row(trigger) {
            missed::count((*trigger.tg_relation).rd_id, "*", &fault);
        }
    }
    pg_sys::Datum::from(0)
}

/// Tells Postgres how `capture` is called.
#[unsafe(no_mangle)]
pub extern "C" fn pg_finfo_capture() -> &'static pg_sys::Pg_finfo_record {
    &pg_sys::Pg_finfo_record { api_version: 1 }
}

/// Counts as missed what deletes would have made: once, for nobody knows of how many rows.
fn miss_deletes(trigger: &pg_sys::TriggerData) {
    let Ok(attachment) = Attachment::of(trigger) else { return };
    for rule in attachment.kind.events {
        if matches!(rule.when, When::Deleted) && cache::is_wanted(rule.name).unwrap_or(true) {
            // SAFETY: Postgres gives a trigger function its table, open.
            missed::count(unsafe { (*trigger.tg_relation).rd_id }, rule.name, &Fault::Truncated);
        }
    }
}

fn capture_row(trigger: &pg_sys::TriggerData) -> Result<(), Fault> {
    let plan = cache::plan(trigger, Plan::compile)?;
    if plan.events.is_empty() {
        return Ok(());
    }
    let change = Change::of(trigger, &plan);
    let mut changes = None;
    let (mut key, mut body) = (None, Body::new());
    for event in &plan.events {
        if !change.makes(event, &mut changes) {
            continue;
        }
        let key = *key.get_or_insert_with(|| change.ordering_key(body.out()));
        let subject = Subject { name: event.name, key, target: None };
        let made = match &event.missing {
            Some(missing) => Err(missing.clone()),
            None => append(subject, &mut body, |out, limit| change.push_data(out, event, changes.as_ref(), limit)),
        };
        if let Err(fault) = made {
            // SAFETY: Postgres gives a trigger function its table, open.
            missed::count(unsafe { (*trigger.tg_relation).rd_id }, event.name, &fault);
        }
    }
    Ok(())
}
