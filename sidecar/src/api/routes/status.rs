//! `/status` and `/health`: the state of delivery in one row, and webhook by webhook.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::request::{NoParams, Params};
use crate::api::response::{ApiResult, Success};
use crate::api::responses::{ListErrors, ReadErrors};
use crate::api::state::Api;
use crate::store::{Health, LeaseRecord, Status};

/// How many of its latest attempts decide on an endpoint's health.
const HEALTH_ATTEMPTS: i32 = 100;

/// The state of delivery, and who delivers.
#[derive(Serialize, ToSchema)]
struct Overview {
    status: Status,
    leases: Vec<LeaseRecord>,
}

/// The health of each webhook.
#[derive(Serialize, ToSchema)]
struct Checkup {
    health: Vec<Health>,
}

/// Whose health.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct HealthQuery {
    /// If left out, every webhook's
    endpoint_id: Option<String>,
}

pub fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(status)).routes(routes!(health))
}

/// The state of delivery: what is behind, what is pending, who delivers
#[utoipa::path(get, path = "/status", tag = "operation", operation_id = "show_status",
    responses((status = 200, description = "Now", body = Success<Overview>), ListErrors))]
async fn status(State(api): State<Api>, _: NoParams) -> ApiResult<Overview> {
    let store = api.store().await?;
    let (status, leases) = (store.status().await?, store.leases().await?);
    Ok(Success::new(Overview { status, leases }))
}

/// The health of each webhook, by its latest 100 attempts in 24 hours
#[utoipa::path(get, path = "/health", tag = "operation", operation_id = "show_health", params(HealthQuery),
    responses((status = 200, description = "Webhook by webhook", body = Success<Checkup>), ReadErrors))]
async fn health(State(api): State<Api>, Params(query): Params<HealthQuery>) -> ApiResult<Checkup> {
    let health = api.store().await?.health(query.endpoint_id.as_deref(), HEALTH_ATTEMPTS).await?;
    Ok(Success::new(Checkup { health }))
}
