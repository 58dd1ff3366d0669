//! The bounds of every request: how many are under way at once, and how long each may take; and of a body that is read
//! before anybody knows whose it is.

use axum::Extension;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

use super::connections::Connection;
use super::error::ApiError;
use super::request;

/// How many operations and probes may be under way at once.
pub const MAX_CONCURRENT_REQUESTS: usize = 64;
/// How many requests at `/session` may be under way at once.
pub const MAX_CONCURRENT_LOGINS: usize = 16;
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the body of a login may take to come.
const LOGIN_BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// Marks the connection as busy while a request is served.
pub async fn mark_busy(connection: Option<Extension<Connection>>, request: Request, next: Next) -> Response {
    let Some(Extension(connection)) = connection else { return next.run(request).await };
    connection.set_busy(true);
    let answer = next.run(request).await;
    connection.set_busy(false);
    answer
}

/// Reads a body before its request takes a place: who trickles it holds none, and his connection counts as idle.
pub async fn read_body(
    connection: Option<Extension<Connection>>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let set_busy = |is_busy| connection.as_ref().map(|connection| connection.set_busy(is_busy));
    let (parts, body) = request.into_parts();
    set_busy(false);
    let whole = Request::from_parts(parts.clone(), body);
    let bytes = tokio::time::timeout(LOGIN_BODY_TIMEOUT, request::read(whole, &())).await;
    set_busy(true);
    let bytes = bytes.map_err(|_| ApiError::too_slow("the body took too long to come"))??;
    Ok(next.run(Request::from_parts(parts, bytes.into())).await)
}

/// Lets a request through if there is a place for it, and ends it if it takes too long.
pub async fn guard(State(places): State<Arc<Semaphore>>, request: Request, next: Next) -> Result<Response, ApiError> {
    let _place = places.try_acquire().map_err(|_| ApiError::unavailable("too many requests at once"))?;
    let answer = tokio::time::timeout(REQUEST_TIMEOUT, next.run(request));
    answer.await.map_err(|_| ApiError::too_slow("the answer took too long"))
}
