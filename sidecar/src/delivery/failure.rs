//! Why an attempt brought no response. It stays a kind, for code to tell apart, until the database takes its text.

use std::error::Error;
use std::io::{self, ErrorKind};
use std::iter::successors;
use thiserror::Error;

use super::egress::TargetError;
use super::resolver::LookupCause;

/// What went wrong. The texts are stable: the page translates them.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum Failure {
    /// The deadline of the attempt has passed.
    #[error("Request timeout")]
    Timeout,
    /// The deadline has passed while the process stood still: suspended, or without processor time.
    #[error("Not sent in time: this process stood still")]
    StoodStill,
    #[error("Invalid URL: {0}")]
    InvalidUrl(String),
    /// The name does not resolve, or the address may not be dialled.
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error("Connection refused")]
    Refused,
    #[error("Connection timed out")]
    ConnectTimeout,
    #[error("Host unreachable")]
    Unreachable,
    /// This machine had no file, port, memory or network for a connection.
    #[error("Not sent: {0}")]
    Local(String),
    /// The proxy that the operator set cannot be reached.
    #[error("No connection to the proxy: {0}")]
    Proxy(String),
    /// The proxy opened no connection to the receiver.
    #[error("The proxy opened no connection: {0}")]
    Tunnel(String),
    #[error("TLS error: {0}")]
    Tls(rustls::Error),
    #[error("Connection reset")]
    Reset,
    #[error("Connection closed without a response")]
    Closed,
    /// The request's task panicked.
    #[error("Internal error")]
    Internal,
    /// Something else, in the words of the innermost cause.
    #[error("{0}")]
    Other(String),
}

/// What the system says when it has nothing left to connect with, or no way out.
const LOCAL_ERRORS: [i32; 7] =
    [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM, libc::ENETUNREACH, libc::ENETDOWN, libc::EADDRNOTAVAIL];

/// Who a failure speaks against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// This machine alone.
    Us,
    /// The receiver or its registration, and it says nothing of our way out.
    Them,
    /// Something came from the receiver.
    Answer,
    /// Nothing came: the receiver's fault, or that of our way out.
    Silence,
}

impl Failure {
    /// Who it speaks against.
    pub fn evidence(&self) -> Evidence {
        match self {
            Self::StoodStill | Self::Local(_) | Self::Proxy(_) | Self::Internal => Evidence::Us,
            Self::Target(TargetError::Lookup(failed)) => match failed.cause {
                LookupCause::NotFound => Evidence::Them,
                LookupCause::Failed(_) | LookupCause::Silent => Evidence::Silence,
                LookupCause::Unreachable => Evidence::Us,
            },
            Self::InvalidUrl(_) | Self::Target(_) => Evidence::Them,
            Self::Refused | Self::Reset | Self::Closed | Self::Tls(_) | Self::Other(_) => Evidence::Answer,
            Self::Timeout | Self::ConnectTimeout | Self::Unreachable | Self::Tunnel(_) => Evidence::Silence,
        }
    }

    /// The kind of the first cause that has one.
    pub fn of(error: &(dyn Error + 'static)) -> Self {
        let causes = || successors(Some(error), |&cause| cause.source());
        // Postgres takes no NUL.
        let in_its_words = || Self::Other(causes().last().unwrap_or(error).to_string().replace('\0', ""));
        causes().find_map(Self::of_one).unwrap_or_else(in_its_words)
    }

    fn of_one(cause: &(dyn Error + 'static)) -> Option<Self> {
        if let Some(refusal) = cause.downcast_ref::<TargetError>() {
            return Some(Self::Target(refusal.clone()));
        }
        if cause.downcast_ref::<reqwest::Error>().is_some_and(|error| error.is_connect() && error.is_timeout()) {
            return Some(Self::ConnectTimeout);
        }
        if let Some(error) = cause.downcast_ref::<rustls::Error>() {
            return Some(Self::Tls(error.clone()));
        }
        if let Some(error) = cause.downcast_ref::<hyper::Error>() {
            return error.is_incomplete_message().then_some(Self::Closed);
        }
        Self::of_io(cause.downcast_ref::<io::Error>()?)
    }

    fn of_io(error: &io::Error) -> Option<Self> {
        if error.raw_os_error().is_some_and(|code| LOCAL_ERRORS.contains(&code)) {
            return Some(Self::Local(error.to_string()));
        }
        let by_kind = match error.kind() {
            ErrorKind::ConnectionRefused => Some(Self::Refused),
            ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => Some(Self::Reset),
            ErrorKind::HostUnreachable => Some(Self::Unreachable),
            ErrorKind::TimedOut => Some(Self::ConnectTimeout),
            ErrorKind::UnexpectedEof => Some(Self::Closed),
            _ => None,
        };
        // An io::Error that wraps another error is not among its sources itself.
        error.get_ref().and_then(|inner| Self::of_one(inner)).or(by_kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::resolver::LookupError;

    fn of(error: impl Error + 'static) -> Failure {
        Failure::of(&error)
    }

    #[test]
    fn what_the_system_refuses_has_a_kind_and_the_text_that_the_page_translates() {
        for (kind, failure, text) in [
            (ErrorKind::ConnectionRefused, Failure::Refused, "Connection refused"),
            (ErrorKind::ConnectionReset, Failure::Reset, "Connection reset"),
            (ErrorKind::BrokenPipe, Failure::Reset, "Connection reset"),
            (ErrorKind::HostUnreachable, Failure::Unreachable, "Host unreachable"),
            (ErrorKind::TimedOut, Failure::ConnectTimeout, "Connection timed out"),
            (ErrorKind::UnexpectedEof, Failure::Closed, "Connection closed without a response"),
        ] {
            assert_eq!(of(io::Error::from(kind)), failure);
            assert_eq!(failure.to_string(), text);
        }
        assert_eq!(Failure::Timeout.to_string(), "Request timeout");
    }

    #[test]
    fn what_this_machine_lacks_speaks_against_us_alone() {
        for code in LOCAL_ERRORS {
            assert_eq!(of(io::Error::from_raw_os_error(code)).evidence(), Evidence::Us, "{code}");
        }
        let text = of(io::Error::from_raw_os_error(libc::EMFILE)).to_string();
        assert_eq!(text, "Not sent: Too many open files (os error 24)");
        assert_eq!(of(io::Error::from_raw_os_error(libc::EHOSTUNREACH)).evidence(), Evidence::Silence);
        assert_eq!(of(io::Error::from_raw_os_error(libc::ECONNREFUSED)).evidence(), Evidence::Answer);
    }

    #[test]
    fn a_cause_that_another_error_wraps_tells_the_kind() {
        let failed = LookupError { name: "nowhere.invalid".to_owned(), cause: LookupCause::NotFound };
        let lookup = TargetError::Lookup(failed);
        assert_eq!(of(io::Error::other(lookup.clone())), Failure::Target(lookup));
        let tls = of(io::Error::other(io::Error::other(rustls::Error::DecryptError)));
        assert_eq!(tls.to_string(), "TLS error: cannot decrypt peer's message");
    }

    #[test]
    fn what_has_no_kind_is_told_in_the_words_of_its_innermost_cause() {
        let wrapped = anyhow::Error::msg("innermost").context("middle").context("outermost");
        assert_eq!(Failure::of(wrapped.as_ref()), Failure::Other("innermost".to_owned()));
    }
}
