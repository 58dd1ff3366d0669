//! What a webhook message is, and what becomes of it: the rules of the product that need neither Postgres nor a network.
//!
//! Everything here is pure: a value in, a value out, the time as an argument. The extension and the sidecar both stand on
//! it, so that they sign, name and wait alike.

// Which change of a row makes which event, and what is in it.
pub mod endpoint_options;
pub mod event_names;
pub mod event_rules;
pub mod event_types;
pub mod secret_names;

// The bytes of a message, and of its row in the log.
pub mod ids;
pub mod json;
pub mod ordering;
pub mod signature;
pub mod time;

// Where it goes, who may say so, and when it is tried again.
pub mod duration;
pub mod retry;
pub mod tokens;
pub mod url;

// How far the log is read, and when to look for more.
pub mod done_set;
pub mod snapshot;
