//! Requests over connections that are kept alive. A request that met a dying one is sent once more, at once, on a fresh
//! connection, and never twice. Nothing here decides what an answer leads to.

use anyhow::Context;
use reqwest::{Client, RequestBuilder, Response, Url};
use std::cell::Cell;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tower::util::MapFutureLayer;
use url::Origin;

use super::egress::EgressPolicy;
use super::failure::Failure;
use super::origins::{IDLE_TIMEOUT, Origins};

tokio::task_local! {
    /// When the task of a request opened a connection for it.
    static DIALLED_AT: Cell<Option<Instant>>;
}

/// Sends requests; cheap to clone.
#[derive(Clone)]
pub struct HttpClient {
    /// Sends on connections that earlier requests left open.
    keep_alive: Client,
    /// Opens a connection for each request.
    fresh: Client,
    origins: Arc<Mutex<Origins>>,
}

/// What came of a request.
pub struct Sent {
    pub outcome: Result<Response, Failure>,
    /// The request met a dying connection, and this is what came of sending it again.
    pub was_resent: bool,
    /// Counts the request's connection as in use. It is to be dropped when the response has been read.
    pub in_use: InUse,
}

/// Counts a request's connection as in use until it is dropped.
pub struct InUse {
    origins: Arc<Mutex<Origins>>,
    origin: Origin,
    is_kept: bool,
}

impl Drop for InUse {
    fn drop(&mut self) {
        if self.is_kept {
            lock(&self.origins).end(&self.origin);
        }
    }
}

impl HttpClient {
    /// Dials where `egress` permits it, and keeps at most about `connections` open in all.
    pub fn new(egress: &EgressPolicy, connections: usize) -> anyhow::Result<Self> {
        let client = |idle| client(egress, idle).context("cannot set the HTTP client up");
        let origins = Arc::new(Mutex::new(Origins::new(connections, Instant::now())));
        Ok(Self { keep_alive: client(connections)?, fresh: client(0)?, origins })
    }

    /// Sends what `request` makes of a client, and returns when the head of a response is there.
    pub async fn send(&self, url: &Url, request: impl Fn(&Client) -> RequestBuilder) -> Sent {
        let origin = url.origin();
        let is_kept = lock(&self.origins).begin(&origin, Instant::now());
        let in_use = InUse { origins: Arc::clone(&self.origins), origin, is_kept };
        let send_fresh = || async { request(&self.fresh).send().await.map_err(|error| Failure::of(&error)) };
        if !is_kept {
            return Sent { outcome: send_fresh().await, was_resent: false, in_use };
        }
        let request_on_kept = request(&self.keep_alive);
        let first = DIALLED_AT.scope(Cell::new(None), async move {
            let outcome = request_on_kept.send().await;
            (outcome, DIALLED_AT.with(Cell::get))
        });
        let (outcome, dialled_at) = first.await;
        match outcome.map_err(|error| Failure::of(&error)) {
            Err(Failure::Reset | Failure::Closed) if self.may_have_been_kept(&in_use.origin, dialled_at) => {
                Sent { outcome: send_fresh().await, was_resent: true, in_use }
            }
            outcome => {
                if outcome.is_ok() {
                    lock(&self.origins).answered(&in_use.origin, Instant::now());
                }
                Sent { outcome, was_resent: false, in_use }
            }
        }
    }

    /// Whether a request may have gone over a connection that an earlier one left open. It has if it dialled none.
    /// While it dialled, one of another request to the same origin may have become idle, and was taken in place of the
    /// new one.
    fn may_have_been_kept(&self, origin: &Origin, dialled_at: Option<Instant>) -> bool {
        dialled_at.is_none_or(|dialled_at| lock(&self.origins).may_have_left_one(origin, dialled_at))
    }
}

fn lock(origins: &Mutex<Origins>) -> MutexGuard<'_, Origins> {
    origins.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A client with keep-alive for `idle` connections to each host.
fn client(egress: &EgressPolicy, idle: usize) -> reqwest::Result<Client> {
    Client::builder()
        .dns_resolver(Arc::new(egress.clone()))
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .tcp_nodelay(true)
        .pool_max_idle_per_host(idle)
        .pool_idle_timeout(IDLE_TIMEOUT)
        .connector_layer(MapFutureLayer::new(note_dial))
        .build()
}

/// Notes when a dial of this task's request is done. One that lost to an idle connection goes on in another task.
async fn note_dial<D: Future>(dial: D) -> D::Output {
    let connection = dial.await;
    let _ = DIALLED_AT.try_with(|dialled_at| dialled_at.set(Some(Instant::now())));
    connection
}
