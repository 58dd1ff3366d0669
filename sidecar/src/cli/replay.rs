//! `pg-webhooks replay`: sends a webhook the messages of a period again, and watches until each of them has been
//! delivered or has failed for good.

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use std::collections::HashSet;
use std::process::ExitCode;
use std::time::Duration;

use super::connection::Connection;
use super::error::{CliError, CommandResult};
use super::output::{self, Format};
use super::prompt;
use super::tail::{self, Tail};
use super::time::{self, Moment};
use crate::store::{self, AttemptFilter, EventFilter, Time};

#[derive(Args, Debug)]
pub struct Replay {
    /// Id of the webhook, ep_…
    #[arg(value_name = "EP")]
    endpoint_id: String,
    /// Messages from this time on: RFC 3339, or a duration ago, such as 2h
    #[arg(long, value_name = "TIME")]
    since: Moment,
    /// Messages before this time; now unless given
    #[arg(long, value_name = "TIME")]
    until: Option<Moment>,
    /// Also what was delivered already
    #[arg(long)]
    all: bool,
    /// Only say how many messages that would be
    #[arg(long)]
    dry_run: bool,
    /// Do not ask for confirmation
    #[arg(long, short)]
    yes: bool,
    /// Do not wait until they are delivered
    #[arg(long)]
    no_wait: bool,
    #[command(flatten)]
    format: Format,
}

/// The messages that were replayed, counted by what became of them.
#[derive(Default)]
struct Tally {
    delivered: usize,
    failed: usize,
    /// Messages that have failed, and have another attempt to come.
    retrying: HashSet<String>,
}

impl Replay {
    pub async fn run(self, connection: &Connection) -> CommandResult {
        let now = connection.now().await?;
        let since = self.since.resolve(now);
        let until = self.until.map_or(now, |until| until.resolve(now));
        let what = store::Replay { since, until: Some(until), only_failed: !self.all, dry_run: true };
        let count = connection.store().replay(&self.endpoint_id, &what).await?;
        if self.dry_run || count == 0 {
            self.format.answer(
                &json!({ "endpoint_id": self.endpoint_id, "since": since, "until": until, "messages": count }),
                &self.format_count(count, since, until),
            )?;
            return Ok(ExitCode::SUCCESS);
        }
        if !self.format.json {
            output::note(&self.format_count(count, since, until));
        }
        if !self.yes && prompt::is_possible() && !prompt::confirm("Send them?").await? {
            return Err(CliError::new("nothing was sent", "Answer y to send them."));
        }
        self.send(connection, store::Replay { dry_run: false, ..what }, until).await
    }

    fn format_count(&self, count: i64, since: Time, until: Time) -> String {
        let messages = if count == 1 { "message" } else { "messages" };
        let which = if self.all { "" } else { " not delivered" };
        format!("{count} {messages}{which} from {} to {}", time::exact(since), time::exact(until))
    }

    async fn send(&self, connection: &Connection, what: store::Replay, until: Time) -> CommandResult {
        let begin = connection.now().await?;
        if self.no_wait {
            let queued = connection.store().replay(&self.endpoint_id, &what).await?;
            let document = json!({ "endpoint_id": self.endpoint_id, "queued": queued });
            self.format.answer(&document, &format!("queued {queued}"))?;
            return Ok(ExitCode::SUCCESS);
        }
        // One transaction: none of them is delivered before we know which they are.
        connection.client.batch_execute("BEGIN").await?;
        let before = self.waiting(connection, what.since, until).await?;
        let queued = connection.store().replay(&self.endpoint_id, &what).await?;
        let mut left = self.waiting(connection, what.since, until).await?;
        connection.client.batch_execute("COMMIT").await?;
        left.retain(|webhook_id| !before.contains(webhook_id));

        let tally = self.watch(connection, left, begin).await?;
        let waiting = queued - i64::try_from(tally.delivered + tally.failed).unwrap_or(0);
        let still = if waiting > 0 { format!(", {waiting} still waiting") } else { String::new() };
        self.format.answer(
            &json!({
                "endpoint_id": self.endpoint_id, "queued": queued, "delivered": tally.delivered,
                "failed": tally.failed, "waiting": waiting,
            }),
            &format!("{} delivered, {} failed{still}", tally.delivered, tally.failed),
        )?;
        Ok(if tally.failed == 0 && waiting <= 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// Returns the messages of the period that wait for an attempt.
    async fn waiting(&self, connection: &Connection, since: Time, until: Time) -> Result<HashSet<String>, CliError> {
        let filter = EventFilter {
            endpoint_id: Some(&self.endpoint_id),
            state: Some("waiting"),
            since: Some(since),
            until: Some(until),
            ..EventFilter::default()
        };
        let waiting = connection.store().events(&filter, i32::MAX).await?;
        Ok(waiting.into_iter().map(|event| event.webhook_id).collect())
    }

    /// Waits until no message is left, or the webhook is disabled.
    async fn watch(&self, connection: &Connection, mut left: HashSet<String>, begin: Time) -> Result<Tally, CliError> {
        if connection.store().status().await?.shards_held == 0 {
            let hint = Some("pg-webhooks serve starts one.");
            output::tell(output::Tone::Warning, "warning", "no sidecar is running, so nothing is sent", hint);
        }
        let bar = progress_bar(left.len());
        let filter = AttemptFilter { endpoint_id: Some(&self.endpoint_id), ..AttemptFilter::default() };
        let mut tail = Tail::since(connection, filter, begin).await?;
        let mut tally = Tally::default();
        while !left.is_empty() {
            // The queue is read before the log: a message that has left it by now is in the log by then.
            let health = connection.store().health(Some(&self.endpoint_id), 1).await?;
            let is_over = health.first().is_none_or(|one| !one.active || one.pending == 0);
            for attempt in if is_over { tail.poll_deep().await? } else { tail.poll().await? } {
                tally.count(&mut left, attempt.webhook_id, &attempt.outcome);
            }
            bar.set_position((tally.delivered + tally.failed) as u64);
            bar.set_message(tally.format_rest());
            if is_over {
                break;
            }
            if !left.is_empty() {
                tokio::time::sleep(tail::POLL_INTERVAL).await;
            }
        }
        bar.finish_and_clear();
        if !left.is_empty() {
            output::tell(
                output::Tone::Warning,
                "warning",
                "the webhook is disabled, so the rest waits",
                Some(&format!("pg-webhooks webhooks enable {} sends it.", self.endpoint_id)),
            );
        }
        Ok(tally)
    }
}

impl Tally {
    fn count(&mut self, left: &mut HashSet<String>, webhook_id: String, outcome: &str) {
        match outcome {
            "retry" if left.contains(&webhook_id) => drop(self.retrying.insert(webhook_id)),
            "retry" => {}
            _ if !left.remove(&webhook_id) => {}
            outcome => {
                self.retrying.remove(&webhook_id);
                if outcome == "delivered" { self.delivered += 1 } else { self.failed += 1 }
            }
        }
    }

    fn format_rest(&self) -> String {
        let mut text = String::new();
        if self.failed > 0 {
            text.push_str(&format!(", {} failed", self.failed));
        }
        if !self.retrying.is_empty() {
            text.push_str(&format!(", {} wait for a retry", self.retrying.len()));
        }
        text
    }
}

/// Makes a progress bar on stderr, which shows only on a terminal.
fn progress_bar(messages: usize) -> ProgressBar {
    let template = "{bar:30} {pos} of {len}{msg}, {elapsed} (Ctrl-C leaves it running)";
    let style = ProgressStyle::with_template(template).expect("the template is well formed");
    let bar = ProgressBar::new(messages as u64).with_style(style.progress_chars("━╸ "));
    bar.enable_steady_tick(Duration::from_millis(250));
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_messages_that_were_replayed_count_and_each_once() {
        let mut left = HashSet::from(["a".to_owned(), "b".to_owned(), "c".to_owned()]);
        let mut tally = Tally::default();
        for (id, outcome) in
            [("x", "delivered"), ("x", "retry"), ("a", "retry"), ("b", "delivered"), ("b", "delivered")]
        {
            tally.count(&mut left, id.to_owned(), outcome);
        }
        assert_eq!((tally.delivered, tally.failed, tally.format_rest().as_str()), (1, 0, ", 1 wait for a retry"));
        tally.count(&mut left, "a".to_owned(), "rejected");
        assert_eq!((tally.delivered, tally.failed, tally.format_rest().as_str()), (1, 1, ", 1 failed"));
        assert_eq!(left, HashSet::from(["c".to_owned()]));
    }
}
