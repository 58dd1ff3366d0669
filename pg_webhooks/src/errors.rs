//! What can be wrong with a caller's input, each with its SQLSTATE, a message that names the bad value, and a hint.

use std::borrow::Cow;

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use webhooks_core::duration::InvalidDuration;
use webhooks_core::endpoint_options::{self, InvalidOptions};
use webhooks_core::event_names::{self, InvalidEvent};
use webhooks_core::signature::MAX_SECRET_BYTES;
use webhooks_core::url::InvalidUrl;

use crate::settings::{self, DURATION_HINT};

/// An error that the caller can mend.
pub enum Error {
    /// The URL of a registration.
    Url(String, InvalidUrl),
    /// `events` is NULL, empty, or holds a NULL.
    NoEvents,
    /// An event's name or pattern.
    Event(InvalidEvent),
    /// The options of an endpoint.
    Options(InvalidOptions),
    /// A secret that looks like a Standard Webhooks one and is not.
    Secret,
    /// A secret of so many bytes.
    LongSecret(usize),
    /// Data of a custom event that is no object.
    NotAnObject(String),
    /// A custom event whose message would have so many bytes.
    BodyTooLong { event: String, bytes: usize },
    /// A duration in a setting.
    Duration(InvalidDuration),
    /// A required argument is NULL.
    Null(&'static str),
}

impl Error {
    /// Ends the statement with this error.
    pub fn raise(self) -> ! {
        let (code, message, hint) = self.parts();
        ErrorReport::new(code, message, pgrx::function_name!()).set_hint(hint).report(PgLogLevel::ERROR);
        unreachable!("reporting an ERROR does not return")
    }

    fn parts(self) -> (PgSqlErrorCode, String, String) {
        use PgSqlErrorCode::*;
        let invalid = ERRCODE_INVALID_PARAMETER_VALUE;
        match self {
            Self::Url(url, InvalidUrl::Malformed(why)) => {
                (invalid, format!("invalid URL \"{}\": {why}", beginning(&url)), "A URL looks like https://example.com/webhooks.".into())
            }
            Self::Url(url, InvalidUrl::Scheme(scheme)) => (
                invalid,
                format!("invalid URL \"{}\": a webhook cannot use the scheme {}", beginning(&url), beginning(&scheme)),
                "Webhooks are HTTP requests: use an https:// URL, or http:// for a test.".into(),
            ),
            Self::Url(url, InvalidUrl::UserInfo) => (
                invalid,
                format!("invalid URL \"{}\": it contains a user name or password", beginning(&without_password(&url))),
                "Leave out user:password@: receivers recognise the sender by the signature. Give a secret => … to sign with.".into(),
            ),
            Self::Options(InvalidOptions::NotAnObject(given)) => (
                invalid,
                format!("options are a JSON object, not {}", beginning(&given)),
                "For example '{\"max_in_flight\": 8, \"timeout\": \"10s\"}'.".into(),
            ),
            Self::Options(InvalidOptions::Unknown(key, nearest)) => (
                invalid,
                format!("unknown option \"{}\"", beginning(&key)),
                format!("Did you mean {nearest}? The options are {}.", endpoint_options::KEYS.join(", ")),
            ),
            Self::Options(InvalidOptions::Value(key, value, wanted)) => (
                invalid,
                format!("the option {key} cannot be {}", beginning(&value)),
                format!("It is {wanted}; null removes it."),
            ),
            Self::NoEvents => (
                invalid,
                "events must name at least one event".into(),
                format!("Known events are {}; product.* and * match several.", known_events()),
            ),
            Self::Event(InvalidEvent::Unknown(name, nearest)) => (
                invalid,
                format!("unknown event \"{}\"", beginning(&name)),
                format!("Did you mean {nearest}? Known events are {}; product.* and * match several.", known_events()),
            ),
            Self::Event(InvalidEvent::Malformed(name)) => (
                invalid,
                format!("invalid event name \"{}\"", beginning(&name)),
                format!(
                    "Known events are {}; product.* and * match several. A custom event is named like order.paid: lower case, with a dot.",
                    known_events()
                ),
            ),
            Self::Event(InvalidEvent::Reserved(name)) => (
                ERRCODE_RESERVED_NAME,
                format!("event name \"{}\" is reserved", beginning(&name)),
                format!("The families {} are reserved for built-in events. Name yours like order.paid.", event_names::families().join(", ")),
            ),
            Self::Secret => (
                invalid,
                "a secret that begins with whsec_ must be base64 after that".into(),
                "Use base64 there, a secret of another form, or one made by SELECT webhooks.generate_secret().".into(),
            ),
            Self::LongSecret(bytes) => (
                invalid,
                format!("a secret has at most {MAX_SECRET_BYTES} bytes, not {bytes}"),
                "Use a shorter one, or one made by SELECT webhooks.generate_secret().".into(),
            ),
            Self::NotAnObject(data) => (
                invalid,
                format!("the data of an event must be a JSON object, not {}", beginning(&data)),
                "Wrap it: jsonb_build_object('value', …).".into(),
            ),
            Self::BodyTooLong { event, bytes } => (
                ERRCODE_PROGRAM_LIMIT_EXCEEDED,
                format!(
                    "the message of {event} would have {bytes} bytes, more than pg_webhooks.max_body ({})",
                    settings::shown_max_body()
                ),
                "Send less, such as where to get the rest; or raise the setting pg_webhooks.max_body.".into(),
            ),
            Self::Duration(InvalidDuration(text)) => (
                invalid,
                format!("invalid duration \"{}\"", beginning(&text)),
                DURATION_HINT.to_string_lossy().into_owned(),
            ),
            Self::Null(argument) => (
                ERRCODE_NULL_VALUE_NOT_ALLOWED,
                format!("{argument} must not be NULL"),
                format!("Give a value for {argument}."),
            ),
        }
    }
}

/// What an error shows of a text that may be of any length.
fn beginning(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(200) {
        Some((end, _)) => format!("{}…", &text[..end]).into(),
        None => text.into(),
    }
}

fn known_events() -> String {
    event_names::built_in().collect::<Vec<_>>().join(", ")
}

/// The URL without what is between `//` and `@`, for an error that ends up in a log.
fn without_password(url: &str) -> String {
    match (url.find("//"), url.rfind('@')) {
        (Some(start), Some(end)) if start < end => format!("{}//…{}", &url[..start], &url[end..]),
        _ => url.to_owned(),
    }
}
