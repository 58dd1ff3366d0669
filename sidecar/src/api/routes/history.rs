//! `/history`: the last hour in stretches of ten seconds.

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::activity::{BUCKET_SECONDS, Point};
use crate::api::request::NoParams;
use crate::api::response::{ApiResult, Success};
use crate::api::responses::ListErrors;
use crate::api::state::Api;

/// The last hour.
#[derive(Serialize, ToSchema)]
struct LastHour {
    bucket_seconds: i32,
    points: Vec<Point>,
}

pub fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(history))
}

/// The last hour in stretches of ten seconds
#[utoipa::path(get, path = "/history", tag = "operation", operation_id = "show_history",
    responses((status = 200, description = "Oldest first", body = Success<LastHour>), ListErrors))]
async fn history(State(api): State<Api>, _: NoParams) -> ApiResult<LastHour> {
    api.activity.mark_viewed();
    let points = api.activity.last_hour(&api.sessions).await?;
    Ok(Success::new(LastHour { bucket_seconds: BUCKET_SECONDS, points }))
}
