//! What the database is to store: how far all is settled, for the shard and for endpoints of their own.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{CursorRow, DoneSet, Reader, Readers, Resume, Row, Stand, Xid, intersection, within};

/// The most endpoints that get a row of their own in one report.
const MAX_NEW_ROWS: usize = 64;
/// An endpoint that has had something open for so long gets a row of its own: the shard's is not to wait for it.
const MAX_SHARD_LAG: Duration = Duration::from_secs(1);
/// So few endpoints' rows are worked out for each report.
const FEW_ENDPOINTS: usize = 64;
/// How often the rows of more are worked out, and how often an endpoint's is written.
const ROWS_INTERVAL: Duration = Duration::from_millis(100);
const ENDPOINT_ROW_INTERVAL: Duration = Duration::from_secs(1);

impl Readers {
    /// The result of a delivery goes into a report.
    pub fn settle(&mut self, endpoint: i32, chunk: u64, now: Instant) {
        let Some(reader) = self.endpoints.get_mut(&endpoint) else { return };
        self.changed_at.get_or_insert(now);
        if let Ok(at) = reader.chunks.binary_search_by_key(&chunk, |chunk| chunk.number) {
            reader.chunks[at].open -= 1;
        }
        while reader.chunks.front().is_some_and(|chunk| chunk.open == 0) {
            reader.chunks.pop_front();
        }
    }

    /// The report with results of so many deliveries of the log is acknowledged.
    pub fn acknowledged(&mut self, endpoint: i32, deliveries: usize) {
        self.dropped(endpoint, deliveries);
        self.forget_if_plain(endpoint);
    }

    /// Forgets an endpoint of which there is nothing to know: it is at the front, and holds nothing.
    pub(super) fn forget_if_plain(&mut self, endpoint: i32) {
        let is_ahead = self.ahead.contains(&endpoint);
        let is_plain = |reader: &Reader| matches!(reader.stand, Stand::Front) && reader.held == 0 && !reader.has_row();
        if !is_ahead && !self.retaken.contains_key(&endpoint) && self.endpoints.get(&endpoint).is_some_and(is_plain) {
            self.endpoints.remove(&endpoint);
        }
    }

    /// When the rows are to be stored, if no result takes them along before.
    pub fn rows_due_at(&self) -> Option<Instant> {
        let changed_at = self.changed_at?;
        Some(self.rows_at.map_or(changed_at, |at| at.max(changed_at)) + ROWS_INTERVAL)
    }

    /// The rows of the next report. The shard's is always there, since with it goes the report's number.
    pub fn rows(&mut self, now: Instant) -> Vec<CursorRow> {
        if self.endpoints.len() > FEW_ENDPOINTS && self.rows_at.is_some_and(|at| now < at + ROWS_INTERVAL) {
            return vec![CursorRow { endpoint: 0, done: Some(Arc::clone(&self.stored)), known: None }];
        }
        self.rows_at = Some(now);
        self.changed_at = None;
        self.forget_retaken();
        let detached = self.detached(now);
        let waits = |(endpoint, reader): &(&i32, &Reader)| {
            !reader.has_row() && !matches!(reader.stand, Stand::Held(None)) && !detached.contains(endpoint)
        };
        let waited_for = self.endpoints.iter().filter(waits).map(|(&endpoint, _)| self.settled(endpoint));
        let shard = waited_for.fold(Arc::clone(&self.front), |row, settled| intersection(row, &settled));
        let mut rows = self.endpoint_rows(&shard, &detached, now);
        rows.push(CursorRow { endpoint: 0, done: Some(shard), known: None });
        rows
    }

    /// Of an endpoint that has read all below the transaction, nothing more can have been retaken.
    fn forget_retaken(&mut self) {
        let retaken: Vec<(i32, u64)> = self.retaken.iter().map(|(&endpoint, &before)| (endpoint, before)).collect();
        for (endpoint, before) in retaken {
            if self.position(endpoint).xmin() >= before {
                self.retaken.remove(&endpoint);
                self.forget_if_plain(endpoint);
            }
        }
    }

    /// The endpoints that the shard's row does not wait for any longer: those furthest behind.
    fn detached(&self, now: Instant) -> HashSet<i32> {
        let lags = |reader: &Reader| match &reader.stand {
            Stand::Held(None) => false,
            Stand::Front => reader.chunks.front().is_some_and(|chunk| now >= chunk.taken_at + MAX_SHARD_LAG),
            _ => true,
        };
        let mut behind: Vec<(u64, i32)> = self
            .endpoints
            .iter()
            .filter(|(_, reader)| !reader.has_row() && lags(reader))
            .map(|(&endpoint, _)| (self.settled(endpoint).xmin(), endpoint))
            .collect();
        behind.sort_unstable();
        behind.into_iter().take(MAX_NEW_ROWS).map(|(_, endpoint)| endpoint).collect()
    }

    fn endpoint_rows(&mut self, shard: &Arc<DoneSet>, detached: &HashSet<i32>, now: Instant) -> Vec<CursorRow> {
        let mut rows = Vec::new();
        let endpoints: Vec<i32> = self.endpoints.keys().copied().collect();
        for endpoint in endpoints {
            let settled = self.settled(endpoint);
            let reader = self.endpoints.get_mut(&endpoint).expect("it was just there");
            let done = match &reader.row {
                None if detached.contains(&endpoint) => Some(settled),
                None => continue,
                Some(_) if matches!(reader.stand, Stand::Held(_)) => continue,
                // Nor does it go back: what it had skipped would come after all.
                Some(row)
                    if matches!(reader.stand, Stand::Front) && within(shard, &settled) && within(&row.done, shard) =>
                {
                    None
                }
                Some(row) if *row.done == *settled => continue,
                Some(_) if reader.row_at.is_some_and(|at| now < at + ENDPOINT_ROW_INTERVAL) => {
                    self.changed_at.get_or_insert(now);
                    continue;
                }
                Some(_) => Some(settled),
            };
            reader.row_at = Some(now);
            rows.push(CursorRow { endpoint, done, known: reader.row.as_ref().map(|row| row.moved) });
        }
        rows
    }

    /// The database has written these of the rows.
    pub fn written(&mut self, rows: &[CursorRow], written: &HashMap<i32, Xid>) {
        for row in rows {
            let Some(&moved) = written.get(&row.endpoint) else { continue };
            match (&row.done, self.endpoints.get_mut(&row.endpoint)) {
                (Some(done), _) if row.endpoint == 0 => self.stored = Arc::clone(done),
                // What has been told of it meanwhile counts.
                (_, Some(Reader { stand: Stand::Held(None | Some(Resume { row: Some(_), .. })), .. })) | (_, None) => {}
                (done, Some(reader)) => reader.row = done.clone().map(|done| Row { moved, done }),
            }
        }
    }
}
