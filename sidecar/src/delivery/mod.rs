//! The engine: from the event log to the receivers and back. It decides nothing that the extension can decide: it reads
//! what is to be sent, sends it, and reports what came back.

// What runs, and what all of it shares.
pub mod supervisor;
mod shared;
mod worker;
mod engine;
mod housekeeping;

// When to read and how far, and who may send next. Pure.
mod wakeup;
mod retry_timer;
mod readers;
mod queues;

// What a shard's owner knows: how far it has read, what is in flight, what waits, what is to be reported.
mod shard_state;
mod in_flight;
mod results;
mod announcements;

// The sessions with Postgres, and what the extension's functions return.
mod session;
mod contract;
mod values;

// What travels, and how it is sent.
mod event;
mod attempt;
mod sender;
mod connection;
mod origins;
mod dial;
pub mod failure;
mod blame;
pub mod headers;
pub mod metrics;
pub mod egress;
pub mod outbound;
pub mod resolver;
