//! Waking the sidecar: writers pay for a NOTIFY only while it sleeps.
//!
//! NOTIFY takes a lock of the whole cluster until its commit is flushed, so a writer avoids it. A sidecar that goes to
//! sleep holds ShareLock on the empty table `webhooks.wakeup`, looks for work once more, and waits. A writer about to
//! commit tries RowExclusiveLock on it, which costs nothing between writers:
//!
//! - It gets the lock: nobody sleeps, and while it holds it nobody can fall asleep. The lock goes after its commit has
//!   become visible, so the sidecar that then gets its own sees the commit when it looks.
//! - It does not: a sidecar sleeps, or is about to. The writer sends NOTIFY.
//!
//! An awake sidecar need not ask again and again either: `wait_for_commit` lets it wait where commits are seen at once.
//!
//! A transaction that is prepared cannot notify, and would keep the lock until it ends: it does neither, and the
//! sidecar's slow poll finds it. No correctness rests on a NOTIFY, and it carries no data.

use std::cell::Cell;
use std::time::{Duration, Instant};

use pgrx::prelude::*;
use webhooks_core::snapshot;

use crate::cache;

thread_local! {
    /// This transaction made work for the sidecar.
    static HAS_WORK: Cell<bool> = const { Cell::new(false) };
    /// The sleeper's lock, while this session, a sidecar's, holds it.
    static HELD_LOCK: Cell<Option<pg_sys::LOCKTAG>> = const { Cell::new(None) };
    static RELEASED_AT_EXIT: Cell<bool> = const { Cell::new(false) };
}

/// Wakes the sidecar when this transaction commits.
pub fn at_commit() {
    HAS_WORK.set(true);
}

/// Registers the commit callback; once a session.
pub fn register() {
    // SAFETY: the callback is guarded and lives as long as the library, which is never unloaded.
    unsafe { pg_sys::RegisterXactCallback(Some(on_transaction), std::ptr::null_mut()) }
}

#[pg_guard]
unsafe extern "C-unwind" fn on_transaction(event: pg_sys::XactEvent::Type, _argument: *mut std::ffi::c_void) {
    if HAS_WORK.replace(false) && event == pg_sys::XactEvent::XACT_EVENT_PRE_COMMIT {
        notify_if_asleep();
    }
    if event == pg_sys::XactEvent::XACT_EVENT_ABORT {
        // Postgres releases a session's table locks when a transaction of it aborts.
        HELD_LOCK.set(None);
    }
}

fn notify_if_asleep() {
    let Ok(wakeup) = cache::wakeup() else { return };
    // SAFETY: in a transaction that has not committed yet; the lock is released with the transaction's others.
    unsafe {
        if !pg_sys::ConditionalLockRelationOid(wakeup, pg_sys::RowExclusiveLock as pg_sys::LOCKMODE)
            && !is_queue_filling()
        {
            let channel = "pg_webhooks".into_datum();
            let payload = "".into_datum();
            pgrx::direct_function_call_as_datum(pg_sys::pg_notify, &[channel, payload]);
        }
    }
}

/// Whether some listener has left NOTIFY's queue half full, at which Postgres warns: once it is full, COMMITs that notify fail.
fn is_queue_filling() -> bool {
    // SAFETY: a function without arguments, in a transaction.
    let usage = unsafe { pgrx::direct_function_call::<f64>(pg_sys::pg_notification_queue_usage, &[]) };
    usage.is_some_and(|usage| usage > 0.5)
}

/// Takes the sleeper's lock for this session; false while a writer commits.
pub fn try_sleep() -> bool {
    if HELD_LOCK.get().is_some() {
        return true;
    }
    if !RELEASED_AT_EXIT.replace(true) {
        // SAFETY: the callback is guarded and lives as long as the library, which is never unloaded.
        unsafe { pg_sys::before_shmem_exit(Some(on_exit), pg_sys::Datum::from(0)) }
    }
    let tag = wakeup_tag();
    // SAFETY: the tag names a table of this database. A session lock outlives the transaction; no waiting, for a waiting
    // sleeper would make all writers notify.
    let result = unsafe { pg_sys::LockAcquire(&tag, SLEEPER_LOCK, true, true) };
    if result != pg_sys::LockAcquireResult::LOCKACQUIRE_NOT_AVAIL {
        HELD_LOCK.set(Some(tag));
    }
    HELD_LOCK.get().is_some()
}

/// Releases the sleeper's lock.
pub fn stop_sleeping() {
    if let Some(tag) = HELD_LOCK.take() {
        // SAFETY: this session holds just this lock.
        unsafe { pg_sys::LockRelease(&tag, SLEEPER_LOCK, true) };
    }
}

/// How often an awake sidecar's session looks whether a transaction has ended: two reads of shared memory.
const POLL_INTERVAL_US: u32 = 200;

/// Waits for `least_us`, and then until a transaction ends that `seen`, a `pg_snapshot` in its text form, does not see;
/// for `most_us` in all. May return early: whoever calls it looks for work, and whether there is any is not told here.
pub fn wait_for_commit(seen: &str, least_us: u32, most_us: u32) {
    let until = Instant::now() + Duration::from_micros(most_us.into());
    let seen = snapshot::bounds(seen);
    // SAFETY: sleeps.
    unsafe { pg_sys::pg_usleep(least_us.min(most_us).into()) }
    loop {
        // SAFETY: inside a transaction; the snapshot is read before anything can replace it.
        let now = unsafe {
            let now = &*pg_sys::GetLatestSnapshot();
            (now.xmax.into_inner(), now.xcnt)
        };
        if now != seen || Instant::now() >= until {
            return;
        }
        pgrx::check_for_interrupts!();
        // SAFETY: sleeps.
        unsafe { pg_sys::pg_usleep(POLL_INTERVAL_US.into()) }
    }
}

const SLEEPER_LOCK: pg_sys::LOCKMODE = pg_sys::ShareLock as pg_sys::LOCKMODE;

/// A session that ends while idle gives its advisory locks back, and not its table locks: those would stay for good.
#[pg_guard]
unsafe extern "C-unwind" fn on_exit(_code: std::ffi::c_int, _argument: pg_sys::Datum) {
    stop_sleeping();
}

fn wakeup_tag() -> pg_sys::LOCKTAG {
    let wakeup = cache::wakeup().unwrap_or_else(|missing| error!("{missing}"));
    pg_sys::LOCKTAG {
        // SAFETY: set once, when the session chose its database.
        locktag_field1: unsafe { pg_sys::MyDatabaseId }.to_u32(),
        locktag_field2: wakeup.to_u32(),
        locktag_field3: 0,
        locktag_field4: 0,
        locktag_type: pg_sys::LockTagType::LOCKTAG_RELATION as u8,
        locktag_lockmethodid: pg_sys::DEFAULT_LOCKMETHOD as u8,
    }
}
