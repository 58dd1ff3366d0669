//! The error of a call, in the database's own words: message and hint are written for the user there.

use std::error::Error as _;
use thiserror::Error;
use tokio_postgres::error::SqlState;

/// Why a call failed.
#[derive(Debug, Error)]
#[error("{message}")]
pub struct StoreError {
    pub kind: StoreErrorKind,
    pub message: String,
    pub hint: Option<String>,
}

/// The class of an error: who has to do something about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreErrorKind {
    /// The caller: there is no such thing.
    NotFound,
    /// The caller: a value is not valid.
    Invalid,
    /// The caller: the current state does not allow it.
    Conflict,
    /// The caller: the statement took longer than it may.
    TooSlow,
    /// The operator: the extension is missing, or the role lacks a right.
    Unusable,
    /// The operator: the database cannot be reached.
    Unreachable,
    /// We: the program and the extension do not fit together, or one of them has a defect.
    Fault,
}

impl From<tokio_postgres::Error> for StoreError {
    fn from(error: tokio_postgres::Error) -> Self {
        let Some(told) = error.as_db_error() else {
            let cause = error.source();
            // A lost connection says so; any other error that the server did not report, such as a row of another form,
            // is a fault.
            let is_line = error.is_closed() || cause.is_some_and(|cause| cause.is::<std::io::Error>());
            let kind = if is_line { StoreErrorKind::Unreachable } else { StoreErrorKind::Fault };
            let message = cause.map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"));
            return Self { kind, message, hint: None };
        };
        let kind = match told.code() {
            &SqlState::UNDEFINED_OBJECT => StoreErrorKind::NotFound,
            &SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE => StoreErrorKind::Conflict,
            &SqlState::QUERY_CANCELED => StoreErrorKind::TooSlow,
            &SqlState::UNDEFINED_FUNCTION
            | &SqlState::INVALID_SCHEMA_NAME
            | &SqlState::UNDEFINED_TABLE
            | &SqlState::INSUFFICIENT_PRIVILEGE => StoreErrorKind::Unusable,
            code => match code.code().get(..2) {
                Some("22" | "23") => StoreErrorKind::Invalid,
                // For example a deadlock with a report, which the next try finds resolved.
                Some("40") => StoreErrorKind::TooSlow,
                Some("08" | "53" | "57") => StoreErrorKind::Unreachable,
                _ => StoreErrorKind::Fault,
            },
        };
        Self { kind, message: told.message().to_owned(), hint: told.hint().map(str::to_owned) }
    }
}

impl From<serde_json::Error> for StoreError {
    fn from(error: serde_json::Error) -> Self {
        let message = format!("the database answered in a form that this version does not know: {error}");
        Self {
            kind: StoreErrorKind::Fault,
            message,
            hint: Some("Are pg-webhooks and the extension of the same version?".to_owned()),
        }
    }
}
