//! Row changes become signed webhook messages inside the writing transaction.
//!
//! One event's way: `capture` is called with a row and makes the events that somebody wants, `event_log` signs each and
//! appends one row, and `wakeup` tells a sleeping sidecar at commit. Nothing here does network I/O; what needs no
//! Postgres is in the crate `webhooks-core`.
//!
//! The SQL side, in `../../sql`, is the contract with users and with the sidecar; `functions` is what it calls. It is written
//! by hand: the Makefile joins its files to the install script.

use pgrx::prelude::*;

// From a row to the log.
mod capture;
mod event_log;
mod wakeup;
mod fault;
mod missed;

// What a session remembers, and what Postgres knows.
mod cache;
mod postgres;

// What the SQL functions call.
mod functions;
mod settings;
mod errors;

::pgrx::pg_module_magic!(name, version);

/// Called by Postgres when a session first needs the library.
#[pg_guard]
pub extern "C-unwind" fn _PG_init() {
    leave_backtraces_out();
    settings::register();
    cache::register();
    wakeup::register();
    missed::register();
}

/// Keeps the calls that led to an error, with paths of the machine that built this, out of the error's DETAIL. pgrx puts them
/// there where RUST_BACKTRACE is set; whoever wants them sets RUST_LIB_BACKTRACE.
fn leave_backtraces_out() {
    if std::env::var_os("RUST_LIB_BACKTRACE").is_none() {
        // SAFETY: a process of Postgres has one thread.
        unsafe { std::env::set_var("RUST_LIB_BACKTRACE", "0") }
    }
}
