//! The connection of a command. The server's notices go to stderr.

use std::time::Duration;
use tokio_postgres::error::Severity;
use tokio_postgres::{AsyncMessage, Client};

use super::error::CliError;
use super::output::{self, Tone};
use crate::database::Database;
use crate::store::{Store, StoreError, Time};

/// Reads the connection string.
pub fn database(url: Option<&str>) -> Result<Database, CliError> {
    let url = url.ok_or_else(|| {
        CliError::usage(
            "no database was named",
            "Set DATABASE_URL or give --database-url, such as postgres://manager@localhost/shop.",
        )
    })?;
    url.parse().map_err(|error: crate::database::DatabaseError| {
        CliError::usage(error.to_string(), "A URL looks like postgres://manager@localhost/shop.")
    })
}

/// An open session with the database.
pub struct Connection {
    pub client: Client,
}

impl Connection {
    /// Connects, or says what is wrong.
    pub async fn open(database: &Database) -> Result<Self, CliError> {
        match database.open_hearing(hear).await {
            Ok((client, _)) => Ok(Self { client }),
            // The server's own message names what is wrong; if nobody answers, the address does.
            Err(error) if error.as_db_error().is_some() => Err(error.into()),
            Err(error) => Err(CliError::from(error).at(&database.address())),
        }
    }

    /// Returns the functions of the extension.
    pub fn store(&self) -> Store<&Client> {
        Store::new(&self.client)
    }

    /// Returns the time by the server's clock, which the log goes by.
    pub async fn now(&self) -> Result<Time, CliError> {
        let row = self.client.query_one("SELECT clock_timestamp()", &[]).await?;
        Ok(row.try_get(0).map_err(StoreError::from)?)
    }

    /// Returns how long an attempt may take, and so how late the log learns of it.
    pub async fn request_timeout(&self) -> Result<Duration, CliError> {
        // If nobody has set it, only a session that has used the extension knows the setting.
        let row = self.client.query_one("SELECT current_setting('pg_webhooks.request_timeout', true)", &[]).await?;
        let known: Option<String> = row.try_get(0).map_err(StoreError::from)?;
        let known = known.and_then(|text| webhooks_core::duration::parse(&text).ok());
        Ok(known.unwrap_or(Duration::from_secs(30)))
    }
}

fn hear(message: AsyncMessage) {
    if let AsyncMessage::Notice(notice) = message {
        // The severity's name is in the server's language.
        let is_warning = notice.parsed_severity() == Some(Severity::Warning);
        let tone = if is_warning { Tone::Warning } else { Tone::Dim };
        output::tell(tone, &notice.severity().to_lowercase(), notice.message(), notice.hint());
    }
}
