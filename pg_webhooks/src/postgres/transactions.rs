//! How many transactions have ended, and whether their commits are on disk, as Postgres' shared memory says.

#[cfg(any(feature = "pg15", feature = "pg16"))]
use pg_sys::ShmemVariableCache as TRANSACTIONS;
#[cfg(any(feature = "pg17", feature = "pg18"))]
use pg_sys::TransamVariables as TRANSACTIONS;
use pgrx::prelude::*;

/// The transactions that have ended at a moment: later moments never have less.
#[derive(Clone, Copy)]
pub struct EndedTransactions {
    /// The id after the highest that has ended.
    pub horizon: u64,
    /// The low 32 bits of how many have ended since the server started.
    pub count: i32,
}

impl EndedTransactions {
    /// Those that have ended by now.
    pub fn by_now() -> Self {
        // SAFETY: the structure is there while the server runs. Others write both numbers, whole, under a lock that is not
        // needed here: whoever had a row's lock before this transaction wrote them before it let go of that.
        unsafe {
            let shared = TRANSACTIONS;
            let latest = (&raw const (*shared).latestCompletedXid.value).read_volatile();
            let count = (&raw const (*shared).xactCompletionCount).read_volatile();
            Self { horizon: latest + 1, count: count as i32 }
        }
    }
}

/// Writes the commits of these transactions to disk, where their sessions did not wait for that (synchronous_commit =
/// off): otherwise a crash could undo what a receiver has been told.
pub fn flush_commits(xids: impl IntoIterator<Item = u64>) {
    // SAFETY: as in `by_now`; the oldest id whose commit can still be looked up only grows.
    let (latest, oldest) = unsafe {
        let shared = TRANSACTIONS;
        ((&raw const (*shared).latestCompletedXid.value).read_volatile(), (*shared).oldestClogXid)
    };
    let end = xids
        .into_iter()
        // What is older has been on disk for long. Ids of 32 bits can be compared within half of their range.
        .filter(|xid| latest.saturating_sub(*xid) < 1 << 31)
        .map(|xid| pg_sys::TransactionId::from(xid as u32))
        // SAFETY: it is a transaction of this half, and not older than what is kept.
        .filter(|xid| unsafe { !pg_sys::TransactionIdPrecedes(*xid, oldest) })
        // SAFETY: as before.
        .map(|xid| unsafe { pg_sys::TransactionIdGetCommitLSN(xid) })
        .max();
    if let Some(end) = end.filter(|end| *end > 0) {
        // SAFETY: waits for the disk.
        unsafe { pg_sys::XLogFlush(end) }
    }
}
