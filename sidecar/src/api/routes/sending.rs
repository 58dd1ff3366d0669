//! Sending on demand: a test, a sample, one message again, all messages of a period, or now what waits.

use axum::extract::State;
use axum::http::StatusCode;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::error::ApiError;
use crate::api::request::{Body, Id, NoParams, OptionalBody};
use crate::api::response::Success;
use crate::api::responses::{SendErrors, UpdateErrors};
use crate::api::state::Api;
use crate::store::Replay;

/// What was queued.
#[derive(Serialize, ToSchema)]
struct Queued {
    /// Its id
    #[schema(example = "wh_00000000n40000007shm2fnpb8")]
    webhook_id: String,
}

/// How much was queued.
#[derive(Serialize, ToSchema)]
struct Requeued {
    deliveries: i32,
}

/// How much was queued, or would be.
#[derive(Serialize, ToSchema)]
struct Replayed {
    deliveries: i64,
    dry_run: bool,
}

/// Which sample to send.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Trigger {
    /// A built-in event
    #[schema(example = "import.completed")]
    event: String,
}

/// Which webhook to send to again.
#[derive(Deserialize, Default, ToSchema)]
#[serde(deny_unknown_fields)]
struct Redelivery {
    /// If left out, every webhook that the message was for
    #[schema(example = "ep_1f0q8a2mzk4c")]
    endpoint_id: Option<String>,
}

/// How much is sent now.
#[derive(Serialize, ToSchema)]
struct Hastened {
    deliveries: i64,
}

/// What to send now.
#[derive(Deserialize, Default, ToSchema)]
#[serde(deny_unknown_fields)]
struct Retry {
    /// If left out, all that waits
    #[schema(example = "wh_00000000n40000007shm2fnpb8")]
    webhook_id: Option<String>,
}

/// What to send again.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"since": "2026-11-23T00:00:00Z", "dry_run": true}))]
struct Range {
    since: DateTime<Utc>,
    /// Now, if left out
    until: Option<DateTime<Utc>>,
    /// Only what no attempt has delivered
    #[serde(default = "yes")]
    only_failed: bool,
    /// Only count
    #[serde(default)]
    dry_run: bool,
}

fn yes() -> bool {
    true
}

type Accepted<T> = Result<(StatusCode, Success<T>), ApiError>;

/// Under `/api/v1`.
pub fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(test))
        .routes(routes!(trigger))
        .routes(routes!(retry))
        .routes(routes!(replay))
        .routes(routes!(redeliver))
}

/// Send a `webhook.test`
#[utoipa::path(post, path = "/webhooks/{id}/test", tag = "sending", operation_id = "test_webhook",
    params(("id" = String, Path, example = "ep_1f0q8a2mzk4c")),
    responses((status = 202, description = "Queued", body = Success<Queued>), SendErrors))]
async fn test(State(api): State<Api>, Id(id): Id, _: NoParams) -> Accepted<Queued> {
    let webhook_id = api.store().await?.test(&id).await?;
    Ok(accepted(Queued { webhook_id }))
}

/// Send a built-in event's sample
#[utoipa::path(post, path = "/webhooks/{id}/trigger", tag = "sending", operation_id = "trigger_webhook",
    params(("id" = String, Path, example = "ep_1f0q8a2mzk4c")), request_body = Trigger,
    responses((status = 202, description = "Queued", body = Success<Queued>), SendErrors))]
async fn trigger(
    State(api): State<Api>,
    Id(id): Id,
    _: NoParams,
    Body(Trigger { event }): Body<Trigger>,
) -> Accepted<Queued> {
    let webhook_id = api.store().await?.trigger(&id, &event).await?;
    Ok(accepted(Queued { webhook_id }))
}

/// Send now what waits for a retry
#[utoipa::path(post, path = "/webhooks/{id}/retry", tag = "sending", operation_id = "retry_webhook",
    params(("id" = String, Path, example = "ep_1f0q8a2mzk4c")), request_body = Option<Retry>,
    responses((status = 202, description = "They are due now", body = Success<Hastened>), SendErrors))]
async fn retry(
    State(api): State<Api>,
    Id(id): Id,
    _: NoParams,
    OptionalBody(Retry { webhook_id }): OptionalBody<Retry>,
) -> Accepted<Hastened> {
    let deliveries = api.store().await?.retry(&id, webhook_id.as_deref()).await?;
    Ok(accepted(Hastened { deliveries }))
}

/// Send the messages of a period again
#[utoipa::path(post, path = "/webhooks/{id}/replay", tag = "sending", operation_id = "replay_webhook",
    params(("id" = String, Path, example = "ep_1f0q8a2mzk4c")), request_body = Range,
    responses((status = 200, description = "Counted (dry_run)", body = Success<Replayed>),
              (status = 202, description = "Queued", body = Success<Replayed>), UpdateErrors))]
async fn replay(State(api): State<Api>, Id(id): Id, _: NoParams, Body(range): Body<Range>) -> Accepted<Replayed> {
    let Range { since, until, only_failed, dry_run } = range;
    let replay = Replay { since, until, only_failed, dry_run };
    let deliveries = api.store().await?.replay(&id, &replay).await?;
    let replayed = Replayed { deliveries, dry_run };
    Ok(if dry_run { (StatusCode::OK, Success::new(replayed)) } else { accepted(replayed) })
}

/// Send a message again, the same bytes with the same `webhook_id`
#[utoipa::path(post, path = "/events/{webhook_id}/redeliver", tag = "sending", operation_id = "redeliver_event",
    params(("webhook_id" = String, Path, example = "wh_00000000n40000007shm2fnpb8")), request_body = Option<Redelivery>,
    responses((status = 202, description = "Queued", body = Success<Requeued>), SendErrors))]
async fn redeliver(
    State(api): State<Api>,
    Id(webhook_id): Id,
    _: NoParams,
    OptionalBody(Redelivery { endpoint_id }): OptionalBody<Redelivery>,
) -> Accepted<Requeued> {
    let deliveries = api.store().await?.redeliver(&webhook_id, endpoint_id.as_deref()).await?;
    Ok(accepted(Requeued { deliveries }))
}

fn accepted<T>(data: T) -> (StatusCode, Success<T>) {
    (StatusCode::ACCEPTED, Success::new(data))
}
