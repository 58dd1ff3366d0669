//! One HTTP request: sends a delivery and reports what came back. No redirects, no proxies, no retries of its own,
//! never more of a response than a cap; one deadline covers connecting, the headers and the body. What a status
//! leads to is the database's business.

use anyhow::Context;
use reqwest::header::{LOCATION, RETRY_AFTER};
use reqwest::{Client, Response, StatusCode, Url};
use std::error::Error;
use std::io::{self, ErrorKind};
use std::net::IpAddr;
use std::time::{Duration, Instant};
use url::Host;

use crate::delivery::{Attempt, Delivery, TIMEOUT};
use crate::figures::Figures;
use crate::headers::RequestHeaders;
use crate::targets::{TargetError, Targets};

/// A response's body is read up to here; then the connection is dropped.
const READ_BYTES: usize = 64 * 1024;
/// What is kept of the body of a failure.
const KEPT_BYTES: usize = 1024;
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

/// What a response said.
struct Reply {
    status: StatusCode,
    retry_after: Option<String>,
    error: Option<String>,
    response: Option<String>,
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
        let attempt = match outcome {
            Ok(Ok(reply)) => Attempt {
                started,
                took_ms,
                http_status: Some(reply.status.as_u16()),
                retry_after: reply.retry_after,
                error: reply.error,
                response: reply.response,
            },
            Ok(Err(error)) => Attempt::without_response(started, took_ms, error),
            Err(_) => Attempt::without_response(started, took_ms, TIMEOUT.to_owned()),
        };
        self.figures.count(&attempt);
        attempt
    }

    async fn exchange(&self, delivery: &Delivery) -> Result<Reply, String> {
        let url = Url::parse(&delivery.url).map_err(|error| format!("Invalid URL: {error}"))?;
        // The client dials an address in a URL without asking the resolver.
        if let Some(ip) = literal_ip(&url) {
            self.targets.check(ip).map_err(|refusal| refusal.to_string())?;
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
            request.body(delivery.event.body.bytes.clone()).send().await.map_err(|error| describe(&error))?;
        read(response).await.map_err(|error| describe(&error))
    }
}

impl Attempt {
    /// An attempt that brought no response.
    pub fn without_response(started: Instant, took_ms: i32, error: String) -> Self {
        Self { started, took_ms, http_status: None, retry_after: None, error: Some(clean(&error)), response: None }
    }
}

fn literal_ip(url: &Url) -> Option<IpAddr> {
    match url.host()? {
        Host::Ipv4(ip) => Some(ip.into()),
        Host::Ipv6(ip) => Some(ip.into()),
        Host::Domain(_) => None,
    }
}

async fn read(mut response: Response) -> Result<Reply, reqwest::Error> {
    let status = response.status();
    let header = |name| response.headers().get(name).map(|value| clean(&String::from_utf8_lossy(value.as_bytes())));
    let retry_after = header(RETRY_AFTER);
    let error = match header(LOCATION) {
        _ if status.is_success() => None,
        Some(location) if status.is_redirection() => {
            let shown: String = location.chars().take(KEPT_BYTES / 4).collect();
            Some(format!("Redirect to {shown} not followed"))
        }
        _ => Some(
            format!("HTTP {} {}", status.as_u16(), status.canonical_reason().unwrap_or_default()).trim_end().to_owned(),
        ),
    };

    let mut kept = Vec::new();
    let mut read = 0;
    while read < READ_BYTES {
        let chunk = match response.chunk().await {
            Ok(Some(chunk)) => chunk,
            Ok(None) => break,
            // The refusal is known, and with it what it leads to.
            Err(_) if error.is_some() => break,
            Err(broken) => return Err(broken),
        };
        read += chunk.len();
        if error.is_some() && kept.len() < KEPT_BYTES {
            kept.extend_from_slice(&chunk[..chunk.len().min(KEPT_BYTES - kept.len())]);
        }
    }
    let response = (!kept.is_empty()).then(|| clean(&String::from_utf8_lossy(&kept)));
    Ok(Reply { status, retry_after, error, response })
}

/// Text that Postgres takes.
fn clean(text: &str) -> String {
    text.replace('\0', "")
}

/// A short, stable sentence for what went wrong.
fn describe(error: &reqwest::Error) -> String {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    let mut innermost = error.to_string();
    while let Some(current) = cause {
        if let Some(known) = known(current) {
            return known;
        }
        innermost = current.to_string();
        cause = current.source();
    }
    if innermost.contains("before message completed") {
        "Connection closed without a response".to_owned()
    } else {
        innermost
    }
}

fn known(error: &(dyn Error + 'static)) -> Option<String> {
    if let Some(refusal) = error.downcast_ref::<TargetError>() {
        return Some(refusal.to_string());
    }
    if let Some(tls) = error.downcast_ref::<rustls::Error>() {
        return Some(format!("TLS error: {tls}"));
    }
    let io = error.downcast_ref::<io::Error>()?;
    // An io::Error that wraps another error is not among its sources itself.
    if let Some(inner) = io.get_ref() {
        return known(inner).or_else(|| {
            (io.kind() == ErrorKind::UnexpectedEof).then(|| "Connection closed without a response".to_owned())
        });
    }
    match io.kind() {
        ErrorKind::ConnectionRefused => Some("Connection refused".to_owned()),
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => Some("Connection reset".to_owned()),
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => Some("Host unreachable".to_owned()),
        ErrorKind::TimedOut => Some("Connection timed out".to_owned()),
        _ => None,
    }
}
