//! The partitions of both logs: whether those of the next days are there, and those of old days are gone.

use chrono::{Days, NaiveDate};
use std::time::Duration;

use super::finding::Findings;
use crate::cli::connection::Connection;
use crate::cli::error::CliError;

/// Housekeeping makes partitions for a week ahead: where one of the next days is missing, it has not been for some days.
const DAYS_AHEAD: u64 = 2;
/// How many days may be left beyond the retention: one has begun, one waits for housekeeping.
const SLACK_DAYS: u64 = 2;
const MAINTAIN_FIX: &str =
    "SELECT webhooks.maintain();  -- as webhooks_admin; a running sidecar does it every few minutes";

pub async fn check(connection: &Connection, findings: &mut Findings) -> Result<(), CliError> {
    let sql = "SELECT p.relname::text, ARRAY(SELECT to_date(right(c.relname, 8), 'YYYYMMDD')::text
                                               FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
                                              WHERE i.inhparent = p.oid AND c.relname ~ '_[0-9]{8}$' ORDER BY 1),
                      (clock_timestamp() AT TIME ZONE 'UTC')::date::text,
                      current_setting('pg_webhooks.' || CASE p.relname WHEN 'event' THEN 'event_retention'
                                                                       ELSE 'log_retention' END, true),
                      EXISTS (SELECT FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
                               WHERE i.inhparent = p.oid AND c.relname = p.relname || '_later'),
                      (SELECT pg_size_pretty(sum(pg_total_relation_size(inhrelid))) FROM pg_inherits WHERE inhparent = p.oid)
                 FROM pg_class p JOIN pg_namespace n ON n.oid = p.relnamespace AND n.nspname = 'webhooks'
                WHERE p.relname IN ('event', 'attempt') AND p.relkind = 'p'
                ORDER BY 1";
    for row in connection.client.query(sql, &[]).await? {
        let name: String = row.get(0);
        let days: Vec<NaiveDate> = row.get::<_, Vec<String>>(1).iter().filter_map(|day| day.parse().ok()).collect();
        let Ok(today) = row.get::<_, String>(2).parse::<NaiveDate>() else { continue };
        let default = Duration::from_secs(86_400 * if name == "event" { 7 } else { 30 });
        let kept = row
            .get::<_, Option<String>>(3)
            .and_then(|text| webhooks_core::duration::parse(&text).ok())
            .unwrap_or(default);
        let missing = missing(&days, today);
        match days.last() {
            Some(last) if missing.is_empty() => {
                let size: String = row.get::<_, Option<String>>(5).unwrap_or_default();
                let told = format!("webhooks.{name}: {size} in {} days, the last of them {last}", days.len());
                findings.ok("partitions", told);
            }
            _ => tell_of_missing(&name, &missing, today, row.get(4), findings),
        }
        if let Some(oldest) = days.iter().min().filter(|oldest| is_overdue(**oldest, today, kept)) {
            findings.warning(
                "partitions",
                format!(
                    "webhooks.{name} still has {oldest}, beyond its retention: it is in use, or not all of it was sent"
                ),
                MAINTAIN_FIX,
            );
        }
    }
    Ok(())
}

fn tell_of_missing(log: &str, missing: &[NaiveDate], today: NaiveDate, has_later: bool, findings: &mut Findings) {
    let days = missing.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    if has_later {
        let told = format!("webhooks.{log} has no partition for {days}: webhooks.{log}_later takes its rows");
        findings.warning("partitions", told, MAINTAIN_FIX);
    } else if missing.contains(&today) {
        findings.problem("partitions", format!("webhooks.{log} has no partition for today, {days}"), MAINTAIN_FIX);
    } else {
        findings.warning("partitions", format!("webhooks.{log} has no partition for {days}"), MAINTAIN_FIX);
    }
}

fn missing(days: &[NaiveDate], today: NaiveDate) -> Vec<NaiveDate> {
    (0..=DAYS_AHEAD).map(|ahead| today + Days::new(ahead)).filter(|day| !days.contains(day)).collect()
}

fn is_overdue(oldest: NaiveDate, today: NaiveDate, kept: Duration) -> bool {
    oldest.checked_add_days(Days::new(kept.as_secs() / 86_400 + SLACK_DAYS)).is_some_and(|end| end < today)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_ahead_and_days_too_old_are_known() {
        let day = |text: &str| text.parse::<NaiveDate>().unwrap();
        let today = day("2026-12-31");
        assert_eq!(missing(&[today, day("2027-01-02")], today), [day("2027-01-01")]);
        let week = Duration::from_secs(7 * 86_400);
        assert!(is_overdue(day("2026-12-21"), today, week) && !is_overdue(day("2026-12-22"), today, week));
    }
}
