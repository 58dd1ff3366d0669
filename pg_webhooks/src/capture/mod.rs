//! From a row change to the events that it makes.
//!
//! `trigger` is called with a row, `change` says which events of the table's `plan` (compiled from the core's rules for what
//! `attachment` finds in the table) it makes and writes their data (`value`, `output`, `supplier`), and `message` puts it into
//! the log.

mod attachment;
mod change;
mod constant;
mod message;
mod output;
mod plan;
mod supplier;
mod trigger;
mod value;

#[cfg(feature = "pg_bench")]
mod microbench;

pub use attachment::{Attachment, Resolved};
pub use message::append;
