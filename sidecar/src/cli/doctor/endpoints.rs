//! The registered webhooks: what they lack, and whether their receivers can be reached from here. Names are resolved
//! and ports dialled as the sidecar would; an address that it would refuse is not dialled.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use url::{Host, Url};

use super::finding::Findings;
use crate::cli::connection::Connection;
use crate::cli::error::CliError;
use crate::cli::output;
use crate::delivery::egress::{EgressPolicy, TargetError};
use crate::store::EndpointRecord;

const DIAL_TIMEOUT: Duration = Duration::from_secs(5);
/// How many receivers are dialled at once.
const MAX_CONCURRENT_DIALS: usize = 32;

pub async fn check(connection: &Connection, egress: &EgressPolicy, findings: &mut Findings) -> Result<(), CliError> {
    let webhooks = connection.store().list().await?;
    if webhooks.is_empty() {
        let fix = "pg-webhooks webhooks add https://example.com/webhooks 'product.*' --generate-secret";
        findings.warning("webhooks", "none is registered", fix);
        return Ok(());
    }
    webhooks.iter().for_each(|webhook| lacks(webhook, findings));

    let mut receivers: HashMap<String, Vec<&EndpointRecord>> = HashMap::new();
    for webhook in webhooks.iter().filter(|webhook| webhook.active) {
        receivers.entry(receiver(&webhook.url)).or_default().push(webhook);
    }
    let mut found: Vec<(String, Reach)> = reach(receivers.keys().cloned().collect(), egress).await;
    found.sort_by(|left, right| left.0.cmp(&right.0));
    for (receiver, reach) in found {
        let ids: Vec<&str> = receivers[&receiver].iter().map(|webhook| webhook.id.as_str()).collect();
        tell(&receiver, &ids.join(", "), reach, findings);
    }
    Ok(())
}

/// Finds what the registration alone tells.
fn lacks(webhook: &EndpointRecord, findings: &mut Findings) {
    let EndpointRecord { id, url, .. } = webhook;
    if !webhook.active {
        let why = webhook.disabled_reason.as_deref().unwrap_or("no reason is known");
        let message = format!("{id} is disabled ({why}): what happens meanwhile is not sent");
        findings.warning("webhooks", message, format!("pg-webhooks webhooks enable {id}"));
    }
    if !webhook.has_secret {
        let message = format!("{id} has no secret: its receiver cannot tell who sent a message");
        findings.warning("webhooks", message, format!("pg-webhooks webhooks update {id} --generate-secret"));
    }
    if let Some(rest) = url.strip_prefix("http://")
        && !is_this_machine(url)
    {
        let message = format!("{id} uses plain http: anybody on the way can read its messages");
        findings.warning(
            "webhooks",
            message,
            format!("pg-webhooks webhooks update {id} --url {}", output::shell_quoted(&format!("https://{rest}"))),
        );
    }
}

/// Whether the URL is on this machine, so that no message leaves it.
fn is_this_machine(url: &str) -> bool {
    Url::parse(url).is_ok_and(|url| match url.host() {
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    })
}

/// Returns the part of a URL that is dialled: scheme, host and port.
fn receiver(url: &str) -> String {
    Url::parse(url).map_or_else(|_| url.to_owned(), |url| url.origin().ascii_serialization())
}

/// Whether a receiver can be reached.
enum Reach {
    Connected(SocketAddr, Duration),
    Refused(TargetError),
    Failed(SocketAddr, String),
}

async fn reach(receivers: Vec<String>, egress: &EgressPolicy) -> Vec<(String, Reach)> {
    let mut found = Vec::new();
    let mut under_way = JoinSet::new();
    for receiver in receivers {
        if under_way.len() >= MAX_CONCURRENT_DIALS {
            found.extend(under_way.join_next().await.and_then(Result::ok));
        }
        let egress = egress.clone();
        under_way.spawn(async move {
            let reach = dial(&receiver, &egress).await.unwrap_or_else(Reach::Refused);
            (receiver, reach)
        });
    }
    found.extend(under_way.join_all().await);
    found
}

async fn dial(receiver: &str, egress: &EgressPolicy) -> Result<Reach, TargetError> {
    let unknown = || TargetError::Lookup(receiver.to_owned());
    let url = Url::parse(receiver).map_err(|_| unknown())?;
    let port = url.port_or_known_default().ok_or_else(unknown)?;
    let literal = match url.host().ok_or_else(unknown)? {
        Host::Domain(_) => None,
        Host::Ipv4(ip) => Some(ip.into()),
        Host::Ipv6(ip) => Some(ip.into()),
    };
    let addresses = match literal {
        Some(ip) => egress.check(ip).map(|()| vec![SocketAddr::new(ip, port)])?,
        None => {
            let host = url.host_str().ok_or_else(unknown)?;
            tokio::time::timeout(DIAL_TIMEOUT, egress.look_up(host, port)).await.map_err(|_| unknown())??
        }
    };
    let mut failed = None;
    for address in addresses {
        let began = Instant::now();
        match tokio::time::timeout(DIAL_TIMEOUT, TcpStream::connect(address)).await {
            Ok(Ok(_)) => return Ok(Reach::Connected(address, began.elapsed())),
            Ok(Err(error)) => failed = Some(Reach::Failed(address, error.to_string())),
            Err(_) => failed = Some(Reach::Failed(address, format!("no answer within {} s", DIAL_TIMEOUT.as_secs()))),
        }
    }
    failed.ok_or_else(unknown)
}

fn tell(receiver: &str, ids: &str, reach: Reach, findings: &mut Findings) {
    let problem = |message: String, fix: String| (format!("{receiver} ({ids}): {message}"), fix);
    let (message, fix) = match reach {
        Reach::Connected(address, took) => {
            return findings.ok("receivers", format!("{receiver} answers at {address} in {} ms", took.as_millis()));
        }
        Reach::Refused(refusal @ TargetError::Private(ip)) => problem(
            lower_first(&refusal.to_string()),
            format!(
                "PG_WEBHOOKS_ALLOW_NETS={ip} pg-webhooks serve; if the sidecar already has it, give it to doctor, too."
            ),
        ),
        Reach::Refused(refusal @ TargetError::Metadata(_)) => {
            problem(lower_first(&refusal.to_string()), "pg-webhooks webhooks update … --url …".to_owned())
        }
        Reach::Refused(TargetError::Lookup(host)) => problem(
            "its name does not resolve here".to_owned(),
            format!("getent hosts {host}; pg-webhooks webhooks update … --url …"),
        ),
        Reach::Failed(address, why) => problem(
            format!("no connection to {address}: {why}"),
            format!("curl -v {receiver}/, on the sidecar's machine: is the receiver up, is a firewall in between?"),
        ),
    };
    findings.problem("receivers", message, fix);
}

fn lower_first(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_lowercase().collect::<String>() + letters.as_str()).unwrap_or_default()
}
