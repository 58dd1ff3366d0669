//! An event, and a delivery of it to one endpoint. Plain data.

use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::queues::EndpointLimits;
use super::values::{Timestamp, Xid};

/// One message; its deliveries share it.
#[derive(Debug)]
pub struct Event {
    pub xid: Xid,
    pub seq: i32,
    pub occurred_at: Timestamp,
    /// The hash of the row that it is about; none: about none.
    pub key: Option<i64>,
    pub webhook_id: String,
    pub name: String,
    pub body: Body,
    /// Why it is not to be sent at all.
    pub damage: Option<String>,
}

/// The bytes to send, counted for as long as they are held.
#[derive(Debug)]
pub struct Body {
    pub bytes: Bytes,
    _held: HeldBytes,
}

impl Body {
    /// A copy of `bytes`, counted in `counter`.
    pub fn new(bytes: &[u8], counter: &Arc<AtomicUsize>) -> Self {
        Self { bytes: Bytes::copy_from_slice(bytes), _held: HeldBytes::new(bytes.len(), counter) }
    }
}

/// Counts memory that the process holds until it is dropped.
#[derive(Debug)]
pub struct HeldBytes {
    bytes: usize,
    counter: Arc<AtomicUsize>,
}

impl HeldBytes {
    /// Adds `bytes` to `counter`.
    pub fn new(bytes: usize, counter: &Arc<AtomicUsize>) -> Self {
        counter.fetch_add(bytes, Ordering::Relaxed);
        Self { bytes, counter: Arc::clone(counter) }
    }
}

impl Drop for HeldBytes {
    fn drop(&mut self) {
        self.counter.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// What a delivery takes besides its body: the URL, the signatures, its places in queues and reports.
pub const DELIVERY_BYTES: usize = 640;

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
    /// What its endpoint permits.
    pub limits: EndpointLimits,
    /// How long an attempt may take; none: as the settings say.
    pub timeout: Option<Duration>,
    pub source: Source,
    pub _held: HeldBytes,
}

/// Where a delivery was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// In the event log; the number is that of the chunk which its endpoint took ([`Readers`](super::readers::Readers)).
    Log(u64),
    /// Among the pending ones.
    Pending,
}

/// What names a row of `webhooks.pending`: endpoint, xid, seq.
pub type PendingKey = (i32, Xid, i32);

impl Delivery {
    /// The origin of its URL: whoever shares it shares a receiver.
    pub fn origin(&self) -> &str {
        let host = self.url.find("://").map_or(0, |at| at + 3);
        let end = self.url[host..].find(['/', '?', '#']).map_or(self.url.len(), |at| host + at);
        let user = self.url[host..end].rfind('@').map_or(host, |at| host + at + 1);
        if user == host { &self.url[..end] } else { &self.url[user..end] }
    }

    /// Its row in `webhooks.pending`, if it is there.
    pub fn pending_key(&self) -> PendingKey {
        (self.endpoint, self.event.xid, self.event.seq)
    }
}
