//! The envelope of what went well: `{"status":"success","data":…}`.

use axum::Json;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::error::ApiError;

/// What a handler returns.
pub type ApiResult<T> = Result<Success<T>, ApiError>;

/// A success with its data.
#[derive(Serialize, ToSchema)]
pub struct Success<T> {
    status: Succeeded,
    data: T,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Succeeded {
    Success,
}

impl<T> Success<T> {
    /// Wraps the data.
    pub fn new(data: T) -> Self {
        Self { status: Succeeded::Success, data }
    }
}

impl<T: Serialize> IntoResponse for Success<T> {
    fn into_response(self) -> Response {
        Json(self).into_response()
    }
}
