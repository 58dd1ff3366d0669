//! A session with the extension, and what can go wrong in one. What the extension's functions return is read by the
//! names of their columns. Where the two do not fit, the error says in what, and of which versions they are: nothing
//! here panics.

use postgres_types::{FromSql, ToSql, WrongType};
use std::error::Error;
use std::io;
use std::time::Duration;
use thiserror::Error;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Row, Statement};

use crate::database::Database;

const VERSION: &str = env!("CARGO_PKG_VERSION");
const SERVER: &str = "SELECT pg_catalog.pg_is_in_recovery() AS is_standby,
                             (SELECT extversion FROM pg_catalog.pg_extension WHERE extname = 'pg_webhooks')";

/// Why a call failed.
#[derive(Debug, Error)]
pub enum SessionError {
    /// The lease is over: another sidecar has the shard, or the server has recovered from a crash.
    #[error("{0}")]
    Stale(String),
    #[error("this server is read-only: is it a standby? Delivery begins when it is promoted")]
    ReadOnly,
    #[error("the extension pg_webhooks is not installed in this database")]
    NotInstalled,
    #[error("{0}; is the role a member of webhooks_sidecar?")]
    Denied(String),
    /// Sidecar and extension are of versions that do not understand each other.
    #[error("{what}; sidecar {VERSION} and extension {extension} do not fit: install the same version of both")]
    Mismatch { what: String, extension: String },
    /// The server's answer to anything else: try again.
    #[error("{message} (SQLSTATE {})", code.code())]
    Refused { message: String, code: SqlState },
    /// The line to the server: try again.
    #[error("{0}")]
    Lost(String),
    /// The line is open and nothing comes over it: try again with other sessions.
    #[error("{what} has not answered for {} s: the connection or the server is stuck", waited.as_secs())]
    Silent { what: &'static str, waited: Duration },
}

impl From<tokio_postgres::Error> for SessionError {
    fn from(error: tokio_postgres::Error) -> Self {
        // What target_session_attrs=read-write says of the last host.
        if error.source().and_then(|cause| cause.downcast_ref::<io::Error>()).map(io::Error::kind)
            == Some(io::ErrorKind::PermissionDenied)
        {
            return Self::ReadOnly;
        }
        let Some(told) = error.as_db_error() else {
            let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
            return Self::Lost(format!("{error}{cause}"));
        };
        let message = told.message().to_owned();
        match told.code() {
            &SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE => Self::Stale(message),
            &SqlState::INSUFFICIENT_PRIVILEGE => Self::Denied(message),
            &SqlState::READ_ONLY_SQL_TRANSACTION => Self::ReadOnly,
            code => Self::Refused { message, code: code.clone() },
        }
    }
}

/// The shortest time that a call may take.
const MIN_CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// How much later than the server, which ends a call that takes too long, this side gives up on the session.
const SERVER_HEAD_START: Duration = Duration::from_secs(1);
/// How long a session that is dropped may take to end in order.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// A session whose sidecar is a member while it lasts. No call in it takes longer than a deadline.
pub struct Session {
    client: Client,
    /// Carries the messages; taken when the session is dropped.
    wire: Option<JoinHandle<()>>,
    deadline: Duration,
    /// The extension's version.
    extension: String,
}

/// A prepared call of one of the extension's functions.
pub struct Call {
    function: &'static str,
    statement: Statement,
}

/// The rows that a call returned.
pub struct Answer<'a> {
    session: &'a Session,
    function: &'static str,
    pub rows: Vec<Row>,
}

impl Session {
    /// Connects, and joins as a session of `sidecar`. Notifications are told to `tell`. A call may take as long as a
    /// lease lasts, and at least 10 seconds.
    pub async fn open(
        database: &Database,
        tell: Option<mpsc::Sender<()>>,
        sidecar: &str,
        lease: Duration,
    ) -> Result<Self, SessionError> {
        let session = Self::open_outside(database, tell, lease.max(MIN_CALL_TIMEOUT)).await?;
        let join = session.prepare("webhooks.join", "SELECT webhooks.join($1)").await?;
        session.call(&join, &[&sidecar]).await?;
        Ok(session)
    }

    /// Connects without joining. The server ends a call after `call_timeout`.
    pub async fn open_outside(
        database: &Database,
        tell: Option<mpsc::Sender<()>>,
        call_timeout: Duration,
    ) -> Result<Self, SessionError> {
        let deadline = call_timeout + SERVER_HEAD_START;
        let statement_timeout = format!("{}ms", call_timeout.as_millis());
        let connect = database.open_unattended(tell, &statement_timeout);
        let (client, wire) = within(deadline, "the server", connect).await??;
        let mut session = Self { client, wire: Some(wire), deadline, extension: String::new() };
        let server = within(deadline, "the server", session.client.query_one(SERVER, &[])).await??;
        if server.try_get("is_standby")? {
            return Err(SessionError::ReadOnly);
        }
        session.extension = server.try_get::<_, Option<_>>("extversion")?.ok_or(SessionError::NotInstalled)?;
        Ok(session)
    }

    /// Runs a statement that is Postgres' own.
    pub async fn run(&self, sql: &'static str) -> Result<(), SessionError> {
        within(self.deadline, sql, self.client.batch_execute(sql)).await?.map_err(|error| self.explain(error))
    }

    /// Prepares a call of `function`.
    pub async fn prepare(&self, function: &'static str, sql: &str) -> Result<Call, SessionError> {
        let prepare = within(self.deadline, function, self.client.prepare(sql));
        let statement = prepare.await?.map_err(|error| self.explain(error))?;
        Ok(Call { function, statement })
    }

    pub async fn call(&self, call: &Call, parameters: &[&(dyn ToSql + Sync)]) -> Result<Answer<'_>, SessionError> {
        let query = within(self.deadline, call.function, self.client.query(&call.statement, parameters));
        let rows = query.await?.map_err(|error| match self.explain(error) {
            SessionError::Refused { message, code } if code == SqlState::QUERY_CANCELED => {
                SessionError::Refused { message: format!("{}: {message}", call.function), code }
            }
            other => other,
        })?;
        Ok(Answer { session: self, function: call.function, rows })
    }

    /// What the server, or a parameter that does not fit its type there, says of versions.
    fn explain(&self, error: tokio_postgres::Error) -> SessionError {
        if let Some(wrong) = error.source().filter(|cause| cause.is::<WrongType>()) {
            return self.mismatch(wrong.to_string());
        }
        match SessionError::from(error) {
            SessionError::Refused { message, code }
                if [
                    SqlState::UNDEFINED_FUNCTION,
                    SqlState::UNDEFINED_COLUMN,
                    SqlState::UNDEFINED_OBJECT,
                    SqlState::UNDEFINED_TABLE,
                    SqlState::INVALID_SCHEMA_NAME,
                ]
                .contains(&code) =>
            {
                self.mismatch(message)
            }
            other => other,
        }
    }

    fn mismatch(&self, what: String) -> SessionError {
        SessionError::Mismatch { what, extension: self.extension.clone() }
    }
}

impl Drop for Session {
    /// A session that waits for an answer is closed only when it comes. If it does not, this cuts the line.
    fn drop(&mut self) {
        if let (Some(mut wire), Ok(runtime)) = (self.wire.take(), Handle::try_current()) {
            runtime.spawn(async move {
                if timeout(CLOSE_TIMEOUT, &mut wire).await.is_err() {
                    wire.abort();
                }
            });
        }
    }
}

/// Returns the outcome of `work`, or that `what` is silent.
async fn within<T>(limit: Duration, what: &'static str, work: impl Future<Output = T>) -> Result<T, SessionError> {
    timeout(limit, work).await.map_err(|_| SessionError::Silent { what, waited: limit })
}

impl Answer<'_> {
    /// A column of a row.
    pub fn get<'r, T: FromSql<'r>>(&self, row: &'r Row, column: &str) -> Result<T, SessionError> {
        row.try_get(column).map_err(|error| {
            let function = self.function;
            self.session.mismatch(match error.source() {
                None => format!("{function} returns no column {column:?}"),
                Some(cause) => format!("{function} returns a column {column:?} that cannot be read: {cause}"),
            })
        })
    }

    /// A column holds what is not what it says.
    pub fn mismatch(&self, column: &str, why: impl std::fmt::Display) -> SessionError {
        self.session.mismatch(format!("{} returns a column {column:?} that cannot be read: {why}", self.function))
    }

    /// The first row, where the function always returns one.
    pub fn first(&self) -> Result<&Row, SessionError> {
        self.rows.first().ok_or_else(|| self.session.mismatch(format!("{} returned no row", self.function)))
    }
}
