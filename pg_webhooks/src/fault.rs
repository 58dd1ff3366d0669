//! Why capture made no event. It becomes a text where the statement is told: in the WARNING of a trigger, in the ERROR of a
//! function.

use std::fmt;

/// What kept an event from being made.
#[derive(Clone, Debug)]
pub enum Fault {
    /// A table of the extension is not there.
    MissingTable(String),
    /// A day, by the server's clock, before the first partition of the log.
    MissingDay(String),
    /// A trigger of webhooks.capture() that webhooks.attach() did not make.
    NoArguments,
    /// A trigger's or a WHEN clause's kind of table that the rules do not have.
    UnknownKind(String),
    /// A trigger's argument that cannot be read.
    Attachment(String),
    /// A trigger's argument of a form that this library does not know.
    AttachmentVersion(u32),
    /// A field of a kind of table for which the table has no column.
    MissingColumn { field: &'static str, kind: &'static str },
    /// A TRUNCATE, which says nothing of the rows that it removes.
    Truncated,
    /// A body beyond the limit.
    BodyTooLong { event: String, bytes: usize },
    /// An error of Postgres, whose work was undone.
    Sql(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MissingTable(name) => write!(out, "table webhooks.{name} is missing"),
            Self::MissingDay(date) => {
                write!(out, "webhooks.event has no partition for {date}: is the server's clock right?")
            }
            Self::NoArguments => write!(out, "the trigger has no arguments: make it with webhooks.attach()"),
            Self::UnknownKind(name) => write!(out, "unknown kind of table \"{name}\""),
            Self::Attachment(error) => {
                write!(out, "the trigger's argument is not one of webhooks.attach(): {error}")
            }
            Self::AttachmentVersion(version) => {
                write!(out, "the trigger was made by another version of pg_webhooks: its argument has form {version}")
            }
            Self::MissingColumn { field, kind } => write!(out, "the table has no column for {field} of {kind}"),
            Self::Truncated => write!(out, "TRUNCATE removes rows without telling which: use DELETE where it matters"),
            Self::BodyTooLong { event, bytes } => {
                write!(out, "the message of {event} would have {bytes} bytes, more than pg_webhooks.max_body")
            }
            Self::Sql(message) => out.write_str(message),
        }
    }
}
