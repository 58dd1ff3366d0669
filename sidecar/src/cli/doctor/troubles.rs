//! Which webhooks fail, since when, and which have lost messages for good.

use super::finding::Findings;
use crate::cli::connection::Connection;
use crate::cli::error::CliError;
use crate::cli::output::{self, host, when};
use crate::store::{Health, Time};

/// `webhooks.health` counts no further.
const MAX_COUNTED: i64 = 1000;

pub async fn check(connection: &Connection, findings: &mut Findings) -> Result<(), CliError> {
    let now = connection.now().await?;
    for webhook in connection.store().health(None, 1).await? {
        judge(&webhook, now, findings);
    }
    Ok(())
}

fn judge(webhook: &Health, now: Time, findings: &mut Findings) {
    let Health { id, url, pending, given_up, .. } = webhook;
    let host = host(url);
    let error = webhook.last_error.as_deref().unwrap_or("an error that is no longer in the log");
    if *given_up > 0 {
        let message = format!(
            "{id} ({host}): {} of the last hour will not be tried again, the last failure was {error}",
            counted((*given_up).into(), "delivery", "deliveries"),
        );
        let fix = format!(
            "pg-webhooks logs {id} --outcome failed; once the receiver takes them: pg-webhooks replay {id} --since 1h"
        );
        findings.problem("webhooks", message, fix);
    }
    if let Some(since) = webhook.failing_since
        && webhook.active
    {
        let waiting = counted(*pending, "delivery waits", "deliveries wait");
        let message = format!("{id} ({host}) has failed since {}, {error}: {waiting}", when(since, now));
        findings.warning("webhooks", message, format!("pg-webhooks logs {id} --outcome failed"));
    }
}

fn counted(count: i64, one: &str, many: &str) -> String {
    format!("{} {}", output::at_least(count, MAX_COUNTED), if count == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    fn found(given_up: i32, failing_since: Option<Time>) -> Vec<(Level, String)> {
        let health = serde_json::json!({
            "id": "ep_1", "url": "https://hook:secret@a.example/x?token=t", "active": true, "state": "failing", "attempts": 1,
            "delivered": 0, "p50_ms": null, "p95_ms": null, "last_attempt_at": null, "last_error": "HTTP 404",
            "last_error_at": null, "failing_since": failing_since, "pending": 1000, "next_attempt_at": null,
            "given_up": given_up, "recent_ms": [], "recent_ok": []
        });
        let mut findings = Findings::default();
        judge(&serde_json::from_value(health).unwrap(), Time::UNIX_EPOCH, &mut findings);
        findings.all().iter().map(|finding| (finding.level, finding.message.clone())).collect()
    }

    #[test]
    fn a_webhook_that_loses_messages_or_fails_is_named_with_its_host() {
        assert_eq!(found(0, None), []);
        let lost = found(1, None).remove(0);
        assert_eq!(lost.0, Level::Problem);
        assert_eq!(
            lost.1,
            "ep_1 (a.example): 1 delivery of the last hour will not be tried again, the last failure was HTTP 404"
        );
        let failing = found(0, Some(Time::UNIX_EPOCH)).remove(0);
        assert_eq!(failing.0, Level::Warning);
        assert!(failing.1.contains("ep_1 (a.example) has failed since"), "{}", failing.1);
        assert!(failing.1.ends_with("HTTP 404: 1000+ deliveries wait"), "{}", failing.1);
    }
}
