//! Row changes become signed webhook messages inside the writing transaction.
//!
//! One event's way: `capture` is called with a row, `change` says which events of its table's `plan` (compiled from the
//! core's rules) it makes and writes their data (`value`), `subscribers` says who wants them and signs, `log` appends one
//! row, and `wakeup` tells a sleeping sidecar at commit. Nothing here does network I/O; what needs no Postgres is in the
//! crate `webhooks-core`.
//!
//! The SQL side, in `../../sql`, is the contract with users and with the sidecar; `functions` is what it calls. It is written
//! by hand: the Makefile joins its files to the install script.

use pgrx::prelude::*;

// From a row to the log.
mod capture;
mod change;
mod plan;
mod value;
mod supplier;
mod columns;
mod subscribers;
mod log;
mod wakeup;

// What a session remembers, and whose rights it takes to read it.
mod cache;
mod catalog;
mod owner;

// What the SQL functions call.
mod functions;
mod settings;
mod saved_settings;
mod errors;

#[cfg(feature = "pg_bench")]
mod microbench;

::pgrx::pg_module_magic!(name, version);

/// Called by Postgres when a session first needs the library.
#[pg_guard]
pub extern "C-unwind" fn _PG_init() {
    settings::register();
    cache::register();
    wakeup::register();
}
