//! The metrics of `/metrics`. Those of the database are read on request, and are NaN while it cannot be reached; the
//! others are what the process counts (`metrics.rs`).

use axum::response::Response;
use metrics::{Gauge, describe_counter, describe_gauge, gauge};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use crate::delivery::metrics::ATTEMPT_DURATION;
use crate::store::Status;

const DATABASE_UP: &str = "pg_webhooks_database_up";
const REQUESTS: &str = "pg_webhooks_api_requests_total";
/// The upper bounds of the histogram, up to the thirty seconds that an attempt may take.
const BUCKETS_S: [f64; 12] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// Reads a metric from a status.
type Read = fn(&Status) -> f64;
/// Name, HELP text, and how to read the metric.
type Reading = (&'static str, &'static str, Read);

/// The metrics of the database.
const DATABASE_METRICS: [Reading; 12] = [
    (
        "pg_webhooks_behind_seconds",
        "Seconds since the oldest delivery that is not finished fell due, but for webhooks whose attempts fail; 0 when none is due",
        |of| of.behind_seconds,
    ),
    (
        "pg_webhooks_unread_events",
        "Events from the oldest on whose first attempts are not all over, counted up to 10000",
        |of| of.unread.into(),
    ),
    ("pg_webhooks_pending_deliveries", "Deliveries that wait for an attempt, counted up to 10000", |of| {
        of.pending as f64
    }),
    ("pg_webhooks_overdue_deliveries", "Pending deliveries that are due, counted up to 10000", |of| of.overdue as f64),
    ("pg_webhooks_shards_not_held", "Shards that no sidecar holds: their webhooks get nothing", |of| {
        (of.shards - of.shards_held).into()
    }),
    ("pg_webhooks_sidecars", "Sidecars that are connected", |of| of.sidecars.into()),
    ("pg_webhooks_endpoints", "Registered webhooks", |of| of.endpoints.into()),
    ("pg_webhooks_endpoints_disabled", "Webhooks that are disabled", |of| of.disabled.into()),
    (
        "pg_webhooks_endpoints_in_trouble",
        "Webhooks disabled for their failures, with retries to come, or with deliveries given up in the last hour",
        |of| of.in_trouble.len() as f64,
    ),
    (
        "pg_webhooks_given_up_deliveries",
        "Deliveries of the last hour that are tried no more: refused (4xx), or the last retry failed",
        |of| of.given_up.into(),
    ),
    (
        "pg_webhooks_unreadable_messages",
        "Messages whose bytes are no text and that are not sent, counted up to 10",
        |of| of.unreadable.len() as f64,
    ),
    (
        "pg_webhooks_missed_changes",
        "Row changes of the time of event_retention that should have made an event and did not",
        |of| of.missed as f64,
    ),
];

/// The recorder of all metrics, and the gauges that are set from a status.
pub struct Metrics {
    handle: PrometheusHandle,
    readings: [(Gauge, Read); DATABASE_METRICS.len()],
    database_up: Gauge,
}

impl Metrics {
    /// Installs the recorder; handles made from now on count in it.
    pub fn install() -> anyhow::Result<Self> {
        let buckets = Matcher::Full(ATTEMPT_DURATION.to_owned());
        let recorder = PrometheusBuilder::new().set_buckets_for_metric(buckets, &BUCKETS_S)?.build_recorder();
        let handle = recorder.handle();
        metrics::set_global_recorder(recorder)?;
        describe_counter!(REQUESTS, "Requests that this process's API has answered, by HTTP status");
        describe_gauge!(DATABASE_UP, "Whether the database can be reached and has what the API needs");
        let readings = DATABASE_METRICS.map(|(name, help, read)| {
            describe_gauge!(name, help);
            (gauge!(name), read)
        });
        Ok(Self { handle, readings, database_up: gauge!(DATABASE_UP) })
    }

    /// Sets the gauges from a status.
    pub fn set_status(&self, status: Option<&Status>) {
        self.database_up.set(if status.is_some() { 1 } else { 0 });
        for (gauge, read) in &self.readings {
            gauge.set(status.map_or(f64::NAN, read));
        }
    }

    /// Renders all metrics in Prometheus' text format.
    pub fn render(&self) -> String {
        self.handle.render()
    }

    /// Folds the recorded samples into the histogram; until then each is kept on its own.
    pub fn run_upkeep(&self) {
        self.handle.run_upkeep();
    }
}

/// Counts an answer of the API.
pub async fn count_request(answer: Response) -> Response {
    metrics::counter!(REQUESTS, "status" => answer.status().as_str().to_owned()).increment(1);
    answer
}
