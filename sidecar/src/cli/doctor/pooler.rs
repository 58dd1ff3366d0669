//! Whether a session stays with one server process. A pooler in transaction mode lends another server process to
//! each transaction: LISTEN and the sleeper's lock are lost there, so the sidecar cannot work.

use std::time::Duration;
use tokio::sync::mpsc;
use tokio_postgres::{Client, SimpleQueryMessage};

use super::finding::Findings;
use crate::cli::error::CliError;
use crate::database::Database;

/// How long a notification may take.
const NOTIFY_TIMEOUT: Duration = Duration::from_secs(3);
const POOLER_FIX: &str =
    "Connect to Postgres itself, port 5432, or set pool_mode = session in the pooler for the sidecar's role.";

pub async fn check(database: &Database, findings: &mut Findings) -> Result<(), CliError> {
    let (tell, mut notifications) = mpsc::channel(1);
    let (listening, other) = tokio::try_join!(database.connect(Some(tell)), database.connect(None))?;
    let mine = backend(&listening).await?;
    let channel = format!("pg_webhooks_doctor_{mine}");
    listening.batch_execute(&format!("LISTEN {channel}")).await?;
    // A pooler lends the process that was free last: an open transaction of another session takes it away.
    if other.batch_execute("BEGIN").await.is_err() {
        findings.problem("session", "transactions are refused: this is a pooler in statement mode", POOLER_FIX);
        return Ok(());
    }
    let (others, mine_now) = (backend(&other).await, backend(&listening).await);
    other.batch_execute("ROLLBACK").await?;
    if is_lent(mine, mine_now?, others?) {
        findings.problem(
            "session",
            "one session is served by several server processes: this is a pooler in transaction mode",
            POOLER_FIX,
        );
        return Ok(());
    }
    other.batch_execute(&format!("NOTIFY {channel}")).await?;
    match tokio::time::timeout(NOTIFY_TIMEOUT, notifications.recv()).await {
        Ok(Some(())) => findings.ok("session", "direct, or through a pooler in session mode: LISTEN works"),
        _ => findings.problem(
            "session",
            "a notification did not arrive: is there a pooler in transaction mode?",
            POOLER_FIX,
        ),
    }
    Ok(())
}

/// Asks without a prepared statement, which a pooler may mix up.
async fn backend(client: &Client) -> Result<i32, CliError> {
    let rows = client.simple_query("SELECT pg_backend_pid()").await?;
    let pid = rows.iter().find_map(|row| match row {
        SimpleQueryMessage::Row(row) => row.get(0)?.parse().ok(),
        _ => None,
    });
    pid.ok_or_else(|| CliError::new("the server did not say which process serves the session", POOLER_FIX))
}

/// Whether a session changed its server process, or shares it with another.
fn is_lent(mine: i32, mine_later: i32, others: i32) -> bool {
    mine != mine_later || mine == others
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_of_ones_own_is_neither_changed_nor_shared() {
        assert!(!is_lent(1, 1, 2));
        assert!(is_lent(1, 2, 1) && is_lent(1, 2, 3) && is_lent(1, 1, 1));
    }
}
