//! How many transactions have ended, as Postgres' shared memory says.

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
