//! The delivery log, newest first: of one webhook in the specification's form, or of all.

use axum::extract::State;
use chrono::{DateTime, SubsecRound, Utc};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::error::ApiError;
use crate::api::pagination::{Page, PageSize};
use crate::api::request::{Id, Params};
use crate::api::response::{ApiResult, Success};
use crate::api::responses::ReadErrors;
use crate::api::state::Api;
use crate::store::{AttemptFilter, AttemptLine};

/// One HTTP request and what came of it: the specification's fields, then ours.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({"timestamp": "2025-10-05T11:00:00Z", "event": "import.failed", "http_status": 500,
    "response_time_ms": 30000, "retry_count": 3, "error": "Request timeout",
    "webhook_id": "wh_00000000n40000007shm2fnpb8", "outcome": "retry", "next_attempt_at": "2025-10-05T12:00:00Z"}))]
pub struct LogLine {
    timestamp: DateTime<Utc>,
    event: String,
    /// null where no response came
    http_status: Option<i32>,
    response_time_ms: i32,
    retry_count: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    error: Option<String>,
    webhook_id: String,
    /// delivered, retry, rejected, gone, exhausted or unreadable
    outcome: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    next_attempt_at: Option<DateTime<Utc>>,
    /// The beginning of a failure's body
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    response: Option<String>,
}

impl From<AttemptLine> for LogLine {
    fn from(line: AttemptLine) -> Self {
        Self {
            // Whole seconds, as in the specification.
            timestamp: line.timestamp.trunc_subsecs(0),
            event: line.event,
            http_status: line.http_status,
            response_time_ms: line.response_time_ms,
            retry_count: line.retry_count,
            error: line.error,
            webhook_id: line.webhook_id,
            outcome: line.outcome,
            next_attempt_at: line.next_attempt_at.map(|at| at.trunc_subsecs(0)),
            response: line.response,
        }
    }
}

/// A line of the log of all webhooks.
#[derive(Serialize, ToSchema)]
pub struct EndpointLogLine {
    #[serde(flatten)]
    line: LogLine,
    endpoint_id: String,
    url: String,
}

impl From<AttemptLine> for EndpointLogLine {
    fn from(mut line: AttemptLine) -> Self {
        let (endpoint_id, url) = (std::mem::take(&mut line.endpoint_id), std::mem::take(&mut line.url));
        Self { line: line.into(), endpoint_id, url }
    }
}

/// A page of one webhook's log.
#[derive(Serialize, ToSchema)]
struct Logs {
    logs: Vec<LogLine>,
    /// Cursor of the next page; null on the last
    next_cursor: Option<String>,
}

/// A page of the whole log.
#[derive(Serialize, ToSchema)]
struct Attempts {
    attempts: Vec<EndpointLogLine>,
    /// Cursor of the next page; null on the last
    next_cursor: Option<String>,
}

/// Which part of one webhook's log.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct LogQuery {
    /// A name, or a family such as `product.*`
    event: Option<String>,
    /// delivered, retry, rejected, gone, exhausted, unreadable; or failed, for all but the first
    outcome: Option<String>,
    /// A text in the error, the event or the URL, or a webhook_id
    search: Option<String>,
    since: Option<DateTime<Utc>>,
    until: Option<DateTime<Utc>>,
    /// 100 if left out
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<i32>,
    /// The `next_cursor` of the previous page
    cursor: Option<String>,
}

/// Which part of the whole log.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct AttemptQuery {
    endpoint_id: Option<String>,
    webhook_id: Option<String>,
    /// A name, or a family such as `product.*`
    event: Option<String>,
    /// delivered, retry, rejected, gone, exhausted, unreadable; or failed, for all but the first
    outcome: Option<String>,
    /// A text in the error, the event or the URL, or a webhook_id
    search: Option<String>,
    since: Option<DateTime<Utc>>,
    until: Option<DateTime<Utc>>,
    /// 100 if left out
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<i32>,
    /// The `next_cursor` of the previous page
    cursor: Option<String>,
}

pub fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(logs)).routes(routes!(attempts))
}

/// A webhook's delivery log
#[utoipa::path(get, path = "/webhooks/{id}/logs", tag = "log", operation_id = "show_logs",
    params(("id" = String, Path, example = "ep_1f0q8a2mzk4c"), LogQuery),
    responses((status = 200, description = "Newest first", body = Success<Logs>), ReadErrors))]
async fn logs(State(api): State<Api>, Id(id): Id, Params(query): Params<LogQuery>) -> ApiResult<Logs> {
    let LogQuery { event, outcome, search, since, until, limit, cursor } = query;
    let (endpoint_id, webhook_id) = (Some(id), None);
    let query = AttemptQuery { endpoint_id, webhook_id, event, outcome, search, since, until, limit, cursor };
    let Page { rows, next_cursor } = page(&api, &query).await?;
    Ok(Success::new(Logs { logs: rows.into_iter().map(LogLine::from).collect(), next_cursor }))
}

/// The delivery log of all webhooks
#[utoipa::path(get, path = "/attempts", tag = "log", operation_id = "list_attempts", params(AttemptQuery),
    responses((status = 200, description = "Newest first", body = Success<Attempts>), ReadErrors))]
async fn attempts(State(api): State<Api>, Params(query): Params<AttemptQuery>) -> ApiResult<Attempts> {
    let Page { rows, next_cursor } = page(&api, &query).await?;
    Ok(Success::new(Attempts { attempts: rows.into_iter().map(EndpointLogLine::from).collect(), next_cursor }))
}

async fn page(api: &Api, query: &AttemptQuery) -> Result<Page<AttemptLine>, ApiError> {
    let size = PageSize::new(query.limit)?;
    let filter = AttemptFilter {
        endpoint_id: query.endpoint_id.as_deref(),
        webhook_id: query.webhook_id.as_deref(),
        event: query.event.as_deref(),
        outcome: query.outcome.as_deref(),
        search: query.search.as_deref(),
        since: query.since,
        until: query.until,
        before: query.cursor.as_deref(),
    };
    let rows = api.store().await?.attempts(&filter, size.rows_to_read()).await?;
    Ok(size.page(rows, |line| &line.position))
}
