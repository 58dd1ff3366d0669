//! Requests over connections that are kept alive. A request that met a dying one is sent once more, at once, on a fresh
//! connection, and never twice. Nothing here decides what an answer leads to.

use anyhow::Context;
use reqwest::{Client, RequestBuilder, Response, Url};
use std::cell::Cell;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tower::util::MapFutureLayer;
use url::Origin;

use super::egress::EgressPolicy;
use super::failure::Failure;

/// How long an idle connection is kept: less than the five seconds after which Node, and others like it, close one.
const IDLE_TIMEOUT: Duration = Duration::from_secs(4);
/// How long after an answer its connection may still be on its way back to the idle ones.
const RETURN_TIME: Duration = Duration::from_millis(5);
/// From so many on, origins are forgotten that have no idle connection any more.
const MIN_ORIGINS_TO_FORGET: usize = 1024;

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
    answers: Arc<Mutex<Answers>>,
}

/// When each origin answered last.
struct Answers {
    at: HashMap<Origin, Instant>,
    forgotten_at: Instant,
}

/// What came of a request.
pub struct Sent {
    pub outcome: Result<Response, Failure>,
    /// The request met a dying connection, and this is what came of sending it again.
    pub was_resent: bool,
}

impl HttpClient {
    /// Dials where `egress` permits it, and keeps at most `connections` open to each host.
    pub fn new(egress: &EgressPolicy, connections: usize) -> anyhow::Result<Self> {
        let client = |idle| client(egress, idle).context("cannot set the HTTP client up");
        Ok(Self { keep_alive: client(connections)?, fresh: client(0)?, answers: Arc::new(Mutex::new(Answers::new())) })
    }

    /// Sends what `request` makes of a client, and returns when the head of a response is there.
    pub async fn send(&self, url: &Url, request: impl Fn(&Client) -> RequestBuilder) -> Sent {
        let request_on_kept = request(&self.keep_alive);
        let first = DIALLED_AT.scope(Cell::new(None), async move {
            let outcome = request_on_kept.send().await;
            (outcome, DIALLED_AT.with(Cell::get))
        });
        let (outcome, dialled_at) = first.await;
        let outcome = outcome.map_err(|error| Failure::of(&error));
        match outcome {
            Err(Failure::Reset | Failure::Closed) if self.may_have_been_kept(url, dialled_at) => {
                let outcome = request(&self.fresh).send().await.map_err(|error| Failure::of(&error));
                Sent { outcome, was_resent: true }
            }
            outcome => {
                if outcome.is_ok() {
                    self.note_answer(url);
                }
                Sent { outcome, was_resent: false }
            }
        }
    }

    /// Whether a request may have gone over a connection that an earlier one left open. It has if it dialled none.
    /// While it dialled, one of another request to the same origin may have become idle, and was taken in place of the
    /// new one.
    fn may_have_been_kept(&self, url: &Url, dialled_at: Option<Instant>) -> bool {
        let Some(dialled_at) = dialled_at else { return true };
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.at.get(&url.origin()).is_some_and(|answered_at| *answered_at + RETURN_TIME > dialled_at)
    }

    fn note_answer(&self, url: &Url) {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).note(url.origin(), Instant::now());
    }
}

impl Answers {
    fn new() -> Self {
        Self { at: HashMap::new(), forgotten_at: Instant::now() }
    }

    /// Notes an answer. Now and then, not at each answer of many origins, forgets those without an idle connection.
    fn note(&mut self, origin: Origin, now: Instant) {
        if self.at.len() >= MIN_ORIGINS_TO_FORGET && now >= self.forgotten_at + IDLE_TIMEOUT {
            self.at.retain(|_, answered_at| now < *answered_at + IDLE_TIMEOUT);
            self.forgotten_at = now;
        }
        self.at.insert(origin, now);
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(number: u32) -> Origin {
        Url::parse(&format!("http://127.0.0.1:{number}/")).expect("a URL").origin()
    }

    #[test]
    fn many_origins_are_gone_through_once_in_the_time_of_an_idle_connection() {
        let mut answers = Answers::new();
        let start = answers.forgotten_at;
        (1..=2 * MIN_ORIGINS_TO_FORGET as u32).for_each(|number| answers.note(origin(number), start));
        assert_eq!(answers.at.len(), 2 * MIN_ORIGINS_TO_FORGET, "nothing is old yet");
        let later = start + IDLE_TIMEOUT;
        answers.note(origin(1), later);
        assert_eq!((answers.at.len(), answers.forgotten_at), (1, later));
    }
}
