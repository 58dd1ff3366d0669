//! `/events`: messages, the state of their deliveries, and one message with all that was sent. `/event-types`: the
//! built-in events.

use axum::extract::State;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::attempts::EndpointLogLine;
use crate::api::error::ApiError;
use crate::api::pagination::{Page, PageSize};
use crate::api::request::{Id, NoParams, Params};
use crate::api::response::{ApiResult, Success};
use crate::api::responses::{ListErrors, ReadErrors};
use crate::api::sessions::PooledClient;
use crate::api::state::Api;
use crate::delivery::headers::RequestHeaders;
use crate::store::{AttemptFilter, AttemptLine, DeliveryLine, EventFilter, EventLine, EventType, Signatures, Store};

/// How many of a message's attempts are shown, the newest first.
const MAX_SHOWN_ATTEMPTS: i32 = 200;

/// A page of messages.
#[derive(Serialize, ToSchema)]
struct Events {
    events: Vec<EventLine>,
    /// Cursor of the next page; null on the last
    next_cursor: Option<String>,
}

/// One message.
#[derive(Serialize, ToSchema)]
struct Event {
    event: EventDetail,
}

/// One message, the state of its deliveries, and what was sent.
#[derive(Serialize, ToSchema)]
struct EventDetail {
    webhook_id: String,
    event: String,
    occurred_at: DateTime<Utc>,
    /// The exact bytes that are sent
    body: String,
    deliveries: Vec<DeliveryLine>,
    /// Newest first, 200 at most
    attempts: Vec<SentLine>,
}

/// An attempt with the headers that it carried.
#[derive(Serialize, ToSchema)]
struct SentLine {
    #[serde(flatten)]
    line: EndpointLogLine,
    request_headers: BTreeMap<String, String>,
    /// The secret has changed since: the signatures cannot be made again, and are left out
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    signed_with_an_earlier_secret: bool,
}

/// The built-in events.
#[derive(Serialize, ToSchema)]
struct EventTypes {
    event_types: Vec<EventType>,
}

/// Which messages.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct EventQuery {
    /// A name, or a family such as `product.*`
    event: Option<String>,
    endpoint_id: Option<String>,
    /// queued, waiting, delivered, failed or skipped
    state: Option<String>,
    since: Option<DateTime<Utc>>,
    until: Option<DateTime<Utc>>,
    /// 100 if left out
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<i32>,
    /// The `next_cursor` of the previous page
    cursor: Option<String>,
}

pub fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(show)).routes(routes!(event_types))
}

/// Messages and the state of their deliveries
#[utoipa::path(get, path = "/events", tag = "events", operation_id = "list_events", params(EventQuery),
    responses((status = 200, description = "Newest first", body = Success<Events>), ReadErrors))]
async fn list(State(api): State<Api>, Params(query): Params<EventQuery>) -> ApiResult<Events> {
    let size = PageSize::new(query.limit)?;
    let filter = EventFilter {
        event: query.event.as_deref(),
        endpoint_id: query.endpoint_id.as_deref(),
        state: query.state.as_deref(),
        since: query.since,
        until: query.until,
        before: query.cursor.as_deref(),
    };
    let rows = api.store().await?.events(&filter, size.rows_to_read()).await?;
    let Page { rows: events, next_cursor } = size.page(rows, |event| &event.webhook_id);
    Ok(Success::new(Events { events, next_cursor }))
}

/// One message: its bytes, its deliveries, its attempts and their headers
#[utoipa::path(get, path = "/events/{webhook_id}", tag = "events", operation_id = "show_event",
    params(("webhook_id" = String, Path, example = "wh_00000000n40000007shm2fnpb8")),
    responses((status = 200, description = "The message", body = Success<Event>), ReadErrors))]
async fn show(State(api): State<Api>, Id(webhook_id): Id, _: NoParams) -> ApiResult<Event> {
    let store = api.store().await?;
    let message = store.message(&webhook_id).await?;
    let filter = AttemptFilter { webhook_id: Some(&webhook_id), ..AttemptFilter::default() };
    let mut attempts = Vec::new();
    for line in store.attempts(&filter, MAX_SHOWN_ATTEMPTS).await? {
        attempts.push(sent(&store, line).await?);
    }
    let deliveries = store.deliveries(&webhook_id).await?;
    let (event, occurred_at, body) = (message.event, message.occurred_at, message.body);
    Ok(Success::new(Event { event: EventDetail { webhook_id, event, occurred_at, body, deliveries, attempts } }))
}

/// The built-in events: when each occurs, its JSON Schema, and a sample
#[utoipa::path(get, path = "/event-types", tag = "events", operation_id = "list_event_types",
    responses((status = 200, description = "All", body = Success<EventTypes>), ListErrors))]
async fn event_types(State(api): State<Api>, _: NoParams) -> ApiResult<EventTypes> {
    let event_types = api.store().await?.event_types().await?;
    Ok(Success::new(EventTypes { event_types }))
}

/// Adds the headers to an attempt: the database signs again what was signed then.
async fn sent(store: &Store<PooledClient>, line: AttemptLine) -> Result<SentLine, ApiError> {
    let signatures = match line.signed_at {
        Some(signed_at) => store.signatures(&line.webhook_id, &line.endpoint_id, signed_at).await?,
        None => None,
    };
    let signed_with_an_earlier_secret = signatures.is_none();
    let Signatures { signature, signature_v1 } =
        signatures.unwrap_or(Signatures { signature: None, signature_v1: None });
    let headers = RequestHeaders {
        webhook_id: &line.webhook_id,
        signed_at: line.signed_at,
        signature: signature.as_deref(),
        signature_v1: signature_v1.as_deref(),
    };
    let request_headers = headers.each().map(|(name, value)| (name.to_string(), value.into_owned())).collect();
    Ok(SentLine { line: line.into(), request_headers, signed_with_an_earlier_secret })
}
