//! Runs work as another role, in a subtransaction: its failure cannot break the user's transaction.
//!
//! Capture reads its own tables rarely (the first time, and after a change of them), and then as their owner: writers
//! have no rights on them. The search path is pinned meanwhile, so that no operator of the writer's is ever called.

use std::ffi::CStr;
use std::panic::AssertUnwindSafe;

use pgrx::prelude::*;

use crate::fault::Fault;

/// Runs `work` as `role` in a subtransaction; an error undoes it and comes back as its message, unless it is
/// one that fails the statement.
pub fn run_as<T>(role: pg_sys::Oid, work: impl FnOnce() -> T) -> Result<T, Fault> {
    // SAFETY: the calls are those that PL/pgSQL makes for an EXCEPTION block, in its order; the memory context and
    // resource owner are put back on both ways out.
    unsafe {
        let context = pg_sys::CurrentMemoryContext;
        let resources = pg_sys::CurrentResourceOwner;
        pg_sys::BeginInternalSubTransaction(std::ptr::null());
        pg_sys::MemoryContextSwitchTo(context);
        let mut work = Some(work);
        let result = PgTryBuilder::new(AssertUnwindSafe(|| {
            let work = work.take().expect("the closure is called once");
            let result = as_role(role, work);
            pg_sys::ReleaseCurrentSubTransaction();
            Ok(result)
        }))
        .catch_others(|error| {
            pg_sys::MemoryContextSwitchTo(context);
            pg_sys::RollbackAndReleaseCurrentSubTransaction();
            pg_sys::CurrentResourceOwner = resources;
            let report = report(&error);
            if fails_the_statement(report.sql_error_code()) {
                error.rethrow()
            } else {
                Err(Fault::Sql(report.message().to_owned()))
            }
        })
        .execute();
        pg_sys::MemoryContextSwitchTo(context);
        pg_sys::CurrentResourceOwner = resources;
        result
    }
}

/// Runs `work` as `role` with a pinned search path and a snapshot that sees all that is committed by now: a
/// REPEATABLE READ transaction's own one would hide new registrations from it and, through the cache, from later ones.
fn as_role<T>(role: pg_sys::Oid, work: impl FnOnce() -> T) -> T {
    // SAFETY: an error inside leaves the subtransaction, whose abort restores the user, the settings and the snapshots.
    unsafe {
        let (mut user, mut security) = (pg_sys::InvalidOid, 0);
        pg_sys::GetUserIdAndSecContext(&mut user, &mut security);
        let restricted = pg_sys::SECURITY_LOCAL_USERID_CHANGE | pg_sys::SECURITY_RESTRICTED_OPERATION;
        pg_sys::SetUserIdAndSecContext(role, security | restricted as i32);
        let settings = pg_sys::NewGUCNestLevel();
        pg_sys::set_config_option(
            c"search_path".as_ptr(),
            c"pg_catalog, pg_temp".as_ptr(),
            pg_sys::GucContext::PGC_USERSET,
            pg_sys::GucSource::PGC_S_SESSION,
            pg_sys::GucAction::GUC_ACTION_SAVE,
            true,
            0,
            false,
        );
        // What the statement itself has written so far counts: WITH may have inserted the supplier and the import.
        pg_sys::CommandCounterIncrement();
        pg_sys::PushActiveSnapshot(pg_sys::GetLatestSnapshot());
        let result = work();
        pg_sys::PopActiveSnapshot();
        pg_sys::AtEOXact_GUC(true, settings);
        pg_sys::SetUserIdAndSecContext(user, security);
        result
    }
}

/// Whether an error is the statement's, whoever runs into it: the application tries again, or somebody has cancelled it. To go
/// on would commit the change without its event.
fn fails_the_statement(code: PgSqlErrorCode) -> bool {
    // 40: serialization failures and deadlocks. 53: no memory, no room on disk. 57: cancelled, timed out, shut down.
    const CLASSES: [&[u8]; 3] = [b"40", b"53", b"57"];
    // SAFETY: reads a static text.
    let text = unsafe { CStr::from_ptr(pg_sys::unpack_sql_state(code as i32)) }.to_bytes();
    code == PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE || CLASSES.contains(&&text[..2])
}

/// What an error says.
fn report(error: &pg_sys::panic::CaughtError) -> &pg_sys::panic::ErrorReportWithLevel {
    use pg_sys::panic::CaughtError::*;
    match error {
        PostgresError(report) | ErrorReport(report) | RustPanic { ereport: report, .. } => report,
    }
}
