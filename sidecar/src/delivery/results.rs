//! Results on their way to the database. They gather in the result buffer and leave in reports, one at a time. A report
//! is kept until the database has acknowledged it, so that a lost session costs a repetition and no result. One whose
//! acknowledgement was lost may have been committed; by its number the database knows it.

use postgres_types::ToSql;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::attempt::{Ending, Settled};
use super::event::Source;
use super::readers::{CursorRow, Readers};
use super::values::{Timestamp, Xid};

/// The most results that one report carries.
const MAX_RESULTS: usize = 1000;
/// The least time between two reports; a lone result does not wait.
const MIN_REPORT_INTERVAL: Duration = Duration::from_millis(10);

/// What one call of `webhooks.report` says.
#[derive(Debug)]
pub struct Report {
    /// Random: the database does not do the same one twice.
    pub number: i64,
    pub rows: Vec<CursorRow>,
    pub settled: Vec<Settled>,
}

/// One row of the SQL type `webhooks.result`.
#[derive(Debug, ToSql)]
#[postgres(name = "result")]
pub struct ResultRow<'a> {
    endpoint: i32,
    xid: Xid,
    seq: i32,
    occurred_at: Timestamp,
    webhook_id: &'a str,
    event: &'a str,
    retry_count: i32,
    was_pending: bool,
    ending: EndingKind,
    started_ms_ago: Option<i32>,
    response_time_ms: Option<i32>,
    http_status: Option<i32>,
    retry_after: Option<&'a str>,
    error: Option<String>,
    response: Option<&'a str>,
    signed_at: Option<i64>,
    ours: bool,
}

/// The SQL type `webhooks.ending`.
#[derive(Clone, Copy, Debug, ToSql)]
#[postgres(name = "ending", rename_all = "snake_case")]
enum EndingKind {
    Attempted,
    Unreadable,
}

impl Report {
    /// The results as the database takes them, with times relative to now.
    pub fn results(&self) -> Vec<ResultRow<'_>> {
        self.settled.iter().map(ResultRow::from).collect()
    }

    /// Whether it adds rows to `webhooks.pending`.
    pub fn leaves_pending(&self) -> bool {
        self.settled.iter().any(|settled| match &settled.ending {
            Ending::Attempted(attempt) => attempt.error().is_some(),
            Ending::Unreadable => false,
        })
    }
}

impl<'a> From<&'a Settled> for ResultRow<'a> {
    fn from(settled: &'a Settled) -> Self {
        let Settled { delivery, ending } = settled;
        let nothing = Self {
            endpoint: delivery.endpoint,
            xid: delivery.event.xid,
            seq: delivery.event.seq,
            occurred_at: delivery.event.occurred_at,
            webhook_id: &delivery.event.webhook_id,
            event: &delivery.event.name,
            retry_count: delivery.retry_count,
            was_pending: delivery.source == Source::Pending,
            ending: EndingKind::Attempted,
            started_ms_ago: None,
            response_time_ms: None,
            http_status: None,
            retry_after: None,
            error: None,
            response: None,
            signed_at: None,
            ours: false,
        };
        match ending {
            Ending::Unreadable => Self {
                ending: EndingKind::Unreadable,
                started_ms_ago: Some(0),
                response_time_ms: Some(0),
                error: delivery.event.damage.clone(),
                ..nothing
            },
            Ending::Attempted(attempt) => {
                let response = attempt.outcome.as_ref().ok();
                Self {
                    started_ms_ago: Some(i32::try_from(attempt.started.elapsed().as_millis()).unwrap_or(i32::MAX)),
                    response_time_ms: Some(attempt.took_ms),
                    http_status: response.map(|response| i32::from(response.status.as_u16())),
                    retry_after: response.and_then(|response| response.retry_after.as_deref()),
                    error: attempt.error(),
                    response: response.and_then(|response| response.body.as_deref()),
                    signed_at: Some(delivery.signed_at),
                    ours: attempt.is_ours(),
                    ..nothing
                }
            }
        }
    }
}

/// Results that the database does not have yet.
#[derive(Debug, Default)]
pub struct ResultBuffer {
    settled: Vec<Settled>,
    sending: Option<Arc<Report>>,
    sent_at: Option<Instant>,
}

impl ResultBuffer {
    /// Adds a result.
    pub fn put(&mut self, settled: Settled) {
        self.settled.push(settled);
    }

    /// When the next report is due, if none is under way.
    pub fn due_at(&self, now: Instant) -> Option<Instant> {
        match self.sent_at {
            _ if self.settled.is_empty() => None,
            Some(sent_at) if self.settled.len() < MAX_RESULTS => Some(sent_at + MIN_REPORT_INTERVAL),
            _ => Some(now),
        }
    }

    /// Packs the report to send, with the cursor as far as its results and those before allow.
    pub fn pack(&mut self, readers: &mut Readers, now: Instant) -> Arc<Report> {
        let count = self.settled.len().min(MAX_RESULTS);
        let settled: Vec<Settled> = self.settled.drain(..count).collect();
        for result in &settled {
            if let Source::Log(chunk) = result.delivery.source {
                readers.settle(result.delivery.endpoint, chunk, now);
            }
        }
        let number = getrandom::u64().unwrap_or_default() as i64;
        let report = Arc::new(Report { number, rows: readers.rows(now), settled });
        self.sent_at = Some(now);
        self.sending = Some(Arc::clone(&report));
        report
    }

    /// The report that was sent and is not acknowledged.
    pub fn unacknowledged(&self) -> Option<Arc<Report>> {
        self.sending.clone()
    }

    /// The database has the report that was sent; returns it.
    pub fn acknowledged(&mut self) -> Option<Arc<Report>> {
        self.sending.take()
    }

    /// Whether the database has all results.
    pub fn is_empty(&self) -> bool {
        self.settled.is_empty() && self.sending.is_none()
    }
}
