//! Transactions that do not end. They delay no delivery but their own. But vacuum cannot clean the small tables that
//! change all the time, and a prepared transaction keeps its locks across restarts.

use super::finding::Findings;
use crate::cli::connection::Connection;
use crate::cli::error::CliError;
use crate::cli::time;

pub async fn check(connection: &Connection, findings: &mut Findings) -> Result<(), CliError> {
    let before = findings.all().len();
    let sql = "SELECT gid, extract(epoch FROM clock_timestamp() - prepared)::bigint FROM pg_prepared_xacts
                WHERE database = current_database() AND prepared < clock_timestamp() - interval '5 min' ORDER BY prepared";
    for row in connection.client.query(sql, &[]).await? {
        let (gid, age): (String, i64) = (row.get(0), row.get(1));
        let message =
            format!("{gid} has been prepared for {}: its events are not out, and it keeps its locks", time::rough(age));
        let gid = gid.replace('\'', "''");
        findings.warning("transactions", message, format!("COMMIT PREPARED '{gid}';  -- or ROLLBACK PREPARED"));
    }
    let sql = "SELECT pid, coalesce(usename::text, backend_type), coalesce(state, ''),
                      extract(epoch FROM clock_timestamp() - xact_start)::bigint FROM pg_stat_activity
                WHERE datname = current_database() AND pid <> pg_backend_pid()
                  AND (backend_xid IS NOT NULL OR backend_xmin IS NOT NULL)
                  AND xact_start < clock_timestamp() - interval '10 min'
                ORDER BY xact_start";
    for row in connection.client.query(sql, &[]).await? {
        let (pid, who, state, age): (i32, String, String, i64) = (row.get(0), row.get(1), row.get(2), row.get(3));
        let message = format!(
            "a transaction of {who} has been open for {} ({state}): its events are not out, and vacuum cannot pass it",
            time::rough(age)
        );
        findings.warning("transactions", message, format!("SELECT pg_terminate_backend({pid});"));
    }
    let sees_all: bool =
        connection.client.query_one("SELECT pg_has_role('pg_read_all_stats', 'USAGE')", &[]).await?.get(0);
    if findings.all().len() > before {
        return Ok(());
    }
    let own = if sees_all { "" } else { " among this role's own; a member of pg_read_all_stats sees all" };
    findings.ok("transactions", format!("none has been open for long{own}"));
    Ok(())
}
