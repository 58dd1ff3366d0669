//! The operations, one file a noun.

pub mod login;
pub mod webhooks;
pub mod sending;
pub mod attempts;
pub mod events;
pub mod status;
pub mod history;
pub mod probes;
pub mod openapi;
