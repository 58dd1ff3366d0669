//! One HTTP request: sends a delivery and reports what came back. No redirects, no proxies, no retries of its own,
//! never more of a response than a cap; one deadline covers connecting, the headers and the body. What a status
//! leads to is the database's business.

use anyhow::Context;
use reqwest::header::{LOCATION, RETRY_AFTER};
use reqwest::{Client, Url};
use std::net::IpAddr;
use std::time::{Duration, Instant};
use url::Host;

use crate::delivery::{Attempt, Delivery, Response};
use crate::failure::Failure;
use crate::figures::Figures;
use crate::headers::RequestHeaders;
use crate::targets::Targets;

/// A response's body is read up to here; then the connection is dropped.
const READ_BYTES: usize = 64 * 1024;
/// What is kept of the body of a failure.
const KEPT_BYTES: usize = 1024;
/// What is kept of where a redirect leads.
const KEPT_LOCATION_CHARS: usize = 256;
/// Below the five seconds after which Node, and others like it, close an idle connection: the request that meets a
/// closing one fails.
const IDLE: Duration = Duration::from_secs(4);

/// Sends; cheap to clone.
#[derive(Clone)]
pub struct Courier {
    client: Client,
    targets: Targets,
    figures: Figures,
}

impl Courier {
    /// One shared client, with keep-alive for `connections` to each host.
    pub fn new(targets: Targets, connections: usize) -> anyhow::Result<Self> {
        let client = Client::builder()
            .dns_resolver(std::sync::Arc::new(targets.clone()))
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .tcp_nodelay(true)
            .pool_max_idle_per_host(connections)
            .pool_idle_timeout(IDLE)
            .build()
            .context("cannot set the HTTP client up")?;
        Ok(Self { client, targets, figures: Figures::new() })
    }

    /// One attempt, over within `deadline`.
    pub async fn send(&self, delivery: &Delivery, deadline: Duration) -> Attempt {
        let started = Instant::now();
        let flying = self.figures.take_off();
        let outcome = tokio::time::timeout(deadline, self.exchange(delivery)).await;
        drop(flying);
        let took_ms = i32::try_from(started.elapsed().as_millis()).unwrap_or(i32::MAX);
        let attempt = Attempt { started, took_ms, outcome: outcome.unwrap_or(Err(Failure::Timeout)) };
        self.figures.count(&attempt);
        attempt
    }

    async fn exchange(&self, delivery: &Delivery) -> Result<Response, Failure> {
        let url = Url::parse(&delivery.url).map_err(|error| Failure::InvalidUrl(error.to_string()))?;
        // The client dials an address in a URL without asking the resolver.
        if let Some(ip) = literal_ip(&url) {
            self.targets.check(ip)?;
        }
        let headers = RequestHeaders {
            webhook_id: &delivery.event.webhook_id,
            signed_at: Some(delivery.signed_at),
            signature: delivery.signature.as_deref(),
            signature_v1: delivery.signature_v1.as_deref(),
        };
        let request =
            headers.each().fold(self.client.post(url), |request, (name, value)| request.header(name, &*value));
        let response =
            request.body(delivery.event.body.bytes.clone()).send().await.map_err(|error| Failure::of(&error))?;
        read(response).await.map_err(|error| Failure::of(&error))
    }
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
    let location = header(LOCATION).map(|location| location.chars().take(KEPT_LOCATION_CHARS).collect());
    let is_success = status.is_success();
    let mut kept = Vec::new();
    let mut read = 0;
    while read < READ_BYTES {
        let chunk = match response.chunk().await {
            Ok(Some(chunk)) => chunk,
            Ok(None) => break,
            // The refusal is known, and with it what it leads to.
            Err(_) if !is_success => break,
            Err(broken) => return Err(broken),
        };
        read += chunk.len();
        if !is_success && kept.len() < KEPT_BYTES {
            kept.extend_from_slice(&chunk[..chunk.len().min(KEPT_BYTES - kept.len())]);
        }
    }
    let body = (!kept.is_empty()).then(|| clean(&String::from_utf8_lossy(&kept)));
    Ok(Response { status, retry_after, location, body })
}

/// Text that Postgres takes.
fn clean(text: &str) -> String {
    text.replace('\0', "")
}
