//! An event, and a delivery of it to one endpoint. Plain data.

use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::values::{Timestamp, Xid};

/// One message; its deliveries share it.
#[derive(Debug)]
pub struct Event {
    pub xid: Xid,
    pub seq: i32,
    pub occurred_at: Timestamp,
    /// With `ended`: what had ended when it was captured, by which [`history`](super::history) sorts.
    pub horizon: Xid,
    pub ended: i32,
    pub webhook_id: String,
    pub name: String,
    pub body: Body,
    /// Why it is not to be sent at all.
    pub damage: Option<String>,
}

impl Event {
    /// Its place in the log.
    pub fn position(&self) -> (Xid, i32) {
        (self.xid, self.seq)
    }
}

/// The bytes to send, counted in `held_bytes` for as long as they are held.
#[derive(Debug)]
pub struct Body {
    pub bytes: Bytes,
    held_bytes: Arc<AtomicUsize>,
}

impl Body {
    /// A copy of `bytes`, counted in `held_bytes`.
    pub fn new(bytes: &[u8], held_bytes: &Arc<AtomicUsize>) -> Self {
        held_bytes.fetch_add(bytes.len(), Ordering::Relaxed);
        Self { bytes: Bytes::copy_from_slice(bytes), held_bytes: Arc::clone(held_bytes) }
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        self.held_bytes.fetch_sub(self.bytes.len(), Ordering::Relaxed);
    }
}

/// One event for one endpoint, ready to send.
#[derive(Debug)]
pub struct Delivery {
    pub event: Arc<Event>,
    pub endpoint: i32,
    pub url: String,
    pub retry_count: i32,
    pub signed_at: i64,
    pub signature: Option<String>,
    pub signature_v1: Option<String>,
    pub source: Source,
}

/// Where a delivery was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// In the event log; the number is its event's entry in [`Watermark`](super::watermark::Watermark).
    Log(u64),
    /// Among the pending ones.
    Pending,
}

/// What names a row of `webhooks.pending`: endpoint, xid, seq.
pub type PendingKey = (i32, Xid, i32);

impl Delivery {
    /// Its row in `webhooks.pending`, if it is there.
    pub fn pending_key(&self) -> PendingKey {
        (self.endpoint, self.event.xid, self.event.seq)
    }
}
