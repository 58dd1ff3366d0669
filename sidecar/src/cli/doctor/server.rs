//! The server: its version, encoding, role, clock, and the settings that delivery depends on.

use chrono::{TimeDelta, Utc};
use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::finding::Findings;
use crate::cli::failure::Failure;
use crate::cli::session::Session;
use crate::store::{StoreError, Time};

/// What the extension is built for.
const VERSIONS: std::ops::RangeInclusive<i32> = 14..=18;

pub async fn check(session: &Session, findings: &mut Findings) -> Result<(), Failure> {
    let sql = "SELECT current_setting('server_version_num')::integer / 10000, current_setting('server_version'),
                      getdatabaseencoding()::text, current_database()::text, pg_is_in_recovery()";
    let row = session.client.query_one(sql, &[]).await?;
    let (major, version, encoding): (i32, String, String) = (row.get(0), row.get(1), row.get(2));
    let (database, is_standby): (String, bool) = (row.get(3), row.get(4));
    if VERSIONS.contains(&major) {
        findings.ok("server", format!("PostgreSQL {version}, database {database}"));
    } else {
        let mend = "pg_upgrade, or dump and restore, to a version from 14 to 18.";
        findings.problem("server", format!("PostgreSQL {version}: pg_webhooks is for 14 to 18"), mend);
    }
    if encoding != "UTF8" {
        let mend = "CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0, and restore a dump there.";
        findings.problem("server", format!("database {database} is in {encoding}; messages are JSON in UTF8"), mend);
    }
    if is_standby {
        let mend = "Give the primary's address in DATABASE_URL.";
        findings.problem(
            "server",
            "this is a standby: nothing can be written, so nothing can be delivered from it",
            mend,
        );
    }
    clock(session, findings).await?;
    settings(session, findings).await
}

async fn clock(session: &Session, findings: &mut Findings) -> Result<(), Failure> {
    // The first call of a session takes longer than the next.
    session.now().await?;
    let (began, before) = (Instant::now(), Utc::now());
    let server = session.now().await?;
    let took = began.elapsed();
    let here = before + TimeDelta::from_std(took / 2).unwrap_or_default();
    match difference(server, here, took) {
        None => findings.ok("clock", "the server's and this machine's agree"),
        Some(ahead) => {
            let way = if ahead > TimeDelta::zero() { "ahead of" } else { "behind" };
            let seconds = ahead.num_milliseconds().unsigned_abs() as f64 / 1000.0;
            findings.warning(
                "clock",
                format!("the server's is {seconds:.1} s {way} this machine's: webhook-timestamp is the server's, and receivers refuse one that is minutes off"),
                "timedatectl set-ntp true, on the one that is wrong.",
            );
        }
    }
    Ok(())
}

/// How far the server is ahead, if that is more than a second and not the time that the answer took.
fn difference(server: Time, here: Time, took: Duration) -> Option<TimeDelta> {
    let ahead = server - here;
    let limit = TimeDelta::seconds(1) + TimeDelta::from_std(took / 2).unwrap_or_default();
    (ahead.abs() > limit).then_some(ahead)
}

const NAMES: &[&str] = &[
    "fsync",
    "full_page_writes",
    "synchronous_commit",
    "track_activities",
    "default_transaction_read_only",
    "idle_session_timeout",
    "statement_timeout",
    "log_statement",
    "log_min_duration_statement",
    "pg_webhooks.event_retention",
    "pg_webhooks.log_retention",
    "pg_webhooks.request_timeout",
];

async fn settings(session: &Session, findings: &mut Findings) -> Result<(), Failure> {
    let sql = "SELECT name, current_setting(name, true) FROM unnest($1::text[]) name";
    let mut values = HashMap::new();
    for row in session.client.query(sql, &[&NAMES]).await? {
        let name: String = row.try_get(0).map_err(StoreError::from)?;
        values.insert(name, row.try_get::<_, Option<String>>(1).map_err(StoreError::from)?.unwrap_or_default());
    }
    let is = |name: &str, value: &str| values.get(name).is_some_and(|known| known == value);
    let length = |name: &str, default: u64| {
        let known = values.get(name).and_then(|text| humantime::parse_duration(text).ok());
        known.unwrap_or(Duration::from_secs(default))
    };
    let before = findings.all().len();
    let mut odd = |message: &str, mend: &str| findings.warning("settings", message, mend);
    if is("fsync", "off") {
        odd(
            "fsync is off: a crash can lose what was committed, or all of it",
            "ALTER SYSTEM RESET fsync; SELECT pg_reload_conf();",
        );
    }
    if is("full_page_writes", "off") {
        odd(
            "full_page_writes is off: a crash can damage tables",
            "ALTER SYSTEM RESET full_page_writes; SELECT pg_reload_conf();",
        );
    }
    if is("synchronous_commit", "off") {
        odd(
            "synchronous_commit is off: a crash can lose commits whose messages are out already",
            "SET synchronous_commit = on in what writes to the attached tables; ALTER SYSTEM RESET synchronous_commit for all.",
        );
    }
    if is("track_activities", "off") {
        odd(
            "track_activities is off: a sidecar that is stuck is noticed late",
            "ALTER SYSTEM RESET track_activities; SELECT pg_reload_conf();",
        );
    }
    if values.get("idle_session_timeout").is_some_and(|value| value != "0") {
        odd(
            "idle_session_timeout ends the sessions of a sidecar that sleeps",
            "ALTER ROLE webhook_sender SET idle_session_timeout = 0;  -- the sidecar's role",
        );
    }
    if !is("statement_timeout", "0") && length("statement_timeout", 3600) < Duration::from_secs(30) {
        odd(
            "statement_timeout is short: a sidecar that is behind reads in large pieces",
            "ALTER ROLE webhook_sender SET statement_timeout = 0;  -- the sidecar's role",
        );
    }
    if is("log_statement", "all") || is("log_min_duration_statement", "0") {
        odd(
            "the server logs every statement with its parameters: secrets of webhooks are in its log",
            "ALTER SYSTEM SET log_parameter_max_length = 0; SELECT pg_reload_conf();  -- or log less",
        );
    }
    let (events, log) =
        (length("pg_webhooks.event_retention", 7 * 86_400), length("pg_webhooks.log_retention", 30 * 86_400));
    if log < events {
        odd(
            "pg_webhooks.log_retention is shorter than event_retention: replay takes for undelivered what the log has forgotten",
            "ALTER SYSTEM SET pg_webhooks.log_retention = '30 days'; SELECT pg_reload_conf();",
        );
    }
    if length("pg_webhooks.request_timeout", 30) > Duration::from_secs(300) {
        odd(
            "pg_webhooks.request_timeout is minutes: a receiver that hangs holds its requests that long",
            "ALTER SYSTEM RESET pg_webhooks.request_timeout; SELECT pg_reload_conf();",
        );
    }
    if is("default_transaction_read_only", "on") {
        let mend = "ALTER DATABASE … RESET default_transaction_read_only;  -- or ALTER ROLE, ALTER SYSTEM";
        findings.problem("settings", "default_transaction_read_only is on: nothing can be written", mend);
    }
    if findings.all().len() == before {
        findings.ok("settings", "none is odd");
    }
    Ok(())
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
