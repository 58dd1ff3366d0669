//! The delivery log as it grows. An attempt is logged when it is over, under the time when it began, so it can appear
//! behind attempts that are known already. Each is returned once.

use chrono::TimeDelta;
use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::connection::Connection;
use super::error::CliError;
use crate::store::{AttemptFilter, AttemptLine, Time};

/// How long to wait between two polls.
pub const POLL_INTERVAL: Duration = Duration::from_millis(500);
/// How far back each poll reads again, and how often one reads further back: an attempt is late by the time that it
/// took, at most the timeout of a request, and by the time that its report takes.
const SHALLOW_REREAD: TimeDelta = TimeDelta::seconds(5);
const DEEP_POLL_INTERVAL: Duration = Duration::from_secs(5);
const MAX_REPORT_DELAY: Duration = Duration::from_secs(30);
/// How many lines to read at once.
const PAGE_ROWS: i32 = 500;

/// The attempts that come to the log after a time.
pub struct Tail<'a> {
    connection: &'a Connection,
    filter: AttemptFilter<'a>,
    begin: Time,
    began: Instant,
    /// Attempts that began earlier are left out.
    from: Time,
    late: TimeDelta,
    polled_at: Time,
    polled_deep_at: Option<Instant>,
    /// The attempts that were returned: their position, and when they began.
    seen: HashMap<String, Time>,
}

impl<'a> Tail<'a> {
    /// Returns attempts that match the filter and began at `from` or later.
    pub async fn since(connection: &'a Connection, filter: AttemptFilter<'a>, from: Time) -> Result<Self, CliError> {
        let late = connection.request_timeout().await? + MAX_REPORT_DELAY;
        let late = TimeDelta::from_std(late).unwrap_or(TimeDelta::MAX);
        let begin = connection.now().await?;
        let (began, seen) = (Instant::now(), HashMap::new());
        Ok(Self { connection, filter, begin, began, from, late, polled_at: from, polled_deep_at: None, seen })
    }

    /// Returns attempts that match the filter and are logged from now on.
    pub async fn from_now(connection: &'a Connection, filter: AttemptFilter<'a>) -> Result<Self, CliError> {
        let now = connection.now().await?;
        let mut tail = Self::since(connection, filter, now).await?;
        tail.from = now - tail.late;
        tail.polled_at = tail.from;
        tail.poll().await?;
        Ok(tail)
    }

    /// Marks these as returned already.
    pub fn pass_over(&mut self, lines: &[AttemptLine]) {
        self.seen.extend(lines.iter().map(|line| (line.position.clone(), line.timestamp)));
    }

    /// Returns the new attempts, oldest first.
    pub async fn poll(&mut self) -> Result<Vec<AttemptLine>, CliError> {
        let now = self.begin + TimeDelta::from_std(self.began.elapsed()).unwrap_or_default();
        let is_deep = self.polled_deep_at.is_none_or(|at| at.elapsed() >= DEEP_POLL_INTERVAL);
        let since = (self.polled_at - if is_deep { self.late } else { SHALLOW_REREAD }).max(self.from);
        self.polled_at = now;
        if is_deep {
            self.polled_deep_at = Some(Instant::now());
        }
        let mut new = self.read(since).await?;
        new.reverse();
        let forget = now - self.late - self.late;
        self.seen.retain(|_, began| *began >= forget);
        Ok(new)
    }

    /// Returns the new attempts, and certainly the late ones among them.
    pub async fn poll_deep(&mut self) -> Result<Vec<AttemptLine>, CliError> {
        self.polled_deep_at = None;
        self.poll().await
    }

    /// Reads the unknown attempts that began at `since` or later, newest first.
    async fn read(&mut self, since: Time) -> Result<Vec<AttemptLine>, CliError> {
        let mut new = Vec::new();
        let mut before: Option<String> = None;
        loop {
            let filter = AttemptFilter { since: Some(since), before: before.as_deref(), ..self.filter };
            let page = self.connection.store().attempts(&filter, PAGE_ROWS).await?;
            let is_last = page.len() < PAGE_ROWS as usize;
            before = page.last().map(|line| line.position.clone());
            for line in page {
                if self.seen.insert(line.position.clone(), line.timestamp).is_none() {
                    new.push(line);
                }
            }
            if is_last {
                return Ok(new);
            }
        }
    }
}
