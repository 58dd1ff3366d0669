//! The registered webhooks: what they lack, and whether their receivers can be reached from here. Names are resolved
//! and ports dialled as the sidecar would; an address that it would refuse is not dialled.

use std::collections::HashMap;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use url::{Host, Url};

use super::finding::Findings;
use crate::cli::connection::Connection;
use crate::cli::error::CliError;
use crate::cli::output;
use crate::delivery::egress::TargetError;
use crate::delivery::failure::Failure;
use crate::delivery::outbound::Outbound;
use crate::delivery::resolver::LookupCause;
use crate::store::EndpointRecord;

/// How many receivers are dialled at once.
const MAX_CONCURRENT_DIALS: usize = 32;

pub async fn check(connection: &Connection, outbound: &Outbound, findings: &mut Findings) -> Result<(), CliError> {
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
    let mut found: Vec<(String, Reach)> = reach(receivers.keys().cloned().collect(), outbound).await;
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

/// Whether a receiver can be reached, and how long that took.
type Reach = (Result<(), Failure>, Duration);

async fn reach(receivers: Vec<String>, outbound: &Outbound) -> Vec<(String, Reach)> {
    let mut found = Vec::new();
    let mut under_way = JoinSet::new();
    for receiver in receivers {
        if under_way.len() >= MAX_CONCURRENT_DIALS {
            found.extend(under_way.join_next().await.and_then(Result::ok));
        }
        let outbound = outbound.clone();
        under_way.spawn(async move {
            let began = Instant::now();
            let reached = match Url::parse(&receiver) {
                Ok(url) => outbound.connect(&url).await,
                Err(error) => Err(Failure::InvalidUrl(error.to_string())),
            };
            (receiver, (reached, began.elapsed()))
        });
    }
    found.extend(under_way.join_all().await);
    found
}

fn tell(receiver: &str, ids: &str, reach: Reach, findings: &mut Findings) {
    let problem = |message: String, fix: String| (format!("{receiver} ({ids}): {message}"), fix);
    let (reached, took) = reach;
    let Err(failure) = reached else {
        return findings.ok("receivers", format!("{receiver} takes a connection in {} ms", took.as_millis()));
    };
    let (message, fix) = match failure {
        Failure::Target(refusal @ TargetError::Private(ip)) => problem(
            lower_first(&refusal.to_string()),
            format!(
                "PG_WEBHOOKS_ALLOW_NETS={ip} pg-webhooks serve; if the sidecar already has it, give it to doctor, too."
            ),
        ),
        Failure::Target(refusal @ TargetError::Metadata(_)) => {
            problem(lower_first(&refusal.to_string()), "pg-webhooks webhooks update … --url …".to_owned())
        }
        Failure::Target(TargetError::Lookup(failed)) => problem(
            match failed.cause {
                LookupCause::NotFound => "its name does not resolve here".to_owned(),
                _ => failed.to_string(),
            },
            format!("getent hosts {}; pg-webhooks webhooks update … --url …", failed.name),
        ),
        failure => problem(
            format!("no connection: {failure}"),
            format!("curl -v {receiver}/, on the sidecar's machine: is the receiver up, is a firewall in between?"),
        ),
    };
    findings.problem("receivers", message, fix);
}

fn lower_first(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_lowercase().collect::<String>() + letters.as_str()).unwrap_or_default()
}
