//! Requests over connections that are kept alive. A request that met a dying one is sent once more, at once, on a fresh
//! connection, and never twice. Nothing here decides what an answer leads to.

use anyhow::Context;
use reqwest::{Client, RequestBuilder, Response, Url};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use url::Origin;

use super::dial::Dial;
use super::failure::Failure;
use super::origins::{IDLE_TIMEOUT, Origins};
use super::outbound::Outbound;

/// Sends requests; cheap to clone.
#[derive(Clone)]
pub struct HttpClient {
    /// Sends on connections that earlier requests left open.
    keep_alive: Client,
    /// Opens a connection for each request.
    fresh: Client,
    outbound: Outbound,
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
    /// Dials as `outbound` says, and keeps at most about `connections` open in all.
    pub fn new(outbound: Outbound, connections: usize) -> anyhow::Result<Self> {
        let client = |idle| {
            let client = outbound
                .client()
                .and_then(|client| client.pool_max_idle_per_host(idle).pool_idle_timeout(IDLE_TIMEOUT).build());
            client.context("cannot set the HTTP client up")
        };
        let origins = Arc::new(Mutex::new(Origins::new(connections, Instant::now())));
        Ok(Self { keep_alive: client(connections)?, fresh: client(0)?, outbound, origins })
    }

    /// Sends what `request` makes of a client, and returns when the head of a response is there. Notes in `dial` what
    /// its dial met.
    pub async fn send(&self, url: &Url, dial: &Dial, request: impl Fn(&Client) -> RequestBuilder) -> Sent {
        let origin = url.origin();
        let is_kept = lock(&self.origins).begin(&origin, Instant::now());
        dial.note_address(lock(&self.origins).address(&origin));
        let in_use = InUse { origins: Arc::clone(&self.origins), origin, is_kept };
        if !is_kept {
            return Sent { outcome: self.send_noted(request(&self.fresh), dial).await, was_resent: false, in_use };
        }
        match self.send_noted(request(&self.keep_alive), dial).await {
            Err(Failure::Reset | Failure::Closed) if self.may_have_been_kept(&in_use.origin, dial.done_at()) => {
                Sent { outcome: self.send_noted(request(&self.fresh), dial).await, was_resent: true, in_use }
            }
            outcome => {
                if let Ok(response) = &outcome {
                    let address = response.remote_addr().map(|peer| peer.ip()).filter(|_| !self.outbound.is_proxied());
                    address.into_iter().for_each(|peer| self.outbound.learn_from(dial, peer));
                    dial.note_address(address);
                    lock(&self.origins).answered(&in_use.origin, address, Instant::now());
                }
                Sent { outcome, was_resent: false, in_use }
            }
        }
    }

    async fn send_noted(&self, request: RequestBuilder, dial: &Dial) -> Result<Response, Failure> {
        dial.watch(request.send()).await.map_err(|error| self.outbound.failure(&error))
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
