//! `pg-webhooks tokens`: the tokens of the REST API.

use clap::{Args, Subcommand};
use serde_json::json;
use std::process::ExitCode;
use std::time::Duration;

use super::connection::Connection;
use super::error::{CliError, CommandResult};
use super::output::{self, Format, Table, Tone, cell, when};
use super::time;

#[derive(Subcommand, Debug)]
pub enum Tokens {
    /// List the tokens and when each was last used
    List(Format),
    /// Create a token; it is printed once, alone on stdout
    Create(Create),
    /// Revoke a token
    Revoke(Revoke),
}

#[derive(Args, Debug)]
pub struct Create {
    /// Who or what it is for
    #[arg(value_name = "NAME")]
    name: String,
    /// Let it change things, not only read them
    #[arg(long)]
    manage: bool,
    /// How long it is valid, such as 90d; forever unless given
    #[arg(long, value_name = "DURATION", value_parser = time::duration)]
    expires: Option<Duration>,
    #[command(flatten)]
    format: Format,
}

#[derive(Args, Debug)]
pub struct Revoke {
    /// Id of the token, tk_…, or the token itself
    #[arg(value_name = "ID")]
    token_id: String,
    #[command(flatten)]
    format: Format,
}

impl Tokens {
    pub async fn run(self, connection: &Connection) -> CommandResult {
        match self {
            Self::List(format) => list(connection, format).await?,
            Self::Create(create) => create.run(connection).await?,
            Self::Revoke(revoke) => revoke.run(connection).await?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

async fn list(connection: &Connection, format: Format) -> Result<(), CliError> {
    let tokens = connection.store().tokens().await?;
    if format.json {
        return Ok(output::json(&tokens)?);
    }
    if tokens.is_empty() {
        output::note("no tokens; pg-webhooks tokens create NAME makes one");
        return Ok(());
    }
    let now = connection.now().await?;
    let titles = ["ID", "NAME", "ROLE", "STATE", "EXPIRES", "LAST_USED"];
    let mut table = Table::new(&titles).whole(&[0, 2, 3, 4, 5]);
    for token in tokens {
        let time = |time: Option<_>, none: &str| time.map_or_else(|| none.to_owned(), |time| when(time, now));
        table.row(vec![
            token.id.into(),
            token.name.into(),
            token.role.into(),
            cell(Tone::of(&token.state), &token.state),
            time(token.expires_at, "never").into(),
            time(token.last_used_at, "never").into(),
        ]);
    }
    Ok(table.print()?)
}

impl Create {
    async fn run(self, connection: &Connection) -> Result<(), CliError> {
        let role = if self.manage { "manage" } else { "read" };
        let expires = match self.expires {
            Some(duration) => Some(
                time::after(connection.now().await?, duration)
                    .map_err(|why| CliError::usage(format!("--expires is {why}"), "For example 90d."))?,
            ),
            None => None,
        };
        let token = connection.store().create_token(&self.name, role, expires).await?;
        if self.format.json {
            output::json(&json!({ "name": self.name, "role": role, "expires_at": expires, "token": token }))?;
        } else {
            output::note(&format!("created a token that may {role}; it is shown only this once:"));
            output::bytes(format!("{token}\n").as_bytes())?;
        }
        Ok(())
    }
}

impl Revoke {
    async fn run(self, connection: &Connection) -> Result<(), CliError> {
        connection.store().revoke_token(&self.token_id).await?;
        // The argument is not repeated: it may be the token itself.
        Ok(self.format.answer(&json!({ "revoked": true }), "revoked")?)
    }
}
