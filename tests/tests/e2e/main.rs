//! The promises of pg_webhooks, each a test, on real Postgres with the real sidecar and real HTTP. One binary, so that
//! all tests share one cluster; each has a database of its own.

mod bytes;
mod capture;
mod cli;
mod cli_doctor;
mod cli_logs;
mod cli_replay;
mod cli_terminal;
mod cli_verify;
mod crash;
mod delivery;
mod errors;
mod events;
mod import_rules;
mod lifecycle;
mod responses;
mod rows;
mod schedule;
mod shards;
mod stock_alert;
mod verification;
mod wakeup;
