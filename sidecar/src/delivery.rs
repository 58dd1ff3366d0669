//! What travels through the sidecar: an event, a delivery of it to one endpoint, an attempt, and what became of the
//! delivery. Plain data: nothing here does I/O or decides anything.

use bytes::Bytes;
use postgres_types::{FromSql, IsNull, ToSql, Type, accepts, to_sql_checked};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// A timestamptz as Postgres holds it, microseconds since 2000: it comes back exactly as it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(pub i64);

impl<'a> FromSql<'a> for Timestamp {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self(i64::from_be_bytes(raw.try_into()?)))
    }

    accepts!(TIMESTAMPTZ);
}

impl ToSql for Timestamp {
    fn to_sql(&self, _: &Type, out: &mut bytes::BytesMut) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        out.extend_from_slice(&self.0.to_be_bytes());
        Ok(IsNull::No)
    }

    accepts!(TIMESTAMPTZ);
    to_sql_checked!();
}

/// One message; its deliveries share it.
#[derive(Debug)]
pub struct Event {
    pub xid: i64,
    pub seq: i32,
    pub occurred_at: Timestamp,
    pub webhook_id: String,
    pub name: String,
    pub body: Body,
}

/// The bytes to send, counted in a gauge for as long as they are held.
#[derive(Debug)]
pub struct Body {
    pub bytes: Bytes,
    gauge: Arc<AtomicUsize>,
}

impl Body {
    /// A copy of `text`, counted in `gauge`.
    pub fn new(text: &str, gauge: &Arc<AtomicUsize>) -> Self {
        gauge.fetch_add(text.len(), Ordering::Relaxed);
        Self { bytes: Bytes::copy_from_slice(text.as_bytes()), gauge: Arc::clone(gauge) }
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        self.gauge.fetch_sub(self.bytes.len(), Ordering::Relaxed);
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
    /// In the event log; the number is its event's entry in [`Progress`](crate::progress::Progress).
    Log(u64),
    /// Among the pending ones.
    Pending,
}

/// What names a row of `webhooks.pending`: endpoint, xid, seq.
pub type PendingKey = (i32, i64, i32);

impl Delivery {
    /// Its row in `webhooks.pending`, if it is there.
    pub fn pending_key(&self) -> PendingKey {
        (self.endpoint, self.event.xid, self.event.seq)
    }
}

/// The error of a request that ran into its deadline.
pub const TIMEOUT: &str = "Request timeout";

/// One HTTP request: what it brought, and nothing about what that leads to.
#[derive(Debug)]
pub struct Attempt {
    pub started: Instant,
    pub took_ms: i32,
    pub http_status: Option<u16>,
    pub retry_after: Option<String>,
    pub error: Option<String>,
    pub response: Option<String>,
}

impl Attempt {
    /// Whether the endpoint is alive: some response came, or at least a quick refusal.
    pub fn was_answered(&self) -> bool {
        self.error.as_deref() != Some(TIMEOUT)
    }
}

/// What became of a delivery.
#[derive(Debug)]
pub struct Settled {
    pub delivery: Arc<Delivery>,
    pub ending: Ending,
}

#[derive(Debug)]
pub enum Ending {
    /// Sent, with this result.
    Attempted(Attempt),
    /// Not sent: for later.
    Deferred,
}
