//! `pg-webhooks logs`: the attempts and what came of them, the newest last.

use clap::Args;
use std::process::ExitCode;

use super::connection::Connection;
use super::error::CommandResult;
use super::output::{self, Format, Tone, paint};
use super::tail::{self, Tail};
use super::time::{self, Moment};
use crate::store::{AttemptFilter, AttemptLine};

#[derive(Args, Debug)]
pub struct Logs {
    /// Only attempts at this webhook, ep_…
    #[arg(value_name = "EP")]
    endpoint_id: Option<String>,
    /// Keep running and show new attempts as they are made
    #[arg(long, short, conflicts_with = "until")]
    follow: bool,
    /// Only this event, such as product.updated, or family, such as product.*
    #[arg(long)]
    event: Option<String>,
    /// Only this outcome: delivered, retry, rejected, gone, exhausted or unreadable; failed stands for all but delivered
    #[arg(long)]
    outcome: Option<String>,
    /// Not before this time: RFC 3339, or a duration ago, such as 2h
    #[arg(long, value_name = "TIME")]
    since: Option<Moment>,
    /// Before this time
    #[arg(long, value_name = "TIME")]
    until: Option<Moment>,
    /// Only with this text in the error, the event or the URL, or with this webhook_id
    #[arg(long, value_name = "TEXT")]
    search: Option<String>,
    /// At most the newest N
    #[arg(long, short = 'n', value_name = "N", default_value = "50", value_parser = clap::value_parser!(i32).range(0..))]
    limit: i32,
    #[command(flatten)]
    format: Format,
}

impl Logs {
    pub async fn run(self, connection: &Connection) -> CommandResult {
        let now = connection.now().await?;
        let filter = AttemptFilter {
            endpoint_id: self.endpoint_id.as_deref(),
            event: self.event.as_deref(),
            outcome: self.outcome.as_deref(),
            search: self.search.as_deref(),
            ..AttemptFilter::default()
        };
        // The tail starts first, so that an attempt that comes meanwhile is shown exactly once.
        let mut tail = if self.follow { Some(Tail::from_now(connection, filter).await?) } else { None };
        let shown = AttemptFilter {
            since: self.since.map(|since| since.resolve(now)),
            until: self.until.map(|until| until.resolve(now)),
            ..filter
        };
        let mut lines = connection.store().attempts(&shown, self.limit).await?;
        lines.reverse();
        if let Some(tail) = &mut tail {
            tail.pass_over(&lines);
            self.show_each(&lines)?;
            loop {
                tokio::time::sleep(tail::POLL_INTERVAL).await;
                self.show_each(&tail.poll().await?)?;
            }
        }
        if self.format.json {
            output::json(&lines)?;
        } else if lines.is_empty() {
            output::note("no attempts");
        } else {
            self.show_each(&lines)?;
        }
        Ok(ExitCode::SUCCESS)
    }

    fn show_each(&self, lines: &[AttemptLine]) -> std::io::Result<()> {
        for line in lines {
            if self.format.json {
                output::json_line(line)?;
            } else {
                let mut ids = line.webhook_id.clone();
                if self.endpoint_id.is_none() {
                    ids.push_str(&format!("  {}", line.endpoint_id));
                }
                output::line(&format_attempt(line, &ids, output::width()))?;
            }
        }
        Ok(())
    }
}

/// Formats an attempt and whose it is, on as many lines as the width needs.
pub fn format_attempt(line: &AttemptLine, ids: &str, width: Option<usize>) -> String {
    let tone = Tone::of(&line.outcome);
    let status = line.http_status.map_or_else(|| "-".to_owned(), |status| status.to_string());
    let head = format!(
        "{}  {} {status:>3} {:>8}  {:<18}",
        time::exact(line.timestamp),
        paint(tone, &format!("{:<9}", line.outcome)),
        format!("{}ms", line.response_time_ms),
        output::tame_line(&line.event),
    );
    let mut why = String::new();
    if line.retry_count > 0 {
        why.push_str(&format!("retry {}", line.retry_count));
    }
    for part in [&line.error, &line.response].into_iter().flatten().map(|text| output::tame_line(text)) {
        if !part.is_empty() {
            why.push_str(if why.is_empty() { "" } else { " – " });
            why.push_str(&part);
        }
    }
    if let Some(next) = line.next_attempt_at {
        why.push_str(&format!("{}next at {}", if why.is_empty() { "" } else { "; " }, time::exact(next)));
    }
    // 65 is the head's length without its colours.
    let mut text = match width {
        Some(width) if width < 65 + ids.len() => format!("{}\n  {}", head.trim_end(), paint(Tone::Dim, ids)),
        _ => format!("{head} {ids}"),
    };
    match width {
        _ if why.is_empty() => {}
        Some(_) => text.push_str(&format!("\n  {}", paint(if tone == Tone::Good { Tone::Dim } else { tone }, &why))),
        None => text.push_str(&format!("  {why}")),
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line() -> AttemptLine {
        serde_json::from_value(serde_json::json!({
            "timestamp": "2026-11-24T04:05:12.5Z", "endpoint_id": "ep_00000000n40000007shm2fnpb8", "url": "http://h/",
            "event": "product.updated", "webhook_id": "wh_00000000n40000007shm2fnpb8", "outcome": "retry",
            "http_status": 500, "response_time_ms": 12, "retry_count": 1, "error": null, "response": "Oh\u{1b}[2J\nno",
            "next_attempt_at": "2026-11-24T04:10:12Z", "signed_at": 1, "ours": false, "position": "1.1.wh_"
        }))
        .unwrap()
    }

    #[test]
    fn an_attempt_is_one_line_off_the_terminal_and_fits_a_narrow_one() {
        let line = line();
        let ids = format!("{}  {}", line.webhook_id, line.endpoint_id);
        let plain = |width| anstream::adapter::strip_str(&format_attempt(&line, &ids, width)).to_string();
        assert_eq!(plain(None).lines().count(), 1);
        let narrow = plain(Some(80));
        assert_eq!(narrow.lines().count(), 3);
        assert!(narrow.lines().all(|line| line.chars().count() <= 80), "{narrow}");
        assert!(plain(None).contains("retry 1 – Oh\u{fffd}[2J no; next at 2026-11-24T04:10:12Z"), "{}", plain(None));
    }
}
