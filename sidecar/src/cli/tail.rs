//! The delivery log as it grows. An attempt is logged when it is over, under the time when it began: so one can come
//! late, behind others that are known already. Each is given once.

use chrono::TimeDelta;
use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::connection::Session;
use super::error::Failure;
use crate::store::{AttemptFilter, AttemptLine, Time};

/// How long to wait between two looks.
pub const INTERVAL: Duration = Duration::from_millis(500);
/// How far back a look reads, and how far every so often: an attempt is late by the time that it took, at most the
/// timeout of a request, and by what its report takes.
const SHALLOW: TimeDelta = TimeDelta::seconds(5);
const DEEP_EVERY: Duration = Duration::from_secs(5);
const REPORT: Duration = Duration::from_secs(30);
/// Lines asked for at once.
const PAGE: i32 = 500;

/// What came to the log since a time.
pub struct Tail<'a> {
    session: &'a Session,
    filter: AttemptFilter<'a>,
    begin: Time,
    began: Instant,
    /// Attempts that began earlier are of no interest.
    from: Time,
    late: TimeDelta,
    looked: Time,
    looked_deep: Option<Instant>,
    /// By position, with the time when it began.
    seen: HashMap<String, Time>,
}

impl<'a> Tail<'a> {
    /// Gives what matches the filter and began at `from` or later.
    pub async fn since(session: &'a Session, filter: AttemptFilter<'a>, from: Time) -> Result<Self, Failure> {
        let late = session.request_timeout().await? + REPORT;
        let late = TimeDelta::from_std(late).unwrap_or(TimeDelta::MAX);
        let begin = session.now().await?;
        let (began, seen) = (Instant::now(), HashMap::new());
        Ok(Self { session, filter, begin, began, from, late, looked: from, looked_deep: None, seen })
    }

    /// Gives what matches the filter and comes from now on.
    pub async fn from_now(session: &'a Session, filter: AttemptFilter<'a>) -> Result<Self, Failure> {
        let now = session.now().await?;
        let mut tail = Self::since(session, filter, now).await?;
        tail.from = now - tail.late;
        tail.looked = tail.from;
        tail.look().await?;
        Ok(tail)
    }

    /// These are known already.
    pub fn pass_over(&mut self, lines: &[AttemptLine]) {
        self.seen.extend(lines.iter().map(|line| (line.position.clone(), line.timestamp)));
    }

    /// What is new, oldest first.
    pub async fn look(&mut self) -> Result<Vec<AttemptLine>, Failure> {
        let now = self.begin + TimeDelta::from_std(self.began.elapsed()).unwrap_or_default();
        let is_deep = self.looked_deep.is_none_or(|at| at.elapsed() >= DEEP_EVERY);
        let since = (self.looked - if is_deep { self.late } else { SHALLOW }).max(self.from);
        self.looked = now;
        if is_deep {
            self.looked_deep = Some(Instant::now());
        }
        let mut new = self.read(since).await?;
        new.reverse();
        let forget = now - self.late - self.late;
        self.seen.retain(|_, began| *began >= forget);
        Ok(new)
    }

    /// The same, late ones included.
    pub async fn look_deep(&mut self) -> Result<Vec<AttemptLine>, Failure> {
        self.looked_deep = None;
        self.look().await
    }

    /// What is unknown and began at `since` or later, newest first.
    async fn read(&mut self, since: Time) -> Result<Vec<AttemptLine>, Failure> {
        let mut new = Vec::new();
        let mut before: Option<String> = None;
        loop {
            let filter = AttemptFilter { since: Some(since), before: before.as_deref(), ..self.filter };
            let page = self.session.store().attempts(&filter, PAGE).await?;
            let is_last = page.len() < PAGE as usize;
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
