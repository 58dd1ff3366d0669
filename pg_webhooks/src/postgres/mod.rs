//! What Postgres offers in C and pgrx leaves as it is, in a form that Rust can rely on.

mod catalog;
mod columns;
mod random;
mod read_only;
mod run_as;
mod short_value;
mod transactions;
pub mod saved_settings;

pub use catalog::{function_name, owner_of, partition_root, primary_key, referenced_by, relation};
pub use columns::{attribute, held_columns};
pub use random::random;
pub use read_only::refuse_where_read_only;
pub use run_as::run_as;
pub use short_value::ShortValue;
pub use transactions::{EndedTransactions, flush_commits};
