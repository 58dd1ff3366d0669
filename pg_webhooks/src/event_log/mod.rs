//! The event log, `webhooks.event`: one row for each event, appended in the transaction that made it.

mod body;
mod entry;
mod partition;

pub use body::Body;
pub use entry::{Entry, Subject};
pub use partition::Partition;
