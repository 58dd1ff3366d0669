//! The error of a command: a message and a hint on stderr, and an exit status.

use std::io;
use std::process::ExitCode;
use thiserror::Error;

use super::output;
use crate::store::{StoreError, StoreErrorKind};

/// `EX_USAGE` of sysexits.h.
const EX_USAGE: u8 = 64;

/// The exit status of a command, or why it failed.
pub type CommandResult = Result<ExitCode, CliError>;

/// Why a command failed.
#[derive(Debug, Error)]
pub enum CliError {
    #[error("{message}")]
    Message { status: u8, message: String, hint: Option<String> },
    /// The reader of stdout has gone, so there is nothing more to do.
    #[error("nobody reads stdout")]
    BrokenPipe,
}

impl CliError {
    /// The call was wrong; status 64.
    pub fn usage(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Message { status: EX_USAGE, message: message.into(), hint: Some(hint.into()) }
    }

    /// Something else failed; status 1.
    pub fn new(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Message { status: 1, message: message.into(), hint: Some(hint.into()) }
    }

    /// Puts the place where it happened in front of the message.
    pub fn at(self, place: &str) -> Self {
        match self {
            Self::Message { status, message, hint } => {
                Self::Message { status, message: format!("{place}: {message}"), hint }
            }
            Self::BrokenPipe => Self::BrokenPipe,
        }
    }

    /// Prints the error, and returns the exit status.
    pub fn report(self) -> ExitCode {
        let Self::Message { status, message, hint } = self else { return ExitCode::SUCCESS };
        output::tell(output::Tone::Bad, "error", &message, hint.as_deref());
        ExitCode::from(status)
    }
}

impl From<StoreError> for CliError {
    fn from(error: StoreError) -> Self {
        let StoreError { kind, message, hint } = error;
        let hint = hint.or_else(|| {
            (kind == StoreErrorKind::Unusable).then(|| {
                "Is the extension in this database, and the role a member of webhooks_admin? pg-webhooks doctor says."
                    .to_owned()
            })
        });
        Self::Message { status: 1, message, hint }
    }
}

impl From<tokio_postgres::Error> for CliError {
    fn from(error: tokio_postgres::Error) -> Self {
        StoreError::from(error).into()
    }
}

impl From<io::Error> for CliError {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::BrokenPipe;
        }
        Self::Message { status: 1, message: error.to_string(), hint: None }
    }
}
