//! `pg-webhooks status`: the state of delivery at a glance.

use clap::Args;
use serde_json::json;
use std::process::ExitCode;

use super::connection::Connection;
use super::error::CommandResult;
use super::output::{self, Format, Table, Tone, cell, paint, when};
use super::time;
use crate::store;

/// `webhooks.status` counts no further.
const MAX_COUNTED: i64 = 10_000;

#[derive(Args, Debug)]
pub struct Status {
    #[command(flatten)]
    format: Format,
}

impl Status {
    pub async fn run(self, connection: &Connection) -> CommandResult {
        let status = connection.store().status().await?;
        let leases = connection.store().leases().await?;
        let health = connection.store().health(None, 100).await?;
        if self.format.json {
            let mut answer = serde_json::to_value(&status).map_err(std::io::Error::from)?;
            answer["leases"] = json!(leases);
            answer["health"] = json!(health);
            output::json(&answer)?;
            return Ok(ExitCode::SUCCESS);
        }
        for (name, tone, text) in facts(&status) {
            output::line(&format!("{} {}", paint(Tone::Strong, &format!("{name:<10}")), paint(tone, &text)))?;
        }
        if health.is_empty() {
            return Ok(ExitCode::SUCCESS);
        }
        output::line("")?;
        let now = connection.now().await?;
        let mut table = Table::new(&["WEBHOOK", "STATE", "24H", "P95", "WAITING", "LAST ERROR"])
            .whole(&[0, 1, 2, 3, 4])
            .numbers(&[2, 3, 4]);
        for one in health {
            let error = match (one.last_error, one.last_error_at) {
                (Some(error), Some(at)) => match one.failing_since {
                    Some(since) => format!("{error} ({}; since {})", when(at, now), when(since, now)),
                    None => format!("{error} ({})", when(at, now)),
                },
                _ => String::new(),
            };
            table.row(vec![
                one.id.into(),
                cell(Tone::of(&one.state), &one.state),
                format!("{}/{}", one.delivered, one.attempts).into(),
                one.p95_ms.map_or_else(|| "-".to_owned(), |ms| format!("{ms}ms")).into(),
                output::at_least(one.pending, 1000).into(),
                if one.given_up > 0 {
                    cell(Tone::Bad, &format!("{} given up; {error}", output::at_least(one.given_up.into(), 1000)))
                } else {
                    error.into()
                },
            ]);
        }
        table.print()?;
        Ok(ExitCode::SUCCESS)
    }
}

fn facts(status: &store::Status) -> Vec<(&'static str, Tone, String)> {
    let tone = |is_good| if is_good { Tone::Good } else { Tone::Bad };
    let counted = |count| output::at_least(count, MAX_COUNTED);
    let mut facts = vec![
        ("extension", Tone::Plain, status.version.clone()),
        (
            "sidecars",
            tone(status.shards_held == status.shards),
            format!("{}, holding {} of {} shards", status.sidecars, status.shards_held, status.shards),
        ),
        (
            "behind",
            tone(status.behind_seconds < 60.0),
            if status.behind_seconds < 1.0 { "no".to_owned() } else { time::rough(status.behind_seconds as i64) },
        ),
        ("unread", Tone::Plain, counted(status.unread.into())),
        ("waiting", Tone::Plain, format!("{}, {} of them due", counted(status.pending), counted(status.overdue))),
        ("webhooks", Tone::Plain, format!("{}, {} of them disabled", status.endpoints, status.disabled)),
    ];
    if !status.in_trouble.is_empty() {
        facts.push(("in trouble", Tone::Bad, status.in_trouble.join(" ")));
    }
    if status.given_up > 0 {
        let text = format!(
            "{} deliveries of the last hour: refused, or the last retry failed",
            counted(status.given_up.into())
        );
        facts.push(("given up", Tone::Bad, text));
    }
    if !status.invalid_settings.is_empty() {
        facts.push(("not valid", Tone::Bad, status.invalid_settings.join(" ")));
    }
    if !status.unreadable.is_empty() {
        facts.push(("unreadable", Tone::Bad, status.unreadable.join(" ")));
    }
    for reason in &status.missed_reasons {
        facts.push(("missed", Tone::Bad, reason.clone()));
    }
    facts
}
