//! Reading a request: body, query and path, each refused in the API's own envelope and by the name of what is wrong.

use axum::extract::rejection::{BytesRejection, FailedToBufferBody};
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use url::form_urlencoded;

use super::error::ApiError;

/// The size above which a body is refused.
pub const MAX_BODY_BYTES: usize = 64 * 1024;
const TIME_HINT: &str = "A time is 2026-11-23T00:00:00Z; the + of 2026-11-23T00:00:00+01:00 is %2B in a URL.";

/// A JSON body.
pub struct Body<T>(pub T);

/// A JSON body that may be left out, or null.
pub struct OptionalBody<T>(pub T);

/// The query's parameters.
pub struct Params<T>(pub T);

/// The query of an operation without parameters: empty.
pub struct NoParams;

/// The id in the path.
pub struct Id(pub String);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let said_json = says_json(request.headers());
        let bytes = read(request, state).await?;
        if said_json { parse(&bytes).map(Self) } else { Err(no_json()) }
    }
}

impl<S: Send + Sync, T: DeserializeOwned + Default> FromRequest<S> for OptionalBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let said_json = says_json(request.headers());
        let bytes = read(request, state).await?;
        match bytes.is_empty() {
            true => Ok(Self(T::default())),
            false if said_json => parse(&bytes).map(|body: Option<T>| Self(body.unwrap_or_default())),
            false => Err(no_json()),
        }
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let query = parts.uri.query().unwrap_or_default();
        let pairs = serde_urlencoded::Deserializer::new(form_urlencoded::parse(query.as_bytes()));
        serde_path_to_error::deserialize(pairs).map(Self).map_err(|error| {
            let refusal = ApiError::malformed("invalid_parameter", error.to_string());
            match &*error.path().to_string() {
                "since" | "until" => refusal.hint(TIME_HINT),
                _ => refusal,
            }
        })
    }
}

impl<S: Send + Sync> FromRequestParts<S> for NoParams {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        match parts.uri.query().unwrap_or_default().split(['=', '&']).find(|name| !name.is_empty()) {
            None => Ok(Self),
            Some(name) => Err(ApiError::malformed(
                "invalid_parameter",
                format!("unknown field `{name}`: this operation takes no parameters"),
            )),
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let id = Path::<String>::from_request_parts(parts, state).await;
        id.map(|Path(id)| Self(id)).map_err(|rejection| ApiError::malformed("invalid_parameter", rejection.body_text()))
    }
}

/// Reads a whole body, up to its limit.
pub async fn read<S: Send + Sync>(request: Request, state: &S) -> Result<Bytes, ApiError> {
    Bytes::from_request(request, state).await.map_err(|rejection| match rejection {
        BytesRejection::FailedToBufferBody(FailedToBufferBody::LengthLimitError(_)) => ApiError::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too_large",
            format!("a body has at most {MAX_BODY_BYTES} bytes"),
        ),
        other => ApiError::malformed("malformed_body", other.body_text()),
    })
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    // serde would read an array as a struct, field by field; the description does not allow that.
    if bytes.trim_ascii_start().starts_with(b"[") {
        return Err(ApiError::malformed("invalid_body", "the body must be a JSON object, not an array"));
    }
    serde_json::from_slice(bytes).map_err(|error| {
        let code = if error.is_data() { "invalid_body" } else { "malformed_json" };
        ApiError::malformed(code, error.to_string())
    })
}

fn says_json(headers: &HeaderMap) -> bool {
    let said = headers.get(CONTENT_TYPE).and_then(|said| said.to_str().ok()).unwrap_or_default();
    said.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}

fn no_json() -> ApiError {
    ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", "the body must be JSON")
        .hint("Content-Type: application/json")
}
