//! `pg-webhooks events` lists messages, `pg-webhooks event` shows one in detail.

use clap::Args;
use serde_json::Value;
use std::process::ExitCode;

use super::connection::Connection;
use super::error::CommandResult;
use super::logs;
use super::output::{self, Format, Table, Tone, cell, paint, when};
use super::time::{self, Moment};
use crate::store::{AttemptFilter, AttemptLine, DeliveryLine, EventFilter, Message, Time};

/// More attempts than a message ever has.
const MAX_ATTEMPTS: i32 = 10_000;

#[derive(Args, Debug)]
pub struct Events {
    /// Only this event, such as product.updated, or family, such as product.*
    #[arg(long)]
    event: Option<String>,
    /// Only messages for this webhook, ep_…
    #[arg(long, value_name = "EP")]
    endpoint: Option<String>,
    /// Only in this state: queued, waiting, delivered, failed or skipped
    #[arg(long)]
    state: Option<String>,
    /// Not before this time: RFC 3339, or a duration ago, such as 2h
    #[arg(long, value_name = "TIME")]
    since: Option<Moment>,
    /// Before this time
    #[arg(long, value_name = "TIME")]
    until: Option<Moment>,
    /// At most the newest N
    #[arg(long, short = 'n', value_name = "N", default_value = "50", value_parser = clap::value_parser!(i32).range(0..))]
    limit: i32,
    #[command(flatten)]
    format: Format,
}

#[derive(Args, Debug)]
pub struct Event {
    /// Id of the message, wh_…
    #[arg(value_name = "WH")]
    webhook_id: String,
    /// Print the exact bytes of the body and nothing else
    #[arg(long, conflicts_with = "json")]
    body: bool,
    #[command(flatten)]
    format: Format,
}

impl Events {
    pub async fn run(self, connection: &Connection) -> CommandResult {
        let now = connection.now().await?;
        let filter = EventFilter {
            event: self.event.as_deref(),
            endpoint_id: self.endpoint.as_deref(),
            state: self.state.as_deref(),
            since: self.since.map(|since| since.resolve(now)),
            until: self.until.map(|until| until.resolve(now)),
            before: None,
        };
        let mut events = connection.store().events(&filter, self.limit).await?;
        events.reverse();
        if self.format.json {
            output::json(&events)?;
            return Ok(ExitCode::SUCCESS);
        }
        if events.is_empty() {
            output::note("no messages");
            return Ok(ExitCode::SUCCESS);
        }
        let mut table =
            Table::new(&["WEBHOOK_ID", "EVENT", "OCCURRED", "STATE", "DELIVERED"]).whole(&[0, 2, 3, 4]).numbers(&[4]);
        for event in events {
            table.row(vec![
                event.webhook_id.into(),
                event.event.into(),
                when(event.occurred_at, now).into(),
                cell(Tone::of(&event.state), &event.state),
                format!("{}/{}", event.delivered, event.deliveries).into(),
            ]);
        }
        table.print()?;
        Ok(ExitCode::SUCCESS)
    }
}

impl Event {
    pub async fn run(self, connection: &Connection) -> CommandResult {
        let message = connection.store().message(&self.webhook_id).await?;
        if self.body {
            output::bytes(message.body.as_bytes())?;
            return Ok(ExitCode::SUCCESS);
        }
        let deliveries = connection.store().deliveries(&self.webhook_id).await?;
        let filter = AttemptFilter { webhook_id: Some(&self.webhook_id), ..AttemptFilter::default() };
        let mut attempts = connection.store().attempts(&filter, MAX_ATTEMPTS).await?;
        attempts.reverse();
        if self.format.json {
            let Message { event, occurred_at, body } = message;
            output::json(&serde_json::json!({
                "webhook_id": self.webhook_id, "event": event, "occurred_at": occurred_at, "body": body,
                "deliveries": deliveries, "attempts": attempts,
            }))?;
        } else {
            self.show(&message, deliveries, attempts, connection.now().await?)?;
        }
        Ok(ExitCode::SUCCESS)
    }

    fn show(
        &self,
        message: &Message,
        deliveries: Vec<DeliveryLine>,
        attempts: Vec<AttemptLine>,
        now: Time,
    ) -> std::io::Result<()> {
        output::line(&format!("{}  {}", paint(Tone::Strong, &message.event), self.webhook_id))?;
        output::line(&format!(
            "{} ({})\n",
            time::exact(message.occurred_at),
            time::relative(message.occurred_at, now)
        ))?;
        let pretty = serde_json::from_str::<Value>(&message.body).and_then(|body| serde_json::to_string_pretty(&body));
        output::line(&output::tame(&pretty.unwrap_or_else(|_| message.body.clone())))?;

        output::line(&format!("\n{}", paint(Tone::Strong, "Deliveries")))?;
        let mut table = Table::new(&["ENDPOINT_ID", "STATE", "ATTEMPTS", "URL"]).whole(&[0, 1, 2]).numbers(&[2]);
        for delivery in deliveries {
            let mut state = delivery.state.clone();
            if let Some(next) = delivery.next_attempt_at {
                state.push_str(&format!(" ({})", when(next, now)));
            }
            table.row(vec![
                delivery.endpoint_id.into(),
                cell(Tone::of(&delivery.state), &state),
                delivery.attempts.into(),
                if delivery.active { delivery.url } else { format!("{} (disabled)", delivery.url) }.into(),
            ]);
        }
        table.print()?;

        output::line(&format!("\n{}", paint(Tone::Strong, "Attempts")))?;
        if attempts.is_empty() {
            return output::line("none yet");
        }
        attempts
            .iter()
            .try_for_each(|attempt| output::line(&logs::format_attempt(attempt, &attempt.endpoint_id, output::width())))
    }
}
