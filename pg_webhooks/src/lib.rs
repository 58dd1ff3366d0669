//! Row changes become signed webhook messages inside the writing transaction.
//!
//! One event's way: `capture` is called with a row, its `plan` says which events of `rules` that row makes and how
//! each body is written (`value`, `json`), `subscribers` says who wants them and signs (`signature`), `log` appends
//! one row, and `wakeup` tells a sleeping sidecar at commit. Nothing here does network I/O.
//!
//! The SQL side, in `../../sql`, is the contract with users and with the sidecar; `functions` is what it calls.

use pgrx::prelude::*;

mod cache;
mod capture;
mod clock;
mod ids;
mod json;
mod log;
mod owner;
mod plan;
mod rules;
mod signature;
mod subscribers;
mod value;
mod wakeup;

mod endpoint_url;
mod errors;
mod events;
mod functions;
mod retry;
mod settings;

::pgrx::pg_module_magic!(name, version);

extension_sql_file!("../../sql/tables.sql", name = "tables", bootstrap);
extension_sql_file!("../../sql/rules.sql", name = "rules", requires = ["tables"]);
extension_sql_file!("../../sql/partitions.sql", name = "partitions", requires = ["rules"]);
extension_sql_file!("../../sql/endpoints.sql", name = "endpoints", requires = ["partitions"]);
extension_sql_file!("../../sql/capture.sql", name = "capture", requires = ["endpoints"]);
extension_sql_file!("../../sql/sidecar.sql", name = "sidecar", requires = ["capture"]);
extension_sql_file!("../../sql/grants.sql", name = "grants", requires = ["sidecar"]);
extension_sql_file!("../../sql/attach_existing.sql", name = "attach_existing", finalize);

/// Called by Postgres when a session first needs the library.
#[pg_guard]
pub extern "C-unwind" fn _PG_init() {
    settings::register();
    cache::register();
    wakeup::register();
}
