//! `/history`: the last hour in stretches of ten seconds, kept in memory. The database is asked every ten seconds while
//! somebody has looked at the history or the metrics within ten minutes, and not otherwise: an idle sidecar stays idle.
//! The first to look has the hour filled from the log; of the backlog there is no log, so it begins with the looking.

use axum::extract::State;
use chrono::{DateTime, Utc};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::Api;
use crate::api::error::Problem;
use crate::api::request::NoParams;
use crate::api::response::{Answer, Success};
use crate::api::responses::Looking;

const BUCKET_S: i32 = 10;
const BUCKET: i64 = BUCKET_S as i64;
const HOUR: i64 = 3600;
/// An attempt is in the log when it is over, under the time at which it began: most take less than this.
const LATE: i64 = 40;
const TICK: Duration = Duration::from_secs(10);
const LOOKED: Duration = Duration::from_secs(600);

/// The last hour.
#[derive(Serialize, ToSchema)]
struct LastHour {
    bucket_seconds: i32,
    points: Vec<Point>,
}

/// What happened in a stretch.
#[derive(Clone, Serialize, ToSchema)]
struct Point {
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

/// See the module.
pub struct History {
    ring: Mutex<Ring>,
    looked: Mutex<Option<Instant>>,
    awake: Notify,
    /// One asks at a time.
    asking: tokio::sync::Mutex<()>,
}

/// Stretches by their beginning, in Unix seconds.
#[derive(Default)]
struct Ring {
    attempts: BTreeMap<i64, (i64, i64)>,
    backlog: BTreeMap<i64, (i32, i64)>,
    /// Until when it is known, and since when.
    known: Option<(i64, Instant)>,
    asked: Option<Instant>,
}

impl History {
    /// Knows nothing, and asks nothing.
    pub fn new() -> Self {
        Self { ring: Mutex::default(), looked: Mutex::default(), awake: Notify::new(), asking: Default::default() }
    }

    /// Somebody looks.
    pub fn look(&self) {
        *self.looked.lock().expect("nobody panics under it") = Some(Instant::now());
        self.awake.notify_one();
    }

    /// Until it is time to ask again; forever while nobody looks.
    pub async fn turn(&self) {
        loop {
            let looked = *self.looked.lock().expect("nobody panics under it");
            if looked.is_some_and(|looked| looked.elapsed() < LOOKED) {
                let asked = self.ring.lock().expect("nobody panics under it").asked;
                return tokio::time::sleep(asked.map_or(TICK, |asked| TICK.saturating_sub(asked.elapsed()))).await;
            }
            self.awake.notified().await;
        }
    }

    fn is_fresh(&self) -> bool {
        let ring = self.ring.lock().expect("nobody panics under it");
        ring.known.is_some_and(|(_, at)| at.elapsed() < 2 * TICK)
    }

    fn points(&self, now: i64) -> Vec<Point> {
        let ring = self.ring.lock().expect("nobody panics under it");
        let last = bucket(now);
        let starts = (0..HOUR / BUCKET).rev().map(|back| last - back * BUCKET);
        starts
            .filter_map(|start| {
                let (delivered, failed) = ring.attempts.get(&start).copied().unwrap_or_default();
                let (unread, pending) = ring.backlog.get(&start).copied().unzip();
                Some(Point { at: DateTime::from_timestamp(start, 0)?, delivered, failed, unread, pending })
            })
            .collect()
    }
}

impl Api {
    /// A tick. What fails is tried again at the next.
    pub async fn keep_history(&self) {
        if let Err(problem) = self.refresh_history().await {
            tracing::debug!("no history for now: {}", problem.message());
        }
    }

    async fn refresh_history(&self) -> Result<(), Problem> {
        let history = &self.history;
        let now = Utc::now().timestamp();
        let known = {
            let mut ring = history.ring.lock().expect("nobody panics under it");
            ring.asked = Some(Instant::now());
            ring.known
        };
        let oldest = bucket(now) - HOUR + BUCKET;
        let since = known.map_or(oldest, |(until, _)| bucket(until - LATE).max(oldest));
        let session = self.sessions.get().await?;
        let time = |seconds| DateTime::from_timestamp(seconds, 0).unwrap_or_default();
        let activity = session.store().activity(time(since), time(now + BUCKET), BUCKET_S).await?;
        let status = session.store().status().await?;

        let mut ring = history.ring.lock().expect("nobody panics under it");
        let Ring { attempts, backlog, .. } = &mut *ring;
        attempts.retain(|start, _| (oldest..since).contains(start));
        backlog.retain(|start, _| *start >= oldest);
        attempts.extend(activity.iter().map(|point| (bucket(point.at.timestamp()), (point.delivered, point.failed))));
        backlog.insert(bucket(now), (status.unread, status.pending));
        ring.known = Some((now, Instant::now()));
        Ok(())
    }
}

pub fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(history))
}

/// The last hour in stretches of ten seconds
#[utoipa::path(get, path = "/history", tag = "operation", operation_id = "show_history",
    responses((status = 200, description = "Oldest first", body = Success<LastHour>), Looking))]
async fn history(State(api): State<Api>, _: NoParams) -> Answer<LastHour> {
    api.history.look();
    if !api.history.is_fresh() {
        let _turn = api.history.asking.lock().await;
        if !api.history.is_fresh() {
            api.refresh_history().await?;
        }
    }
    let points = api.history.points(Utc::now().timestamp());
    Ok(Success::new(LastHour { bucket_seconds: BUCKET_S, points }))
}

fn bucket(seconds: i64) -> i64 {
    seconds - seconds.rem_euclid(BUCKET)
}
