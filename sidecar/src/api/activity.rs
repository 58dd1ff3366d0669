//! What happened in the last hour, in buckets of ten seconds, kept in memory. The database is asked every ten seconds
//! while somebody has viewed it or the metrics within ten minutes, and not otherwise: an idle sidecar stays idle. The
//! first view fills the hour from the log; the backlog has no log, so its figures begin with the first view.

use chrono::{DateTime, Utc};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use utoipa::ToSchema;

use super::error::ApiError;
use super::sessions::SessionPool;

pub const BUCKET_SECONDS: i32 = 10;
const BUCKET_WIDTH: i64 = BUCKET_SECONDS as i64;
const HOUR_SECONDS: i64 = 3600;
/// How far back each refresh reads again: an attempt is logged when it is over, under the time at which it began.
const REREAD_SECONDS: i64 = 40;
const REFRESH_INTERVAL: Duration = Duration::from_secs(10);
/// Refreshing stops when nobody has viewed the figures for this long.
const VIEWER_TIMEOUT: Duration = Duration::from_secs(600);

/// What happened in a stretch.
#[derive(Clone, Serialize, ToSchema)]
pub struct Point {
    /// When it begins
    at: DateTime<Utc>,
    /// Attempts that succeeded
    delivered: i64,
    /// Attempts that did not
    failed: i64,
    /// Events from the oldest on whose first attempts are not all over; null for a time when nobody was looking
    unread: Option<i32>,
    /// Pending deliveries; null for a time when nobody was looking
    pending: Option<i64>,
}

/// The figures of the last hour, and when somebody last viewed them.
#[derive(Default)]
pub struct Activity {
    buckets: Mutex<Buckets>,
    viewed: Notify,
    /// Held by the request that refreshes: concurrent callers share its query.
    refreshing: tokio::sync::Mutex<()>,
}

/// Figures by the Unix second in which their bucket begins.
#[derive(Default)]
struct Buckets {
    attempts: BTreeMap<i64, (i64, i64)>,
    backlog: BTreeMap<i64, (i32, i64)>,
    /// The Unix second up to which the figures are complete, and when they were read.
    known: Option<(i64, Instant)>,
    refreshed_at: Option<Instant>,
    viewed_at: Option<Instant>,
}

impl Activity {
    /// Keeps the figures up to date for the next ten minutes.
    pub fn mark_viewed(&self) {
        self.buckets().viewed_at = Some(Instant::now());
        self.viewed.notify_one();
    }

    /// Waits until it is time to refresh; forever while nobody views the figures.
    pub async fn next_refresh(&self) {
        loop {
            let (viewed_at, refreshed_at) = {
                let buckets = self.buckets();
                (buckets.viewed_at, buckets.refreshed_at)
            };
            if viewed_at.is_some_and(|at| at.elapsed() < VIEWER_TIMEOUT) {
                let age = refreshed_at.map_or(Duration::ZERO, |at| at.elapsed());
                return tokio::time::sleep(REFRESH_INTERVAL.saturating_sub(age)).await;
            }
            self.viewed.notified().await;
        }
    }

    /// Reads what has changed since the last refresh.
    pub async fn refresh(&self, sessions: &SessionPool) -> Result<(), ApiError> {
        let now = Utc::now().timestamp();
        let known = {
            let mut buckets = self.buckets();
            buckets.refreshed_at = Some(Instant::now());
            buckets.known
        };
        let oldest = bucket(now) - HOUR_SECONDS + BUCKET_WIDTH;
        let since = known.map_or(oldest, |(until, _)| bucket(until - REREAD_SECONDS).max(oldest));
        let store = sessions.store().await?;
        let time = |seconds| DateTime::from_timestamp(seconds, 0).unwrap_or_default();
        let activity = store.activity(time(since), time(now + BUCKET_WIDTH), BUCKET_SECONDS).await?;
        let status = store.status().await?;

        let mut buckets = self.buckets();
        let Buckets { attempts, backlog, .. } = &mut *buckets;
        attempts.retain(|start, _| (oldest..since).contains(start));
        backlog.retain(|start, _| *start >= oldest);
        attempts.extend(activity.iter().map(|point| (bucket(point.at.timestamp()), (point.delivered, point.failed))));
        backlog.insert(bucket(now), (status.unread, status.pending));
        buckets.known = Some((now, Instant::now()));
        Ok(())
    }

    /// Returns the last hour, oldest bucket first. Refreshes first if the figures are old.
    pub async fn last_hour(&self, sessions: &SessionPool) -> Result<Vec<Point>, ApiError> {
        if !self.buckets().is_fresh() {
            let _others_wait = self.refreshing.lock().await;
            if !self.buckets().is_fresh() {
                self.refresh(sessions).await?;
            }
        }
        Ok(self.buckets().points(Utc::now().timestamp()))
    }

    fn buckets(&self) -> MutexGuard<'_, Buckets> {
        self.buckets.lock().expect("nobody panics under it")
    }
}

impl Buckets {
    fn is_fresh(&self) -> bool {
        self.known.is_some_and(|(_, at)| at.elapsed() < 2 * REFRESH_INTERVAL)
    }

    fn points(&self, now: i64) -> Vec<Point> {
        let last = bucket(now);
        let starts = (0..HOUR_SECONDS / BUCKET_WIDTH).rev().map(|back| last - back * BUCKET_WIDTH);
        starts
            .filter_map(|start| {
                let (delivered, failed) = self.attempts.get(&start).copied().unwrap_or_default();
                let (unread, pending) = self.backlog.get(&start).copied().unzip();
                Some(Point { at: DateTime::from_timestamp(start, 0)?, delivered, failed, unread, pending })
            })
            .collect()
    }
}

fn bucket(seconds: i64) -> i64 {
    seconds - seconds.rem_euclid(BUCKET_WIDTH)
}
