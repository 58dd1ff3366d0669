//! `pg-webhooks redeliver` sends a message again, `pg-webhooks retry` sends what waits, `pg-webhooks trigger` a sample.

use clap::Args;
use serde_json::json;
use std::process::ExitCode;

use super::connection::Connection;
use super::error::CommandResult;
use super::output::Format;
use super::wait::Sending;

#[derive(Args, Debug)]
pub struct Redeliver {
    /// Id of the message, wh_…
    #[arg(value_name = "WH")]
    webhook_id: String,
    /// Only to this webhook, instead of all that it was for
    #[arg(long, value_name = "EP")]
    to: Option<String>,
    #[command(flatten)]
    format: Format,
}

#[derive(Args, Debug)]
pub struct Retry {
    /// Id of the webhook, ep_…
    #[arg(value_name = "EP")]
    endpoint_id: String,
    /// Only this message, wh_…, instead of all that wait
    #[arg(value_name = "WH")]
    webhook_id: Option<String>,
    #[command(flatten)]
    format: Format,
}

#[derive(Args, Debug)]
pub struct Trigger {
    /// A built-in event such as product.updated
    #[arg(value_name = "EVENT")]
    event: String,
    /// Id of the webhook, ep_…; it need not subscribe to the event
    #[arg(value_name = "EP")]
    endpoint_id: String,
    #[command(flatten)]
    sending: Sending,
}

impl Redeliver {
    pub async fn run(self, connection: &Connection) -> CommandResult {
        let queued = connection.store().redeliver(&self.webhook_id, self.to.as_deref()).await?;
        let deliveries = if queued == 1 { "delivery" } else { "deliveries" };
        self.format.answer(
            &json!({ "webhook_id": self.webhook_id, "queued": queued }),
            &format!("queued {queued} {deliveries} of {}", self.webhook_id),
        )?;
        Ok(ExitCode::SUCCESS)
    }
}

impl Retry {
    pub async fn run(self, connection: &Connection) -> CommandResult {
        let count = connection.store().retry(&self.endpoint_id, self.webhook_id.as_deref()).await?;
        let deliveries = if count == 1 { "delivery is" } else { "deliveries are" };
        self.format.answer(
            &json!({ "endpoint_id": self.endpoint_id, "deliveries": count }),
            &format!("{count} {deliveries} due now for {}", self.endpoint_id),
        )?;
        Ok(ExitCode::SUCCESS)
    }
}

impl Trigger {
    pub async fn run(self, connection: &Connection) -> CommandResult {
        let webhook_id = connection.store().trigger(&self.endpoint_id, &self.event).await?;
        self.sending.finish(connection, &webhook_id).await
    }
}
