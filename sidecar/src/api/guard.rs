//! What every request passes first: a place among those under way, a time by which it is over, and the headers that every
//! answer carries.

use axum::extract::{Request, State};
use axum::http::header::{CACHE_CONTROL, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

use super::error::Problem;

/// Requests under way at once, but for those at `/session`.
const MOST: usize = 64;
/// Those at `/session`, where a body is read before anybody knows whose it is: who trickles it keeps others from
/// logging in for a while, and from nothing else.
const LOGINS: usize = 16;
const LONGEST: Duration = Duration::from_secs(10);
const SAFE: [(HeaderName, &str); 2] = [(X_CONTENT_TYPE_OPTIONS, "nosniff"), (CACHE_CONTROL, "no-store")];

/// See the module; cheap to clone.
#[derive(Clone)]
pub struct Guard {
    places: Arc<Semaphore>,
    logins: Arc<Semaphore>,
}

impl Guard {
    /// With all places free.
    pub fn new() -> Self {
        Self { places: Arc::new(Semaphore::new(MOST)), logins: Arc::new(Semaphore::new(LOGINS)) }
    }
}

/// The outermost layer.
pub async fn guard(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    let places = if request.uri().path() == "/session" { &guard.logins } else { &guard.places };
    let mut response = match places.try_acquire() {
        Ok(_place) => match tokio::time::timeout(LONGEST, next.run(request)).await {
            Ok(response) => response,
            Err(_) => Problem::too_slow("the answer took too long").into_response(),
        },
        Err(_) => Problem::unavailable("too many requests at once").into_response(),
    };
    for (name, value) in SAFE {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    super::metrics::count_request(response.status());
    response
}
