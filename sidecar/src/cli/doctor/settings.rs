//! The settings of the server and the extension that delivery depends on: which of them have odd values.

use std::collections::HashMap;
use std::time::Duration;

use super::finding::{Findings, Level};
use crate::cli::connection::Connection;
use crate::cli::error::CliError;

/// A setting, which of its values are odd, and what the doctor says then.
struct Odd {
    name: &'static str,
    is_odd: fn(&str) -> bool,
    level: Level,
    what: &'static str,
    fix: &'static str,
}

const ODD_SETTINGS: &[Odd] = &[
    Odd {
        name: "fsync",
        is_odd: is_off,
        level: Level::Warning,
        what: "fsync is off: a crash can lose committed data, or the whole cluster",
        fix: "ALTER SYSTEM RESET fsync; SELECT pg_reload_conf();",
    },
    Odd {
        name: "full_page_writes",
        is_odd: is_off,
        level: Level::Warning,
        what: "full_page_writes is off: a crash can damage tables",
        fix: "ALTER SYSTEM RESET full_page_writes; SELECT pg_reload_conf();",
    },
    Odd {
        name: "synchronous_commit",
        is_odd: is_off,
        level: Level::Warning,
        what: "synchronous_commit is off: a crash can lose commits whose messages have been sent",
        fix: "SET synchronous_commit = on in sessions that write to attached tables; ALTER SYSTEM RESET it for all.",
    },
    Odd {
        name: "track_activities",
        is_odd: is_off,
        level: Level::Warning,
        what: "track_activities is off: a stuck sidecar is noticed late",
        fix: "ALTER SYSTEM RESET track_activities; SELECT pg_reload_conf();",
    },
    Odd {
        name: "log_statement",
        is_odd: |value| value == "all",
        level: Level::Warning,
        what: "log_statement is all: webhook secrets end up in the server's log",
        fix: "ALTER SYSTEM SET log_parameter_max_length = 0; SELECT pg_reload_conf();  -- or log less",
    },
    Odd {
        name: "log_min_duration_statement",
        is_odd: |value| value == "0",
        level: Level::Warning,
        what: "log_min_duration_statement is 0: webhook secrets end up in the server's log",
        fix: "ALTER SYSTEM SET log_parameter_max_length = 0; SELECT pg_reload_conf();  -- or log less",
    },
    Odd {
        name: "pg_webhooks.request_timeout",
        is_odd: |value| length(value).is_some_and(|length| length > Duration::from_secs(300)),
        level: Level::Warning,
        what: "pg_webhooks.request_timeout is over five minutes: a receiver that hangs holds its requests that long",
        fix: "ALTER SYSTEM RESET pg_webhooks.request_timeout; SELECT pg_reload_conf();",
    },
];

pub async fn check(connection: &Connection, findings: &mut Findings) -> Result<(), CliError> {
    let names =
        ODD_SETTINGS.iter().map(|odd| odd.name).chain(["pg_webhooks.event_retention", "pg_webhooks.log_retention"]);
    let sql = "SELECT name, current_setting(name, true) FROM unnest($1::text[]) name";
    let rows = connection.client.query(sql, &[&names.collect::<Vec<_>>()]).await?;
    // A setting that is unset, or unknown to this version of Postgres, has its default.
    let values = rows.iter().filter_map(|row| Some((row.get(0), row.get::<_, Option<String>>(1)?)));
    judge(&values.collect(), findings);
    Ok(())
}

/// Settings that ALTER DATABASE or ALTER ROLE took though they are not valid.
pub async fn check_stored(connection: &Connection, findings: &mut Findings) -> Result<(), CliError> {
    let sql = "SELECT setting, value, fix FROM webhooks.invalid_settings()";
    for row in connection.client.query(sql, &[]).await? {
        let (setting, value): (&str, &str) = (row.get("setting"), row.get("value"));
        let message = format!("{setting} = {value} is not valid: another value counts instead");
        findings.problem("settings", message, row.get::<_, &str>("fix"));
    }
    Ok(())
}

fn judge(values: &HashMap<String, String>, findings: &mut Findings) {
    let before = findings.all().len();
    for odd in ODD_SETTINGS.iter().filter(|odd| values.get(odd.name).is_some_and(|value| (odd.is_odd)(value))) {
        findings.add("settings", odd.level, odd.what, odd.fix);
    }
    let days = |name: &str, default: u64| {
        values.get(name).and_then(|value| length(value)).unwrap_or(Duration::from_secs(default * 86_400))
    };
    if days("pg_webhooks.log_retention", 30) < days("pg_webhooks.event_retention", 7) {
        findings.warning(
            "settings",
            "pg_webhooks.log_retention is shorter than event_retention: \
             replay treats as undelivered what the log has dropped",
            "ALTER SYSTEM SET pg_webhooks.log_retention = '30 days'; SELECT pg_reload_conf();",
        );
    }
    if findings.all().len() == before {
        findings.ok("settings", "nothing unusual");
    }
}

fn is_off(value: &str) -> bool {
    value == "off"
}

/// Reads a duration with a unit, or a bare 0.
fn length(value: &str) -> Option<Duration> {
    if value == "0" { Some(Duration::ZERO) } else { webhooks_core::duration::parse(value).ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(name: &str, value: &str) -> bool {
        let mut findings = Findings::default();
        judge(&HashMap::from([(name.to_owned(), value.to_owned())]), &mut findings);
        findings.count(Level::Ok) == 0
    }

    #[test]
    fn odd_values_are_found_and_defaults_are_not() {
        for (name, odd, usual) in [
            ("fsync", "off", "on"),
            ("log_statement", "all", "ddl"),
            ("pg_webhooks.request_timeout", "10min", "30s"),
            ("pg_webhooks.log_retention", "2 days", "30 days"),
            ("pg_webhooks.event_retention", "60 days", "7 days"),
        ] {
            assert!(found(name, odd) && !found(name, usual), "{name}");
        }
    }
}
