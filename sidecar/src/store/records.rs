//! The rows that the SQL functions return, column by column.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// A registered webhook.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct EndpointRecord {
    pub id: String,
    pub url: String,
    pub events: Vec<String>,
    pub active: bool,
    pub description: Option<String>,
    pub has_secret: bool,
    /// How many requests may be under way to it at once.
    pub max_in_flight: Option<i32>,
    /// How many requests may begin in a second.
    pub max_per_second: Option<f64>,
    /// How long an attempt may take, such as 10s.
    pub timeout: Option<String>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    pub disabled_at: Option<DateTime<Utc>>,
    pub disabled_reason: Option<String>,
}

/// A line of the delivery log: one HTTP request.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AttemptLine {
    pub timestamp: DateTime<Utc>,
    pub endpoint_id: String,
    pub url: String,
    pub event: String,
    pub webhook_id: String,
    /// delivered, retry, rejected, gone, exhausted or unreadable.
    pub outcome: String,
    pub http_status: Option<i32>,
    pub response_time_ms: i32,
    pub retry_count: i32,
    pub error: Option<String>,
    pub response: Option<String>,
    pub next_attempt_at: Option<DateTime<Utc>>,
    /// The webhook-timestamp that was sent, in Unix seconds.
    pub signed_at: Option<i64>,
    /// The sidecar or its machine failed, not the endpoint.
    pub ours: bool,
    /// Where the next page goes on.
    pub position: String,
}

/// A message and the state of its deliveries.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct EventLine {
    pub webhook_id: String,
    pub event: String,
    pub occurred_at: DateTime<Utc>,
    /// The worst of its deliveries': failed, waiting, queued, skipped or delivered.
    pub state: String,
    pub deliveries: i32,
    pub delivered: i32,
    pub waiting: i32,
    pub failed: i32,
    pub skipped: i32,
}

/// The exact bytes of a message.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Message {
    pub event: String,
    pub occurred_at: DateTime<Utc>,
    pub body: String,
}

/// The state of a message at one endpoint.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct DeliveryLine {
    pub endpoint_id: String,
    pub url: String,
    pub active: bool,
    /// queued, waiting, delivered, failed or skipped.
    pub state: String,
    pub attempts: i32,
    pub http_status: Option<i32>,
    pub error: Option<String>,
    pub last_attempt_at: Option<DateTime<Utc>>,
    pub next_attempt_at: Option<DateTime<Utc>>,
}

/// What an attempt was signed with; both are `None` for an endpoint without a secret.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Signatures {
    /// X-Webhook-Signature.
    pub signature: Option<String>,
    /// webhook-signature.
    pub signature_v1: Option<String>,
}

/// A built-in event.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct EventType {
    pub event: String,
    pub description: String,
    /// The JSON Schema of its messages.
    pub schema: Value,
    /// A realistic message.
    pub sample: Value,
}

/// The state of delivery, in one row.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Status {
    pub version: String,
    pub sidecars: i32,
    pub shards: i32,
    pub shards_held: i32,
    /// Events from the oldest on whose first attempts are not all over, counted up to 10,000.
    pub unread: i32,
    pub oldest_unread_at: Option<DateTime<Utc>>,
    /// Deliveries that wait for an attempt, counted up to 10,000.
    pub pending: i64,
    /// Of the pending ones, those that are due, counted up to 10,000.
    pub overdue: i64,
    pub oldest_due_at: Option<DateTime<Utc>>,
    /// For how long something has been due without being sent; what is due at a webhook whose attempts fail is left out.
    pub behind_seconds: f64,
    pub endpoints: i32,
    pub disabled: i32,
    /// Disabled for their failures, with retries to come, or with deliveries among `given_up`.
    pub in_trouble: Vec<String>,
    /// Settings with a value that is not valid, in whose place another one counts.
    pub invalid_settings: Vec<String>,
    /// The newest messages, ten at most, whose bytes are no text: they are not sent.
    pub unreadable: Vec<String>,
    /// Row changes of the time of event_retention that should have made an event and did not.
    pub missed: i64,
    /// The newest of their tables, events and reasons, ten at most.
    pub missed_reasons: Vec<String>,
    /// Deliveries of the last hour that are tried no more: refused (4xx), or the last retry failed. Counted up to 1,000
    /// for each webhook and 10,000 in all.
    pub given_up: i32,
}

/// Who holds a shard.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct LeaseRecord {
    pub shard: i32,
    pub owner: Option<String>,
    pub epoch: i64,
    pub taken_at: Option<DateTime<Utc>>,
    pub expires_at: Option<DateTime<Utc>>,
    pub is_held: bool,
}

/// The health of an endpoint, by its latest attempts in 24 hours.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Health {
    pub id: String,
    pub url: String,
    pub active: bool,
    /// healthy, failing, idle or disabled.
    pub state: String,
    pub attempts: i32,
    pub delivered: i32,
    pub p50_ms: Option<i32>,
    pub p95_ms: Option<i32>,
    pub last_attempt_at: Option<DateTime<Utc>>,
    pub last_error: Option<String>,
    pub last_error_at: Option<DateTime<Utc>>,
    /// Since when the oldest message that waits for a retry has failed.
    pub failing_since: Option<DateTime<Utc>>,
    /// Counted up to 1,000.
    pub pending: i64,
    pub next_attempt_at: Option<DateTime<Utc>>,
    /// Deliveries of the last hour that are tried no more, counted up to 1,000.
    pub given_up: i32,
    /// Newest first.
    pub recent_ms: Vec<i32>,
    pub recent_ok: Vec<bool>,
}

/// Attempts in a stretch of time.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ActivityPoint {
    pub at: DateTime<Utc>,
    pub delivered: i64,
    pub failed: i64,
}

/// Whose token it is, and whether it holds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TokenState {
    pub id: Option<String>,
    pub name: Option<String>,
    /// read or manage.
    pub role: Option<String>,
    /// valid, expired, revoked or unknown.
    pub state: String,
}

/// A token, without what makes it one.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TokenRecord {
    pub id: String,
    pub name: String,
    /// read or manage.
    pub role: String,
    /// valid, expired or revoked.
    pub state: String,
    pub created_at: DateTime<Utc>,
    pub created_by: String,
    pub expires_at: Option<DateTime<Utc>>,
    pub revoked_at: Option<DateTime<Utc>>,
    pub last_used_at: Option<DateTime<Utc>>,
}
