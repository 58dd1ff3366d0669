//! An event on its way into the log: its position, its time, and the row that it becomes.

use std::cell::Cell;

use pgrx::prelude::*;
use webhooks_core::ids::{self, Position};

use super::partition::{Partition, Row};
use crate::fault::Fault;
use crate::postgres::random;
use crate::subscribers::Recipients;

/// An event on its way into the log: its position and time are settled, its body is still to be written.
pub struct Entry {
    /// `wh_…`.
    pub webhook_id: String,
    /// Microseconds since 2000-01-01 UTC.
    pub occurred_at: i64,
    position: Position,
}

thread_local! {
    /// The transaction that appended last, and the number of its next event.
    static NEXT_SEQ: Cell<(u64, u32)> = const { Cell::new((0, 0)) };
    /// This session's random part of ids.
    static NONCE: Cell<Option<u64>> = const { Cell::new(None) };
}

impl Entry {
    /// Takes the next position of the current transaction.
    pub fn next() -> Self {
        // SAFETY: inside a transaction, as any function call is; the row's change has assigned its id already.
        let xid = unsafe { pg_sys::GetTopFullTransactionId() }.value;
        let (last_xid, next_seq) = NEXT_SEQ.get();
        let seq = if last_xid == xid { next_seq } else { 0 };
        NEXT_SEQ.set((xid, seq + 1));
        let position = Position { xid, seq, nonce: nonce() };
        // SAFETY: reads the clock.
        let occurred_at = unsafe { pg_sys::GetCurrentTimestamp() };
        Self { webhook_id: ids::webhook_id(position), occurred_at, position }
    }

    /// Appends the event to its day's partition, signed for each of its recipients.
    pub fn append(
        self,
        partition: &Partition,
        name: &str,
        body: &[u8],
        recipients: &Recipients,
    ) -> Result<String, Fault> {
        let signatures = recipients.signatures.sign(body);
        let mut values: Row = [
            self.occurred_at.into_datum(),
            Some(pg_sys::Datum::from(self.position.xid)),
            (self.position.seq as i32).into_datum(),
            self.webhook_id.as_str().into_datum(),
            name.into_datum(),
            // A bytea is held as a text is.
            body.into_datum(),
            Some(recipients.endpoints.as_ptr().into()),
            Some(recipients.secret_versions.as_ptr().into()),
            Some(signatures.as_ptr().into()),
        ]
        .map(|value| value.expect("no column of an event is NULL"));
        // SAFETY: the values are those of COLUMNS.
        unsafe { partition.append(&mut values)? }
        Ok(self.webhook_id)
    }
}

fn nonce() -> u64 {
    NONCE.get().unwrap_or_else(|| {
        let nonce = u64::from_le_bytes(random());
        NONCE.set(Some(nonce));
        nonce
    })
}
