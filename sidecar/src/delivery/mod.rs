//! The engine: from the event log to the receivers and back. It decides nothing that the extension can decide: it reads
//! what is to be sent, sends it, and reports what came back.

// What runs, and what all of it shares.
pub mod supervisor;
mod shared;
mod worker;
pub mod engine;

// When to read, and how far everything is settled. Pure.
mod wakeup;
mod retry_timer;
mod watermark;

// What a shard's owner knows: how far it has read, what is in flight, what waits, what is to be reported.
pub mod shard_state;
mod reader_state;
mod in_flight;
pub mod endpoint_queues;
pub mod results;

// The sessions with Postgres, and what the extension's functions return.
pub mod session;
mod contract;

// What travels, and how it is sent.
pub mod event;
pub mod sender;
pub mod connection;
pub mod failure;
pub mod headers;
pub mod metrics;
pub mod egress;
