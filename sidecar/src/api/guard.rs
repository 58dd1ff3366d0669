//! The bounds of every request: how many are under way at once, and how long each may take.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

use super::error::ApiError;

/// How many operations and probes may be under way at once.
pub const MAX_CONCURRENT_REQUESTS: usize = 64;
/// How many requests at `/session` may be under way at once. They have places of their own, because their body is read
/// before anybody knows whose it is: a client that trickles it keeps others from logging in, and from nothing else.
pub const MAX_CONCURRENT_LOGINS: usize = 16;
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Lets a request through if there is a place for it, and ends it if it takes too long.
pub async fn guard(State(places): State<Arc<Semaphore>>, request: Request, next: Next) -> Result<Response, ApiError> {
    let _place = places.try_acquire().map_err(|_| ApiError::unavailable("too many requests at once"))?;
    let answer = tokio::time::timeout(REQUEST_TIMEOUT, next.run(request));
    answer.await.map_err(|_| ApiError::too_slow("the answer took too long"))
}
