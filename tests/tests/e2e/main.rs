//! The promises of pg_webhooks, each a test, on real Postgres with the real sidecar and real HTTP. One binary, so that
//! all tests share one cluster; each has a database of its own.

mod api;
mod api_auth;
mod api_errors;
mod api_log;
mod api_operation;
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
mod event_log;
mod event_types;
mod events;
mod history;
mod import_rules;
mod lifecycle;
mod receivers;
mod redelivery;
mod responses;
mod rotation;
mod rows;
mod schedule;
mod shards;
mod status;
mod stock_alert;
mod tls;
mod tokens;
mod verification;
mod wakeup;
