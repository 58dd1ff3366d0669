//! `pg-webhooks webhooks`: registering webhooks and looking after them.

use clap::{Args, Subcommand};
use serde_json::json;
use std::process::ExitCode;
use std::time::Duration;

use super::connection::Connection;
use super::error::{CliError, CommandResult};
use super::limits::Limits;
use super::output::{self, Format, Table, Tone, cell};
use super::secret::{self, NewSecret};
use super::wait::Sending;
use super::{prompt, time};
use crate::store::Registration;

#[derive(Subcommand, Debug)]
pub enum Webhooks {
    /// List the registered webhooks and their state
    List(Format),
    /// Register a webhook; prints its id
    Add(Add),
    /// Change a webhook; what is not given stays as it is
    Update(Update),
    /// Delete a webhook and its pending deliveries
    Remove(Remove),
    /// Send a test message to a webhook
    Test(Test),
    /// Enable a webhook; its pending deliveries go out
    Enable(Switch),
    /// Disable a webhook; its pending deliveries wait until it is enabled
    Disable(Switch),
    /// Replace the secret; for a while receivers may keep using the previous one
    Rotate(Rotate),
}

#[derive(Args, Debug)]
pub struct Add {
    /// URL to send to
    #[arg(value_name = "URL")]
    url: String,
    /// Events to send: names such as product.updated, families such as product.*, or *
    #[arg(value_name = "EVENT", required = true, value_delimiter = ',')]
    events: Vec<String>,
    #[command(flatten)]
    secret: NewSecret,
    /// Register it disabled
    #[arg(long)]
    inactive: bool,
    /// What it is for
    #[arg(long)]
    description: Option<String>,
    #[command(flatten)]
    limits: Limits,
    #[command(flatten)]
    format: Format,
}

#[derive(Args, Debug)]
pub struct Update {
    /// Id of the webhook, ep_…
    #[arg(value_name = "EP")]
    endpoint_id: String,
    /// URL to send to
    #[arg(long)]
    url: Option<String>,
    /// Events to send, instead of the previous ones; may be given several times
    #[arg(long = "event", value_name = "EVENT", value_delimiter = ',')]
    events: Vec<String>,
    #[command(flatten)]
    secret: NewSecret,
    /// Send without signatures from now on
    #[arg(long, conflicts_with_all = ["secret", "secret_stdin", "generate_secret"])]
    no_secret: bool,
    /// What it is for
    #[arg(long)]
    description: Option<String>,
    #[command(flatten)]
    limits: Limits,
    #[command(flatten)]
    format: Format,
}

#[derive(Args, Debug)]
pub struct Remove {
    /// Id of the webhook, ep_…
    #[arg(value_name = "EP")]
    endpoint_id: String,
    /// Do not ask for confirmation
    #[arg(long, short)]
    yes: bool,
    #[command(flatten)]
    format: Format,
}

#[derive(Args, Debug)]
pub struct Test {
    /// Id of the webhook, ep_…
    #[arg(value_name = "EP")]
    endpoint_id: String,
    #[command(flatten)]
    sending: Sending,
}

#[derive(Args, Debug)]
pub struct Switch {
    /// Id of the webhook, ep_…
    #[arg(value_name = "EP")]
    endpoint_id: String,
    #[command(flatten)]
    format: Format,
}

#[derive(Args, Debug)]
pub struct Rotate {
    /// Id of the webhook, ep_…
    #[arg(value_name = "EP")]
    endpoint_id: String,
    /// How long both secrets sign the webhook-signature header
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = time::duration)]
    overlap: Duration,
    /// Read the new secret from the first line of stdin instead of generating one
    #[arg(long)]
    secret_stdin: bool,
    #[command(flatten)]
    format: Format,
}

impl Webhooks {
    pub async fn run(self, connection: &Connection) -> CommandResult {
        match self {
            Self::List(format) => list(connection, format).await,
            Self::Add(add) => add.run(connection).await,
            Self::Update(update) => update.run(connection).await,
            Self::Remove(remove) => remove.run(connection).await,
            Self::Test(Test { endpoint_id, sending }) => {
                let webhook_id = connection.store().test(&endpoint_id).await?;
                sending.finish(connection, &webhook_id).await
            }
            Self::Enable(switch) => switch.run(connection, true).await,
            Self::Disable(switch) => switch.run(connection, false).await,
            Self::Rotate(rotate) => rotate.run(connection).await,
        }
    }
}

async fn list(connection: &Connection, format: Format) -> CommandResult {
    let webhooks = connection.store().list().await?;
    if format.json {
        output::json(&webhooks)?;
        return Ok(ExitCode::SUCCESS);
    }
    if webhooks.is_empty() {
        output::note("no webhooks; pg-webhooks webhooks add URL EVENT registers one");
        return Ok(ExitCode::SUCCESS);
    }
    let health = connection.store().health(None, 100).await?;
    let mut table = Table::new(&["ID", "STATE", "EVENTS", "URL"]).whole(&[0, 1]);
    for webhook in webhooks {
        let state = health.iter().find(|one| one.id == webhook.id).map_or("", |one| &one.state);
        let mut url = webhook.url;
        if !webhook.has_secret {
            url.push_str(" (unsigned)");
        }
        if let Some(why) = webhook.disabled_reason {
            url.push_str(&format!(" ({why})"));
        }
        if let Some(description) = webhook.description {
            url.push_str(&format!(" – {description}"));
        }
        table.row(vec![webhook.id.into(), cell(Tone::of(state), state), webhook.events.join(", ").into(), url.into()]);
    }
    table.print()?;
    Ok(ExitCode::SUCCESS)
}

impl Add {
    async fn run(self, connection: &Connection) -> CommandResult {
        let secret = self.secret.take(connection.store()).await?;
        let new = Registration {
            url: Some(&self.url),
            events: Some(&self.events),
            secret: secret.as_ref().map(|secret| &*secret.text),
            active: Some(!self.inactive),
            description: self.description.as_deref(),
            options: self.limits.options(),
        };
        let id = connection.store().register(&new).await?;
        match secret.filter(|secret| secret.is_new) {
            Some(secret) if self.format.json => output::json(&json!({ "id": id, "secret": secret.text }))?,
            Some(secret) => secret::show(&format!("registered {id}"), &secret.text)?,
            None => self.format.answer(&json!({ "id": id }), &id)?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Update {
    async fn run(self, connection: &Connection) -> CommandResult {
        let options = self.limits.options();
        if self.url.is_none()
            && self.events.is_empty()
            && !self.secret.is_given()
            && !self.no_secret
            && self.description.is_none()
            && options.is_none()
        {
            return Err(CliError::usage(
                "there is nothing to change",
                "Give --url, --event, --secret-stdin, --generate-secret, --no-secret, --description, --max-in-flight, \
                 --max-per-second or --timeout.",
            ));
        }
        // Refuses an unknown id before stdin is read.
        connection.store().get(&self.endpoint_id).await?;
        let secret = self.secret.take(connection.store()).await?;
        let change = Registration {
            url: self.url.as_deref(),
            events: (!self.events.is_empty()).then_some(&self.events),
            secret: if self.no_secret { Some("") } else { secret.as_ref().map(|secret| &*secret.text) },
            active: None,
            description: self.description.as_deref(),
            options,
        };
        connection.store().update(&self.endpoint_id, &change).await?;
        let made = secret.filter(|secret| secret.is_new);
        show_changed(connection, &self.endpoint_id, "updated", made.map(|secret| secret.text), self.format).await
    }
}

/// Shows what became of a webhook; a generated secret is alone on stdout.
async fn show_changed(
    connection: &Connection,
    endpoint_id: &str,
    what: &str,
    secret: Option<String>,
    format: Format,
) -> CommandResult {
    if format.json {
        let mut webhook =
            serde_json::to_value(connection.store().get(endpoint_id).await?).map_err(std::io::Error::from)?;
        if let Some(secret) = secret {
            webhook["secret"] = secret.into();
        }
        output::json(&webhook)?;
    } else if let Some(secret) = secret {
        secret::show(&format!("{what} {endpoint_id}"), &secret)?;
    } else {
        output::line(&format!("{what} {endpoint_id}"))?;
    }
    Ok(ExitCode::SUCCESS)
}

impl Remove {
    async fn run(self, connection: &Connection) -> CommandResult {
        let webhook = connection.store().get(&self.endpoint_id).await?;
        if !self.yes {
            if !prompt::is_possible() {
                return Err(CliError::usage("there is no terminal to confirm it on", "--yes deletes without asking."));
            }
            let waiting =
                connection.store().health(Some(&self.endpoint_id), 1).await?.first().map_or(0, |one| one.pending);
            let waiting =
                if waiting > 0 { format!(" and the {waiting} messages that wait for it") } else { String::new() };
            if !prompt::confirm(&format!("Delete the webhook {}{waiting}?", output::tame_line(&webhook.url))).await? {
                return Err(CliError::new("nothing was deleted", "Answer y to delete it."));
            }
        }
        connection.store().delete(&self.endpoint_id).await?;
        self.format.answer(
            &json!({ "id": webhook.id, "url": webhook.url, "deleted": true }),
            &format!("deleted {} ({})", webhook.id, output::tame_line(&webhook.url)),
        )?;
        Ok(ExitCode::SUCCESS)
    }
}

impl Switch {
    async fn run(self, connection: &Connection, active: bool) -> CommandResult {
        let change = Registration { active: Some(active), ..Registration::default() };
        connection.store().update(&self.endpoint_id, &change).await?;
        let what = if active { "enabled" } else { "disabled" };
        show_changed(connection, &self.endpoint_id, what, None, self.format).await
    }
}

impl Rotate {
    async fn run(self, connection: &Connection) -> CommandResult {
        connection.store().get(&self.endpoint_id).await?;
        let given = if self.secret_stdin { Some(secret::from_stdin().await?) } else { None };
        let overlap_s = i64::try_from(self.overlap.as_secs()).unwrap_or(i64::MAX);
        let made = connection.store().rotate_secret(&self.endpoint_id, given.as_deref(), overlap_s).await?;
        show_changed(connection, &self.endpoint_id, "rotated", made, self.format).await
    }
}
