//! `/webhooks`: registering endpoints and looking after them. Secrets come in and never go out, except a generated one,
//! in the answer to the request that generated it.

use axum::Extension;
use axum::extract::State;
use axum::http::header::LOCATION;
use axum::http::{HeaderName, StatusCode};
use axum::response::AppendHeaders;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use std::sync::Arc;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::error::ApiError;
use crate::api::request::{Body, Id, NoParams, OptionalBody};
use crate::api::response::{ApiResult, Success};
use crate::api::responses::{CreateErrors, ListErrors, ReadErrors, UpdateErrors};
use crate::api::state::Api;
use crate::api::tokens::Caller;
use crate::store::{EndpointRecord, Registration};

/// The registered webhooks, oldest first.
#[derive(Serialize, ToSchema)]
struct Webhooks {
    webhooks: Vec<EndpointRecord>,
}

/// One webhook.
#[derive(Serialize, ToSchema)]
struct Webhook {
    webhook: EndpointRecord,
    /// Only in the answer to the request that generated it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", nullable = false)]
    secret: Option<String>,
}

/// A webhook to register.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"url": "https://example.com/webhooks", "events": ["import.completed", "product.*"],
                          "generate_secret": true}))]
struct NewWebhook {
    /// http or https
    #[schema(example = "https://example.com/webhooks")]
    url: String,
    /// Exact names, `product.*`, or `*`
    #[schema(min_items = 1)]
    events: Vec<String>,
    /// What messages are signed with
    #[schema(write_only)]
    secret: Option<String>,
    /// Generate a secret; only this answer shows it
    #[serde(default)]
    generate_secret: bool,
    active: Option<bool>,
    description: Option<String>,
    /// How many requests may be under way at once
    #[schema(minimum = 1, maximum = 64)]
    max_in_flight: Option<i64>,
    /// How many requests may begin in a second
    #[schema(exclusive_minimum = 0, maximum = 10000)]
    max_per_second: Option<f64>,
    /// How long an attempt may take, 1s to 5min; `pg_webhooks.request_timeout` if left out
    #[schema(example = "10s")]
    timeout: Option<String>,
}

/// What to change; what is left out stays as it is.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"events": ["import.completed", "import.failed"], "active": true}))]
struct Change {
    #[schema(example = "https://example.com/webhooks")]
    url: Option<String>,
    #[schema(min_items = 1)]
    events: Option<Vec<String>>,
    /// Empty to remove the secret
    #[schema(write_only)]
    secret: Option<String>,
    /// `true` also resumes pending deliveries
    active: Option<bool>,
    description: Option<String>,
    /// null to remove the limit, as for the next two
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<i64>, minimum = 1, maximum = 64)]
    max_in_flight: Option<Value>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<f64>, exclusive_minimum = 0, maximum = 10000)]
    max_per_second: Option<Value>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>, example = "10s")]
    timeout: Option<Value>,
}

/// A value that is there, null included.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// The options of an endpoint, without what was not given.
fn options(given: [(&str, Option<Value>); 3]) -> Value {
    given.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect::<Map<_, _>>().into()
}

/// How to rotate.
#[derive(Deserialize, Default, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"overlap_seconds": 86400}))]
struct Rotation {
    /// If left out, one is generated, and only this answer shows it
    #[schema(write_only)]
    new_secret: Option<String>,
    /// How long `webhook-signature` also carries the previous secret's signature; 86400 if left out
    #[schema(minimum = 0, maximum = 2592000)]
    overlap_seconds: Option<i64>,
}

/// What is gone.
#[derive(Serialize, ToSchema)]
struct Deleted {
    #[schema(example = "ep_1f0q8a2mzk4c")]
    deleted: String,
}

const DEFAULT_OVERLAP_SECONDS: i64 = 86_400;

pub fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list, register))
        .routes(routes!(show, change, delete))
        .routes(routes!(rotate_secret))
}

/// The registered webhooks
#[utoipa::path(get, path = "/webhooks", tag = "webhooks", operation_id = "list_webhooks",
    responses((status = 200, description = "All, oldest first", body = Success<Webhooks>), ListErrors))]
async fn list(State(api): State<Api>, _: NoParams) -> ApiResult<Webhooks> {
    let webhooks = api.store().await?.list().await?;
    Ok(Success::new(Webhooks { webhooks }))
}

type Created = (StatusCode, AppendHeaders<[(HeaderName, String); 1]>, Success<Webhook>);

/// Register a webhook
#[utoipa::path(post, path = "/webhooks", tag = "webhooks", operation_id = "register_webhook", request_body = NewWebhook,
    responses((status = 201, description = "Registered", body = Success<Webhook>, headers(("Location" = String))), CreateErrors))]
async fn register(State(api): State<Api>, _: NoParams, Body(new): Body<NewWebhook>) -> Result<Created, ApiError> {
    if new.generate_secret && new.secret.is_some() {
        let message = "secret and generate_secret exclude each other";
        return Err(ApiError::malformed("invalid_body", message));
    }
    let store = api.store().await?;
    let generated = if new.generate_secret { Some(store.generate_secret().await?) } else { None };
    let registration = Registration {
        url: Some(&new.url),
        events: Some(&new.events),
        secret: generated.as_deref().or(new.secret.as_deref()),
        active: new.active,
        description: new.description.as_deref(),
        options: Some(options([
            ("max_in_flight", new.max_in_flight.map(Value::from)),
            ("max_per_second", new.max_per_second.map(Value::from)),
            ("timeout", new.timeout.map(Value::from)),
        ])),
    };
    let id = store.register(&registration).await?;
    let location = AppendHeaders([(LOCATION, format!("/api/v1/webhooks/{id}"))]);
    let webhook = Webhook { webhook: store.get(&id).await?, secret: generated };
    Ok((StatusCode::CREATED, location, Success::new(webhook)))
}

/// One webhook
#[utoipa::path(get, path = "/webhooks/{id}", tag = "webhooks", operation_id = "show_webhook", params(("id" = String, Path, example = "ep_1f0q8a2mzk4c")),
    responses((status = 200, description = "The webhook", body = Success<Webhook>), ReadErrors))]
async fn show(State(api): State<Api>, Id(id): Id, _: NoParams) -> ApiResult<Webhook> {
    let webhook = api.store().await?.get(&id).await?;
    Ok(Success::new(Webhook { webhook, secret: None }))
}

/// Change a webhook
#[utoipa::path(put, path = "/webhooks/{id}", tag = "webhooks", operation_id = "change_webhook", params(("id" = String, Path, example = "ep_1f0q8a2mzk4c")),
    request_body = Change,
    responses((status = 200, description = "As it is now", body = Success<Webhook>), UpdateErrors))]
async fn change(
    State(api): State<Api>,
    Extension(caller): Extension<Arc<Caller>>,
    Id(id): Id,
    _: NoParams,
    Body(change): Body<Change>,
) -> ApiResult<Webhook> {
    let store = api.store().await?;
    let change = Registration {
        url: change.url.as_deref(),
        events: change.events.as_deref(),
        secret: change.secret.as_deref(),
        active: change.active,
        description: change.description.as_deref(),
        options: Some(options([
            ("max_in_flight", change.max_in_flight),
            ("max_per_second", change.max_per_second),
            ("timeout", change.timeout),
        ])),
    };
    store.update_as(&caller.name, &id, &change).await?;
    let webhook = store.get(&id).await?;
    Ok(Success::new(Webhook { webhook, secret: None }))
}

/// Delete a webhook and its pending deliveries
#[utoipa::path(delete, path = "/webhooks/{id}", tag = "webhooks", operation_id = "delete_webhook", params(("id" = String, Path, example = "ep_1f0q8a2mzk4c")),
    responses((status = 200, description = "It is gone", body = Success<Deleted>), UpdateErrors))]
async fn delete(State(api): State<Api>, Id(id): Id, _: NoParams) -> ApiResult<Deleted> {
    api.store().await?.delete(&id).await?;
    Ok(Success::new(Deleted { deleted: id }))
}

/// Replace a webhook's secret; for a while the previous one stays valid
#[utoipa::path(post, path = "/webhooks/{id}/rotate-secret", tag = "webhooks", operation_id = "rotate_secret",
    params(("id" = String, Path, example = "ep_1f0q8a2mzk4c")), request_body = Option<Rotation>,
    responses((status = 200, description = "Replaced", body = Success<Webhook>), UpdateErrors))]
async fn rotate_secret(
    State(api): State<Api>,
    Id(id): Id,
    _: NoParams,
    OptionalBody(rotation): OptionalBody<Rotation>,
) -> ApiResult<Webhook> {
    let store = api.store().await?;
    let overlap_s = rotation.overlap_seconds.unwrap_or(DEFAULT_OVERLAP_SECONDS);
    let secret = store.rotate_secret(&id, rotation.new_secret.as_deref(), overlap_s).await?;
    let webhook = store.get(&id).await?;
    Ok(Success::new(Webhook { webhook, secret }))
}
