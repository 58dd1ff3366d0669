//! What travels through the sidecar: an event, a delivery of it to one endpoint, an attempt, and what became of the
//! delivery. Plain data: nothing here does I/O or decides anything.

use bytes::Bytes;
use postgres_types::{FromSql, IsNull, ToSql, Type, accepts, to_sql_checked};
use reqwest::StatusCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use super::failure::Failure;

/// A timestamptz as Postgres holds it, microseconds since 2000: it comes back exactly as it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(pub i64);

/// The number of a transaction, `xid8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Xid(pub i64);

/// Eight bytes on the wire, as those of an `int8`.
macro_rules! eight_bytes {
    ($name:ident, $oid:ident) => {
        impl<'a> FromSql<'a> for $name {
            fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
                Ok(Self(i64::from_be_bytes(raw.try_into()?)))
            }

            accepts!($oid);
        }

        impl ToSql for $name {
            fn to_sql(
                &self,
                _: &Type,
                out: &mut bytes::BytesMut,
            ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
                out.extend_from_slice(&self.0.to_be_bytes());
                Ok(IsNull::No)
            }

            accepts!($oid);
            to_sql_checked!();
        }
    };
}

eight_bytes!(Timestamp, TIMESTAMPTZ);
eight_bytes!(Xid, XID8);

/// A text as the database holds it, which need not be UTF-8.
#[derive(Clone, Copy, Debug)]
pub struct RawText<'a>(pub &'a [u8]);

impl RawText<'_> {
    /// What of it can be read, in a form that the database takes.
    pub fn legible(self) -> String {
        String::from_utf8_lossy(self.0).replace('\0', "")
    }
}

impl<'a> FromSql<'a> for RawText<'a> {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self(raw))
    }

    accepts!(TEXT);
}

/// One message; its deliveries share it.
#[derive(Debug)]
pub struct Event {
    pub xid: Xid,
    pub seq: i32,
    pub occurred_at: Timestamp,
    pub webhook_id: String,
    pub name: String,
    pub body: Body,
    /// Why it cannot be sent at all.
    pub unreadable: Option<String>,
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

/// One HTTP request: what it brought, and nothing about what that leads to.
#[derive(Debug)]
pub struct Attempt {
    pub started: Instant,
    pub took_ms: i32,
    pub outcome: Result<Response, Failure>,
}

/// What the receiver said.
#[derive(Debug)]
pub struct Response {
    pub status: StatusCode,
    pub retry_after: Option<String>,
    /// Where a redirect leads.
    pub location: Option<String>,
    /// The beginning of the body, where the status says that the request failed.
    pub body: Option<String>,
}

impl Attempt {
    /// Whether the endpoint is alive: some response came, or at least a quick refusal.
    pub fn was_answered(&self) -> bool {
        !matches!(self.outcome, Err(Failure::Timeout))
    }

    /// What failed, in the words of the log; none after a success.
    pub fn error(&self) -> Option<String> {
        match &self.outcome {
            Ok(response) => response.error(),
            Err(failure) => Some(failure.to_string()),
        }
    }
}

impl Response {
    fn error(&self) -> Option<String> {
        match &self.location {
            _ if self.status.is_success() => None,
            Some(location) if self.status.is_redirection() => Some(format!("Redirect to {location} not followed")),
            _ => {
                let reason = self.status.canonical_reason().unwrap_or_default();
                Some(format!("HTTP {} {reason}", self.status.as_u16()).trim_end().to_owned())
            }
        }
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
    /// Not sent, now or ever: its event says why.
    Unreadable,
}
