//! Counts the row changes that should have made an event and did not: within the writer's transaction, one row of
//! `webhooks.missed` for each table, event and reason, written just before the commit.
//!
//! What a rolled-back savepoint undid is not counted. The rows are appended, so no writer waits for another, and written as
//! the table's owner, so a writer needs no right.

use std::cell::RefCell;

use pgrx::prelude::*;

use crate::fault::Fault;
use crate::postgres::{owner_of, partition_root, relation, run_as};

/// What one transaction missed of one table's events, for one reason.
struct Missed {
    /// The subtransaction that a roll-back of would undo it.
    subtransaction: pg_sys::SubTransactionId,
    table: pg_sys::Oid,
    event: &'static str,
    reason: String,
    changes: i64,
}

/// No transaction tells more of them apart.
const MAX_ROWS: usize = 100;
const OTHER_REASONS: &str = "for more reasons than are told apart";

thread_local! {
    static MISSED: RefCell<Vec<Missed>> = const { RefCell::new(Vec::new()) };
    /// The reasons for which this transaction has warned.
    static WARNED: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Counts a row change that should have made an event of a table, or of the partitioned table that it belongs to. Event `*` is
/// all that the change makes. The first time in a transaction that there is this reason, it warns.
pub fn count(table: pg_sys::Oid, event: &'static str, fault: &Fault) {
    let reason = fault.to_string();
    // SAFETY: inside a transaction, as any row change is.
    let subtransaction = unsafe { pg_sys::GetCurrentSubTransactionId() };
    let is_new = MISSED.with_borrow_mut(|missed| {
        let is_full = missed.len() >= MAX_ROWS;
        let mut known = missed.iter_mut().filter(|one| {
            (one.subtransaction, one.table, one.event) == (subtransaction, table, event)
                && (one.reason == reason || is_full && one.reason == OTHER_REASONS)
        });
        if let Some(known) = known.next() {
            known.changes += 1;
            return false;
        }
        let reason = if is_full { OTHER_REASONS.to_owned() } else { reason.clone() };
        missed.push(Missed { subtransaction, table, event, reason, changes: 1 });
        true
    });
    if is_new && WARNED.with_borrow_mut(|warned| !warned.contains(&reason) && warned.len() < MAX_ROWS) {
        WARNED.with_borrow_mut(|warned| warned.push(reason.clone()));
        warning!("pg_webhooks made no event of a row change: {reason}");
    }
}

/// Registers the callbacks; once a session.
pub fn register() {
    // SAFETY: the callbacks are guarded and live as long as the library, which is never unloaded.
    unsafe {
        pg_sys::RegisterXactCallback(Some(on_transaction), std::ptr::null_mut());
        pg_sys::RegisterSubXactCallback(Some(on_subtransaction), std::ptr::null_mut());
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn on_transaction(event: pg_sys::XactEvent::Type, _argument: *mut std::ffi::c_void) {
    use pg_sys::XactEvent::*;
    match event {
        XACT_EVENT_PRE_COMMIT | XACT_EVENT_PRE_PREPARE => {
            let missed = MISSED.take();
            if !missed.is_empty()
                && let Err(fault) = write(&missed)
            {
                warning!("pg_webhooks could not count the events that it did not make: {fault}");
            }
        }
        XACT_EVENT_COMMIT | XACT_EVENT_PREPARE | XACT_EVENT_ABORT => {
            MISSED.take();
            WARNED.take();
        }
        _ => {}
    }
}

/// A subtransaction that commits hands what it has missed to its parent; one that is rolled back takes along what its own
/// have handed to it. Their numbers only grow, so it and all within it are those from its own on.
#[pg_guard]
unsafe extern "C-unwind" fn on_subtransaction(
    event: pg_sys::SubXactEvent::Type,
    own: pg_sys::SubTransactionId,
    parent: pg_sys::SubTransactionId,
    _argument: *mut std::ffi::c_void,
) {
    MISSED.with_borrow_mut(|missed| match event {
        pg_sys::SubXactEvent::SUBXACT_EVENT_ABORT_SUB => missed.retain(|one| one.subtransaction < own),
        pg_sys::SubXactEvent::SUBXACT_EVENT_COMMIT_SUB => hand_over(missed, own, parent),
        _ => {}
    });
}

fn hand_over(missed: &mut Vec<Missed>, own: pg_sys::SubTransactionId, parent: pg_sys::SubTransactionId) {
    for mut one in missed.extract_if(.., |one| one.subtransaction == own).collect::<Vec<_>>() {
        one.subtransaction = parent;
        let same = |known: &&mut Missed| {
            (known.subtransaction, known.table, known.event, &known.reason)
                == (parent, one.table, one.event, &one.reason)
        };
        match missed.iter_mut().find(same) {
            Some(known) => known.changes += one.changes,
            None => missed.push(one),
        }
    }
}

fn write(missed: &[Missed]) -> Result<(), Fault> {
    let sql =
        "INSERT INTO webhooks.missed (table_name, event, reason, changes) VALUES ($1::regclass::text, $2, $3, $4)";
    run_as(owner_of(relation(c"missed")?), || {
        Spi::connect_mut(|client| {
            for one in missed {
                let values = [
                    partition_root(one.table).into(),
                    one.event.into(),
                    one.reason.as_str().into(),
                    one.changes.into(),
                ];
                client.update(sql, None, &values).unwrap_or_else(|error| error!("{error}"));
            }
        });
    })
}
