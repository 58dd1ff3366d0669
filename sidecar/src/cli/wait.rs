//! Waiting for a message's first attempt at one webhook, and showing what came of it.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use super::connection::Connection;
use super::error::{CliError, CommandResult};
use super::output;
use crate::store::DeliveryLine;

/// How long to wait between two looks.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Waits until a message has been tried. Success is that it was delivered.
pub async fn first_attempt(connection: &Connection, webhook_id: &str, patience: Duration, json: bool) -> CommandResult {
    let delivery = tried(connection, webhook_id, patience).await?;
    let was_delivered = delivery.state == "delivered";
    if json {
        output::json(&serde_json::json!({ "webhook_id": webhook_id, "delivery": delivery }))?;
    } else {
        output::line(&format_delivery(&delivery))?;
    }
    Ok(if was_delivered { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn format_delivery(delivery: &DeliveryLine) -> String {
    let mut text = output::paint(output::Tone::of(&delivery.state), &delivery.state);
    // An error that is an answer's names the status itself.
    match (&delivery.error, delivery.http_status) {
        (Some(error), _) => text.push_str(&format!(": {}", output::tame_line(error))),
        (None, Some(status)) => text.push_str(&format!(", HTTP {status}")),
        (None, None) => {}
    }
    if let Some(next) = delivery.next_attempt_at {
        text.push_str(&format!("; next attempt at {}", super::time::exact(next)));
    }
    text
}

async fn tried(connection: &Connection, webhook_id: &str, patience: Duration) -> Result<DeliveryLine, CliError> {
    let began = Instant::now();
    let status = connection.store().status().await?;
    if status.shards_held == 0 {
        output::tell(
            output::Tone::Warning,
            "warning",
            "no sidecar is running, so nothing is sent",
            Some("pg-webhooks serve starts one."),
        );
    }
    loop {
        let delivery =
            connection.store().deliveries(webhook_id).await?.pop().ok_or_else(|| {
                CliError::new("the webhook was deleted", "pg-webhooks webhooks list shows the others.")
            })?;
        // One that had no room is waiting, and was not tried yet.
        if delivery.attempts > 0 || delivery.state == "skipped" {
            return Ok(delivery);
        }
        if began.elapsed() >= patience {
            return Err(CliError::new(
                format!("{webhook_id} was not tried within {}", humantime::format_duration(patience)),
                "pg-webhooks doctor looks for the reason; once that is gone, the message is sent.",
            ));
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}
