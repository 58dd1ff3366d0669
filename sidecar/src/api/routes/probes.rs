//! `/healthz`, `/readyz` and `/metrics`, for monitoring: they need no token, name no webhook, and write nothing.

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::response::{ApiResult, Success};
use crate::api::responses::ProbeErrors;
use crate::api::state::Api;

/// The process is there.
#[derive(Serialize, ToSchema)]
struct Alive {
    #[schema(example = "0.1.0")]
    version: &'static str,
}

/// All is there that a request needs.
#[derive(Serialize, ToSchema)]
struct Ready {
    /// The extension's version
    #[schema(example = "0.1.0")]
    version: String,
}

/// What answers however many requests are under way.
pub fn liveness() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(healthz))
}

pub fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(readyz)).routes(routes!(metrics))
}

/// The process is alive
#[utoipa::path(get, path = "/healthz", tag = "probes", operation_id = "healthz", security(()),
    responses((status = 200, description = "It is", body = Success<Alive>)))]
async fn healthz() -> Success<Alive> {
    Success::new(Alive { version: env!("CARGO_PKG_VERSION") })
}

/// The database can be reached, has the extension, and has granted what the API needs
#[utoipa::path(get, path = "/readyz", tag = "probes", operation_id = "readyz", security(()),
    responses((status = 200, description = "All of it", body = Success<Ready>), ProbeErrors))]
async fn readyz(State(api): State<Api>) -> ApiResult<Ready> {
    let version = api.version.get(&api.sessions, async |store| store.version().await).await?;
    Ok(Success::new(Ready { version }))
}

/// Figures for Prometheus
#[utoipa::path(get, path = "/metrics", tag = "probes", operation_id = "metrics", security(()),
    responses((status = 200, description = "In its text format", body = String, content_type = "text/plain")))]
async fn metrics(State(api): State<Api>) -> impl IntoResponse {
    api.activity.mark_viewed();
    let status = api.status.get(&api.sessions, async |store| store.status().await).await;
    api.metrics.set_status(status.ok().as_ref());
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], api.metrics.render())
}
