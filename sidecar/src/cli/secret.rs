//! Secrets of webhooks: where a new one comes from, and how a generated one is shown, once and alone on stdout. A
//! secret that the user gives is never shown.

use clap::Args;
use std::io;
use tokio_postgres::Client;

use super::error::CliError;
use super::{output, prompt};
use crate::store::Store;

#[derive(Args, Debug)]
#[group(multiple = false)]
pub struct NewSecret {
    /// Secret to sign with; other users of this machine can see arguments, so prefer --secret-stdin
    #[arg(long, value_name = "SECRET")]
    secret: Option<String>,
    /// Read the secret from the first line of stdin
    #[arg(long)]
    secret_stdin: bool,
    /// Generate a secret; it is printed once, alone on stdout
    #[arg(long)]
    generate_secret: bool,
}

/// A secret to set, and whether it was generated.
pub struct Secret {
    pub text: String,
    pub is_new: bool,
}

impl NewSecret {
    pub fn is_given(&self) -> bool {
        self.secret.is_some() || self.secret_stdin || self.generate_secret
    }

    /// Returns the secret that the flags ask for, if any.
    pub async fn take(self, store: Store<&Client>) -> Result<Option<Secret>, CliError> {
        if self.generate_secret {
            return Ok(Some(Secret { text: store.generate_secret().await?, is_new: true }));
        }
        let given = if self.secret_stdin { Some(from_stdin().await?) } else { self.secret };
        Ok(given.map(|text| Secret { text, is_new: false }))
    }
}

/// Shows a generated secret, alone on stdout.
pub fn show(what: &str, secret: &str) -> io::Result<()> {
    output::note(&format!("{what}; its secret, shown only this once:"));
    output::bytes(format!("{secret}\n").as_bytes())
}

/// Reads a secret from the first line of stdin.
pub async fn from_stdin() -> Result<String, CliError> {
    let line = prompt::line_of_stdin().await?;
    if line.is_empty() {
        return Err(CliError::usage(
            "stdin holds no secret",
            "For example: pass show shop/webhook | pg-webhooks webhooks add … --secret-stdin",
        ));
    }
    Ok(line)
}
