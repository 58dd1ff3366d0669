//! What to do after a message was queued: show its id, or wait for its first attempt and show what came of it.

use clap::Args;
use serde_json::json;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use super::connection::Connection;
use super::error::{CliError, CommandResult};
use super::output::{self, Format, Tone};
use super::time;
use crate::store::DeliveryLine;

/// How long to wait between two polls.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// What to do after a message was queued.
#[derive(Args, Debug)]
pub struct Sending {
    /// Wait for the first attempt, and fail unless it succeeds
    #[arg(long)]
    wait: bool,
    /// How long to wait for it
    #[arg(long, value_name = "DURATION", default_value = "1min", value_parser = time::duration, requires = "wait")]
    timeout: Duration,
    #[command(flatten)]
    format: Format,
}

impl Sending {
    /// Shows the id of the message, or waits for its first attempt; then the exit status says whether it was delivered.
    pub async fn finish(self, connection: &Connection, webhook_id: &str) -> CommandResult {
        if !self.wait {
            self.format.answer(&json!({ "webhook_id": webhook_id }), webhook_id)?;
            return Ok(ExitCode::SUCCESS);
        }
        if !self.format.json {
            output::line(webhook_id)?;
        }
        let delivery = first_attempt(connection, webhook_id, self.timeout).await?;
        let document = json!({ "webhook_id": webhook_id, "delivery": delivery });
        self.format.answer(&document, &format_delivery(&delivery))?;
        Ok(if delivery.state == "delivered" { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

fn format_delivery(delivery: &DeliveryLine) -> String {
    let mut text = output::paint(Tone::of(&delivery.state), &delivery.state);
    // The error of an answer names the status itself.
    match (&delivery.error, delivery.http_status) {
        (Some(error), _) => text.push_str(&format!(": {}", output::tame_line(error))),
        (None, Some(status)) => text.push_str(&format!(", HTTP {status}")),
        (None, None) => {}
    }
    if let Some(next) = delivery.next_attempt_at {
        text.push_str(&format!("; next attempt at {}", time::exact(next)));
    }
    text
}

/// Waits until a message has been tried.
async fn first_attempt(connection: &Connection, webhook_id: &str, timeout: Duration) -> Result<DeliveryLine, CliError> {
    let began = Instant::now();
    let status = connection.store().status().await?;
    if status.shards_held == 0 {
        output::tell(
            Tone::Warning,
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
        // A delivery that found no slot is waiting, too, without an attempt.
        if delivery.attempts > 0 || delivery.state == "skipped" {
            return Ok(delivery);
        }
        if began.elapsed() >= timeout {
            return Err(CliError::new(
                format!("{webhook_id} was not tried within {}", humantime::format_duration(timeout)),
                "pg-webhooks doctor looks for the reason; once that is gone, the message is sent.",
            ));
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}
