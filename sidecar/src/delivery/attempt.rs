//! An attempt, and what became of a delivery. Plain data: what an attempt leads to is the database's business.

use reqwest::StatusCode;
use std::sync::Arc;
use std::time::Instant;

use super::blame::Fault;
use super::event::Delivery;
use super::failure::Failure;

/// One HTTP request, and what it brought.
#[derive(Debug)]
pub struct Attempt {
    pub started: Instant,
    pub took_ms: i32,
    pub outcome: Result<Response, Failure>,
    /// Whose fault it is if there was no response.
    pub fault: Fault,
}

/// What the receiver said.
#[derive(Debug)]
pub struct Response {
    pub status: StatusCode,
    pub retry_after: Option<String>,
    /// Where a redirect leads.
    pub location: Option<String>,
    /// The beginning of the body, where the status says that the request failed.
    pub body: Option<String>,
}

impl Attempt {
    /// Whether it failed through a fault of ours: the receiver had no part in it.
    pub fn is_ours(&self) -> bool {
        self.fault == Fault::Ours
    }

    /// What failed, in the words of the log; none after a success.
    pub fn error(&self) -> Option<String> {
        match &self.outcome {
            Ok(response) => response.error(),
            Err(failure) => Some(failure.to_string()),
        }
    }
}

impl Response {
    fn error(&self) -> Option<String> {
        match &self.location {
            _ if self.status.is_success() => None,
            Some(location) if self.status.is_redirection() => Some(format!("Redirect to {location} not followed")),
            _ => {
                let reason = self.status.canonical_reason().unwrap_or_default();
                Some(format!("HTTP {} {reason}", self.status.as_u16()).trim_end().to_owned())
            }
        }
    }
}

/// What became of a delivery.
#[derive(Debug)]
pub struct Settled {
    pub delivery: Arc<Delivery>,
    pub ending: Ending,
}

/// How a delivery ended, for now or for good.
#[derive(Debug)]
pub enum Ending {
    /// It was sent, with this result.
    Attempted(Attempt),
    /// It was not sent and never will be; its event says why.
    Unreadable,
}
