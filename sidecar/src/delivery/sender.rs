//! One attempt: sends a delivery and returns what came back. The head of a response decides; its body is read to a cap
//! of bytes and time, and whatever becomes of it changes nothing. No redirects. A request that met a dying kept-alive
//! connection is sent once more, at once, on a fresh one. What a status leads to is the database's business.

use reqwest::header::{LOCATION, RETRY_AFTER};
use reqwest::{Client, RequestBuilder, Url};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::attempt::{Attempt, Response};
use super::blame::{Blame, Fault, Place};
use super::connection::{HttpClient, InUse};
use super::dial::Dial;
use super::event::Delivery;
use super::failure::{Evidence, Failure};
use super::headers::RequestHeaders;
use super::metrics::DeliveryMetrics;
use super::outbound::{Outbound, literal_ip};

/// How much of a response's body is read; a longer one's connection is dropped.
const MAX_READ_BYTES: usize = 64 * 1024;
/// How long a response's body is read after its head; a longer one's connection is dropped.
const MAX_READ_TIME: Duration = Duration::from_secs(2);
/// How much is kept of the body of a failure.
const MAX_KEPT_BYTES: usize = 1024;
/// How much is kept of where a redirect leads.
const MAX_LOCATION_CHARS: usize = 256;

/// A deadline that passed so long ago, when it is noticed, was missed by this process: it stood still.
const STANDSTILL: Duration = Duration::from_secs(1);
/// How long what came while the process stood still may take to get through.
const CATCH_UP_TIME: Duration = Duration::from_secs(1);

/// Sends deliveries; cheap to clone.
#[derive(Clone)]
pub struct Sender {
    client: HttpClient,
    outbound: Outbound,
    /// A permit for each request that may be under way.
    permits: Arc<Semaphore>,
    blame: Arc<Mutex<Blame>>,
    metrics: DeliveryMetrics,
}

impl Sender {
    /// Opens at most about `connections` at once: half of them may be idle, so that no request finds them all in use.
    pub fn new(outbound: Outbound, connections: usize) -> anyhow::Result<Self> {
        let half = (connections / 2).clamp(1, Semaphore::MAX_PERMITS);
        Ok(Self {
            client: HttpClient::new(outbound.clone(), half)?,
            outbound,
            permits: Arc::new(Semaphore::new(half)),
            blame: Arc::default(),
            metrics: DeliveryMetrics::new(),
        })
    }

    /// Makes one attempt, which is over within `deadline` once there is a connection for it.
    pub async fn send(&self, delivery: &Delivery, deadline: Duration) -> Attempt {
        let _permit = self.permits.acquire().await;
        let started = Instant::now();
        let in_flight = self.metrics.request_started();
        let dial = Dial::default();
        let came = within(deadline, self.exchange(delivery, &dial)).await.flatten();
        let fault = self.judge(came.as_ref().err(), &delivery.url, &dial, started);
        let outcome = match came {
            Ok((response, _in_use)) => Ok(read(response, deadline.saturating_sub(started.elapsed())).await),
            Err(failure) => Err(failure),
        };
        drop(in_flight);
        let took_ms = i32::try_from(started.elapsed().as_millis()).unwrap_or(i32::MAX);
        let attempt = Attempt { started, took_ms, outcome, fault };
        self.metrics.attempt_ended(&attempt);
        attempt
    }

    /// Whose fault it is that a request which began at `started` brought no response, if it did not.
    fn judge(&self, failure: Option<&Failure>, url: &str, dial: &Dial, started: Instant) -> Fault {
        let mut blame = self.blame.lock().unwrap_or_else(PoisonError::into_inner);
        match failure.map_or(Evidence::Answer, Failure::evidence) {
            Evidence::Us => Fault::Ours,
            Evidence::Them => Fault::Theirs,
            Evidence::Answer => {
                blame.answered(place(url, dial), Instant::now());
                Fault::Theirs
            }
            Evidence::Silence => blame.silent(place(url, dial), started),
        }
    }

    /// Sends the request, and returns when the head of a response is there.
    async fn exchange(&self, delivery: &Delivery, dial: &Dial) -> Result<(reqwest::Response, InUse), Failure> {
        let url = Url::parse(&delivery.url).map_err(|error| Failure::InvalidUrl(error.to_string()))?;
        self.outbound.vet(&url).await?;
        let sent = self.client.send(&url, dial, |client| request(client, &url, delivery)).await;
        if sent.was_resent {
            tracing::debug!(webhook_id = delivery.event.webhook_id, "resent on a fresh connection");
            self.metrics.request_resent();
        }
        sent.outcome.map(|response| (response, sent.in_use))
    }
}

/// Waits for `work` until `deadline` has passed. Where the process stood still past it, what came meanwhile counts.
async fn within<T>(deadline: Duration, work: impl Future<Output = T>) -> Result<T, Failure> {
    let mut work = pin!(work);
    let began = Instant::now();
    match timeout(deadline, &mut work).await {
        Ok(done) => Ok(done),
        Err(_) if began.elapsed() < deadline + STANDSTILL => Err(Failure::Timeout),
        Err(_) => timeout(CATCH_UP_TIME, work).await.map_err(|_| Failure::StoodStill),
    }
}

fn request(client: &Client, url: &Url, delivery: &Delivery) -> RequestBuilder {
    let headers = RequestHeaders {
        webhook_id: &delivery.event.webhook_id,
        signed_at: Some(delivery.signed_at),
        signature: delivery.signature.as_deref(),
        signature_v1: delivery.signature_v1.as_deref(),
    };
    headers
        .each()
        .fold(client.post(url.clone()), |request, (name, value)| request.header(name, &*value))
        .body(delivery.event.body.bytes.clone())
}

/// Where a receiver is: at its address if one is known.
fn place(url: &str, dial: &Dial) -> Place {
    let url = Url::parse(url).ok();
    let address = dial.address().or_else(|| literal_ip(url.as_ref()?));
    let name = || url.as_ref().and_then(Url::host_str).unwrap_or_default().to_owned();
    address.map_or_else(|| Place::Name(name()), Place::of)
}

/// Reads the body, for so long at most. What is read of it is kept where the status says that the request failed.
async fn read(mut response: reqwest::Response, time: Duration) -> Response {
    let status = response.status();
    let header = |name| response.headers().get(name).map(|value| clean(&String::from_utf8_lossy(value.as_bytes())));
    let retry_after = header(RETRY_AFTER);
    let location = header(LOCATION).map(|location| location.chars().take(MAX_LOCATION_CHARS).collect());
    let mut kept = Vec::new();
    // A body that comes late, breaks off or does not end takes nothing from the status.
    let _ = timeout(time.min(MAX_READ_TIME), read_body(&mut response, &mut kept)).await;
    let body = (!status.is_success() && !kept.is_empty()).then(|| clean(&String::from_utf8_lossy(&kept)));
    Response { status, retry_after, location, body }
}

async fn read_body(response: &mut reqwest::Response, kept: &mut Vec<u8>) {
    let mut read = 0;
    while read < MAX_READ_BYTES
        && let Ok(Some(chunk)) = response.chunk().await
    {
        read += chunk.len();
        kept.extend_from_slice(&chunk[..chunk.len().min(MAX_KEPT_BYTES - kept.len())]);
    }
}

/// The text without NUL, which Postgres does not take.
fn clean(text: &str) -> String {
    text.replace('\0', "")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;
    use tokio::task::yield_now;

    /// Has the process stand still until the deadline and a standstill have passed.
    fn stand_still() {
        std::thread::sleep(STANDSTILL + Duration::from_millis(10));
    }

    #[tokio::test]
    async fn what_came_while_the_process_stood_still_counts() {
        let answered = async {
            yield_now().await;
            stand_still();
            // It has to be polled once more, as what has come must get through other tasks.
            yield_now().await;
            200
        };
        assert_eq!(within(Duration::from_millis(1), answered).await, Ok(200));
    }

    #[tokio::test]
    async fn a_deadline_that_the_process_missed_is_not_the_receivers_timeout() {
        let silent = async {
            yield_now().await;
            stand_still();
            pending::<()>().await;
        };
        assert_eq!(within(Duration::from_millis(1), silent).await, Err(Failure::StoodStill));
        assert_eq!(within(Duration::from_millis(1), pending::<()>()).await, Err(Failure::Timeout));
    }
}
