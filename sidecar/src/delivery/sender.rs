//! One attempt: sends a delivery and returns what came back. No redirects, no proxies, never more of a response than a
//! cap; one deadline covers connecting, the headers and the body. A request that met a dying kept-alive connection is
//! sent once more, at once, on a fresh one. What a status leads to is the database's business.

use reqwest::header::{LOCATION, RETRY_AFTER};
use reqwest::{Client, RequestBuilder, Url};
use std::net::IpAddr;
use std::time::{Duration, Instant};
use url::Host;

use super::attempt::{Attempt, Response};
use super::connection::HttpClient;
use super::egress::EgressPolicy;
use super::event::Delivery;
use super::failure::Failure;
use super::headers::RequestHeaders;
use super::metrics::DeliveryMetrics;

/// How much of a response's body is read; a longer one's connection is dropped.
const MAX_READ_BYTES: usize = 64 * 1024;
/// How much is kept of the body of a failure.
const MAX_KEPT_BYTES: usize = 1024;
/// How much is kept of where a redirect leads.
const MAX_LOCATION_CHARS: usize = 256;

/// Sends deliveries; cheap to clone.
#[derive(Clone)]
pub struct Sender {
    client: HttpClient,
    egress: EgressPolicy,
    metrics: DeliveryMetrics,
}

impl Sender {
    /// Keeps at most `connections` open to each host.
    pub fn new(egress: EgressPolicy, connections: usize) -> anyhow::Result<Self> {
        Ok(Self { client: HttpClient::new(&egress, connections)?, egress, metrics: DeliveryMetrics::new() })
    }

    /// Makes one attempt, which is over within `deadline`.
    pub async fn send(&self, delivery: &Delivery, deadline: Duration) -> Attempt {
        let started = Instant::now();
        let in_flight = self.metrics.request_started();
        let outcome = tokio::time::timeout(deadline, self.exchange(delivery)).await;
        drop(in_flight);
        let took_ms = i32::try_from(started.elapsed().as_millis()).unwrap_or(i32::MAX);
        let attempt = Attempt { started, took_ms, outcome: outcome.unwrap_or(Err(Failure::Timeout)) };
        self.metrics.attempt_ended(&attempt);
        attempt
    }

    async fn exchange(&self, delivery: &Delivery) -> Result<Response, Failure> {
        let url = Url::parse(&delivery.url).map_err(|error| Failure::InvalidUrl(error.to_string()))?;
        // The client dials an address in a URL without asking the resolver.
        if let Some(ip) = literal_ip(&url) {
            self.egress.check(ip)?;
        }
        let sent = self.client.send(&url, |client| request(client, &url, delivery)).await;
        if sent.was_resent {
            tracing::debug!(webhook_id = delivery.event.webhook_id, "resent on a fresh connection");
            self.metrics.request_resent();
        }
        read(sent.outcome?).await.map_err(|error| Failure::of(&error))
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

fn literal_ip(url: &Url) -> Option<IpAddr> {
    match url.host()? {
        Host::Ipv4(ip) => Some(ip.into()),
        Host::Ipv6(ip) => Some(ip.into()),
        Host::Domain(_) => None,
    }
}

async fn read(mut response: reqwest::Response) -> Result<Response, reqwest::Error> {
    let status = response.status();
    let header = |name| response.headers().get(name).map(|value| clean(&String::from_utf8_lossy(value.as_bytes())));
    let retry_after = header(RETRY_AFTER);
    let location = header(LOCATION).map(|location| location.chars().take(MAX_LOCATION_CHARS).collect());
    let is_success = status.is_success();
    let mut kept = Vec::new();
    let mut read = 0;
    while read < MAX_READ_BYTES {
        let chunk = match response.chunk().await {
            Ok(Some(chunk)) => chunk,
            Ok(None) => break,
            // The status says that it failed, and with it what that leads to.
            Err(_) if !is_success => break,
            Err(broken) => return Err(broken),
        };
        read += chunk.len();
        if !is_success && kept.len() < MAX_KEPT_BYTES {
            kept.extend_from_slice(&chunk[..chunk.len().min(MAX_KEPT_BYTES - kept.len())]);
        }
    }
    let body = (!kept.is_empty()).then(|| clean(&String::from_utf8_lossy(&kept)));
    Ok(Response { status, retry_after, location, body })
}

/// The text without NUL, which Postgres does not take.
fn clean(text: &str) -> String {
    text.replace('\0', "")
}
