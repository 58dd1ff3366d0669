//! The server: its version, encoding and clock, and whether it is a primary.

use chrono::{TimeDelta, Utc};
use std::time::{Duration, Instant};

use super::finding::Findings;
use crate::cli::connection::Connection;
use crate::cli::error::CliError;
use crate::store::Time;

/// The versions that the extension is built for.
const SUPPORTED_VERSIONS: std::ops::RangeInclusive<i32> = 15..=18;

pub async fn check(connection: &Connection, findings: &mut Findings) -> Result<(), CliError> {
    let sql = "SELECT current_setting('server_version_num')::integer / 10000, current_setting('server_version'),
                      getdatabaseencoding()::text, current_database()::text, pg_is_in_recovery()";
    let row = connection.client.query_one(sql, &[]).await?;
    let (major, version, encoding): (i32, String, String) = (row.get(0), row.get(1), row.get(2));
    let (database, is_standby): (String, bool) = (row.get(3), row.get(4));
    if SUPPORTED_VERSIONS.contains(&major) {
        findings.ok("server", format!("PostgreSQL {version}, database {database}"));
    } else {
        let fix = "pg_upgrade, or dump and restore, to a version from 15 to 18.";
        findings.problem("server", format!("PostgreSQL {version}: pg_webhooks supports 15 to 18"), fix);
    }
    if encoding != "UTF8" {
        let fix = "CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0, and restore a dump there.";
        findings.problem("server", format!("database {database} is in {encoding}; messages are JSON in UTF8"), fix);
    }
    if is_standby {
        let fix = "Give the primary's address in DATABASE_URL.";
        findings.problem(
            "server",
            "this is a standby: nothing can be written, so nothing can be delivered from it",
            fix,
        );
    }
    clock(connection, findings).await
}

async fn clock(connection: &Connection, findings: &mut Findings) -> Result<(), CliError> {
    // The first call of a session takes longer than the next.
    connection.now().await?;
    let (began, before) = (Instant::now(), Utc::now());
    let server = connection.now().await?;
    let took = began.elapsed();
    let here = before + TimeDelta::from_std(took / 2).unwrap_or_default();
    match difference(server, here, took) {
        None => findings.ok("clock", "the server's clock and this machine's agree"),
        Some(ahead) => {
            let way = if ahead > TimeDelta::zero() { "ahead of" } else { "behind" };
            let seconds = ahead.num_milliseconds().unsigned_abs() as f64 / 1000.0;
            findings.warning(
                "clock",
                format!("the server's is {seconds:.1} s {way} this machine's: webhook-timestamp is the server's, and receivers \
                     refuse one that is minutes off"),
                "timedatectl set-ntp true, on the one that is wrong.",
            );
        }
    }
    Ok(())
}

/// Returns how far the server is ahead, if that is more than a second and more than the time of the answer explains.
fn difference(server: Time, here: Time, took: Duration) -> Option<TimeDelta> {
    let ahead = server - here;
    let limit = TimeDelta::seconds(1) + TimeDelta::from_std(took / 2).unwrap_or_default();
    (ahead.abs() > limit).then_some(ahead)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_differ_by_more_than_a_second_and_than_the_answer_took() {
        let here: Time = "2026-11-24T12:00:00Z".parse().unwrap();
        let (fast, slow) = (Duration::from_millis(2), Duration::from_secs(4));
        assert_eq!(difference(here + TimeDelta::milliseconds(900), here, fast), None);
        assert_eq!(difference(here - TimeDelta::seconds(3), here, fast), Some(TimeDelta::seconds(-3)));
        assert_eq!(difference(here - TimeDelta::seconds(3), here, slow), None);
    }
}
