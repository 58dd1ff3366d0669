//! What the end-to-end tests stand on: a private Postgres cluster, a database of its own for each test, the real
//! sidecar as a process, and an HTTP receiver that records and misbehaves on command.
//!
//! Nothing here knows the inside of the extension or the sidecar. Waiting is always for a condition, with a deadline.

mod amcheck;
mod api;
mod cluster;
mod command_line;
mod database;
mod deadline;
mod listener;
mod name_server;
mod pooler;
mod process;
mod programs;
mod proxy;
mod random;
mod receiver;
mod session;
mod sidecar;
mod stage;

pub use api::{Api, Caller, Reply, send, with_json};
pub use cluster::Cluster;
pub use command_line::{CommandLine, Running, Told};
pub use database::Database;
pub use deadline::eventually;
pub use listener::Listener;
pub use name_server::{Known, NameServer};
pub use pooler::Pooler;
pub use process::{children, open_files_limits};
pub use programs::postgres_program;
pub use proxy::Proxy;
pub use random::Random;
pub use receiver::{Answer, Received, Receiver};
pub use session::{Notice, Session, SqlError};
pub use sidecar::Sidecar;
pub use stage::{SECRET, Stage};
pub use tokio_postgres::Error;
