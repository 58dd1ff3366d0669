//! What every request passes first: a place among those under way, and a time by which it is over.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

use super::error::ApiError;

/// Operations and probes under way at once.
pub const MAX_CONCURRENT_REQUESTS: usize = 64;
/// Requests at `/session` under way at once. They have places of their own, for their body is read before anybody knows
/// whose it is: whoever trickles it keeps others from logging in for a while, and from nothing else.
pub const MAX_CONCURRENT_LOGINS: usize = 16;
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Lets a request through if there is a place for it, and ends it when it takes too long.
pub async fn guard(State(places): State<Arc<Semaphore>>, request: Request, next: Next) -> Result<Response, ApiError> {
    let _place = places.try_acquire().map_err(|_| ApiError::unavailable("too many requests at once"))?;
    let answer = tokio::time::timeout(REQUEST_TIMEOUT, next.run(request));
    answer.await.map_err(|_| ApiError::too_slow("the answer took too long"))
}
