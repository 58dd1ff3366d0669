//! An event on its way into the log: its position, its time, and the row that it becomes.

use std::cell::Cell;

use pgrx::prelude::*;
use webhooks_core::ids::{self, Position};
use webhooks_core::signature::{self, Signer};

use super::body::Body;
use super::partition::{Partition, Row};
use crate::fault::Fault;
use crate::postgres::{EndedTransactions, ShortValue, random};

/// An event on its way into the log: its position and time are settled, its body is still to be written.
pub struct Entry {
    /// `wh_…`.
    pub webhook_id: String,
    /// Microseconds since 2000-01-01 UTC.
    pub occurred_at: i64,
    position: Position,
    ended: EndedTransactions,
}

/// What an event is about and for whom.
#[derive(Clone, Copy)]
pub struct Subject<'a> {
    /// Such as `product.updated`; no longer than `ShortValue::MAX_BYTES`.
    pub name: &'a str,
    /// Hash of the ordering key; `None` where nothing orders it.
    pub key: Option<i64>,
    /// The key in `webhooks.endpoint` of the only one that gets it; `None`: whoever subscribes.
    pub target: Option<i32>,
}

thread_local! {
    /// The transaction that appended last, and the number of its next event.
    static NEXT_SEQ: Cell<(u64, u32)> = const { Cell::new((0, 0)) };
    /// This session's random part of ids.
    static NONCE: Cell<Option<u64>> = const { Cell::new(None) };
}

impl Entry {
    /// Takes the next position of the current transaction. To be called once the row's change holds the row's lock: by then
    /// whoever had it before has ended.
    pub fn next() -> Self {
        // SAFETY: inside a transaction, as any function call is; the row's change has assigned its id already.
        let xid = unsafe { pg_sys::GetTopFullTransactionId() }.value;
        let (last_xid, next_seq) = NEXT_SEQ.get();
        let seq = if last_xid == xid { next_seq } else { 0 };
        NEXT_SEQ.set((xid, seq + 1));
        let position = Position { xid, seq, nonce: nonce() };
        // SAFETY: reads the clock.
        let occurred_at = unsafe { pg_sys::GetCurrentTimestamp() };
        let ended = EndedTransactions::by_now();
        Self { webhook_id: ids::webhook_id(position), occurred_at, position, ended }
    }

    /// The transaction that appends it.
    pub fn xid(&self) -> u64 {
        self.position.xid
    }

    /// Appends the event to its day's partition, signed with the log's key; returns its `wh_…`.
    pub fn append(
        self,
        partition: &Partition,
        subject: Subject<'_>,
        body: &mut Body,
        signer: &Signer,
    ) -> Result<String, Fault> {
        let signature = signature::of_log(signer, self.webhook_id.as_bytes(), body.bytes());
        let (webhook_id, name) = (ShortValue::of(self.webhook_id.as_bytes()), ShortValue::of(subject.name.as_bytes()));
        let signature = ShortValue::of(&signature);
        let mut row = Row::new([
            self.occurred_at.into_datum(),
            Some(pg_sys::Datum::from(self.position.xid)),
            (self.position.seq as i32).into_datum(),
            self.ended.count.into_datum(),
            Some(pg_sys::Datum::from(self.ended.horizon)),
            subject.key.into_datum(),
            subject.target.into_datum(),
            Some(webhook_id.datum()),
            Some(name.datum()),
            None,
            Some(signature.datum()),
            Some(body.datum()),
            None,
        ]);
        // SAFETY: the values are those of COLUMNS.
        unsafe { partition.append(&mut row)? }
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
