//! The answer to a request that cannot be served: a status, a stable word for programs, a sentence and a hint for
//! people. Where the database refuses, message and hint are its own.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use std::time::Duration;
use utoipa::ToSchema;

use crate::store::{StoreError, StoreErrorKind};

const RETRY_AFTER: Duration = Duration::from_secs(2);
const GRANT_HINT: &str = "The database needs CREATE EXTENSION pg_webhooks, and the role in DATABASE_URL the right to \
                          serve the API: GRANT webhooks_api TO <that role>.";

/// Why a request is not served.
#[derive(Clone, Debug)]
pub struct ApiError {
    status: StatusCode,
    code: &'static str,
    message: String,
    hint: Option<String>,
    retry_after: Option<Duration>,
}

impl ApiError {
    /// An error without a hint.
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), hint: None, retry_after: None }
    }

    /// Adds a hint.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// 400: the operation does not take such a body or parameter.
    pub fn malformed(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    /// 401: the token is missing, or not valid.
    pub fn unauthorized(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", message)
            .hint("Send a token: Authorization: Bearer pgw_… An administrator makes one with webhooks.create_token.")
    }

    /// 429: the caller has to wait.
    pub fn too_many(message: impl Into<String>, wait: Duration) -> Self {
        Self { retry_after: Some(wait), ..Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", message) }
    }

    /// 503: a later try may succeed.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self { retry_after: Some(RETRY_AFTER), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message) }
    }

    /// 503: the request took longer than it may.
    pub fn too_slow(message: impl Into<String>) -> Self {
        Self { retry_after: Some(RETRY_AFTER), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, "too_slow", message) }
    }

    /// 500: the fault is in this program. The cause goes to the log, and not into the answer.
    pub fn fault(cause: &dyn std::fmt::Display) -> Self {
        tracing::error!("the API failed: {cause}");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "something is wrong with pg-webhooks itself")
            .hint("Its log says more.")
    }

    /// Returns the sentence.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl From<StoreError> for ApiError {
    /// Keeps the words of the database.
    fn from(StoreError { kind, message, hint }: StoreError) -> Self {
        let error = match kind {
            StoreErrorKind::NotFound => Self::new(StatusCode::NOT_FOUND, "not_found", message),
            StoreErrorKind::Invalid => Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_value", message),
            StoreErrorKind::Conflict => Self::new(StatusCode::CONFLICT, "conflict", message),
            StoreErrorKind::TooSlow => {
                Self::too_slow("the database took too long").hint("Ask for less: a shorter time, fewer rows.")
            }
            StoreErrorKind::Unusable => Self::unavailable(message).hint(GRANT_HINT),
            StoreErrorKind::Unreachable => Self::unavailable("the database cannot be reached just now"),
            StoreErrorKind::Fault => return Self::fault(&message),
        };
        Self { hint: error.hint.or(hint), ..error }
    }
}

/// The envelope of what went wrong.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({"status": "error", "error": {"code": "not_found", "message": "there is no webhook \"ep_1\"",
                          "hint": "webhooks.list() lists the registered ones."}}))]
pub struct Failure {
    status: Failed,
    error: Detail,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Failed {
    Error,
}

/// What went wrong.
#[derive(Serialize, ToSchema)]
struct Detail {
    /// A stable word.
    code: &'static str,
    /// A sentence for people.
    message: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let Self { status, code, message, hint, retry_after } = self;
        let mut response =
            (status, Json(Failure { status: Failed::Error, error: Detail { code, message, hint } })).into_response();
        let headers = response.headers_mut();
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"pg_webhooks\""));
        }
        if let Some(wait) = retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(wait.as_secs().max(1)));
        }
        response
    }
}
