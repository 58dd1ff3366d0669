//! `pg-webhooks doctor`: looks at everything that delivery depends on, says what is wrong and how to fix it. It changes
//! nothing and sends no request: it resolves the receivers' names and dials their ports, and skips private ones.

mod finding;

mod rights;
mod server;
mod settings;
mod extension;
mod tables;
mod partitions;
mod sidecars;
mod pooler;
mod endpoints;
mod troubles;
mod transactions;

use clap::Args;
use serde_json::json;
use std::process::ExitCode;

use super::connection::Connection;
use super::error::{CliError, CommandResult};
use super::output::{self, Format, Tone, paint};
use crate::database::Database;
use crate::delivery::outbound::Outbound;
use crate::settings::OutboundSettings;
use finding::{Findings, Level};

#[derive(Args, Debug)]
pub struct Doctor {
    #[command(flatten)]
    outbound: OutboundSettings,
    #[command(flatten)]
    format: Format,
}

impl Doctor {
    pub async fn run(self, database: &Database) -> CommandResult {
        let mut findings = Findings::default();
        match Connection::open(database).await {
            Ok(connection) => examine(&connection, database, &self.outbound, &mut findings).await,
            Err(error) => findings.problem("connection", error.to_string(), "psql \"$DATABASE_URL\" says more."),
        }
        findings.sort();
        if self.format.json {
            output::json(&json!({
                "problems": findings.count(Level::Problem), "warnings": findings.count(Level::Warning), "findings": findings.all(),
            }))?;
        } else {
            show(&findings)?;
        }
        Ok(if findings.count(Level::Problem) == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// Makes all checks; one that cannot be made is a finding itself.
async fn examine(connection: &Connection, database: &Database, outbound: &OutboundSettings, findings: &mut Findings) {
    record("server", server::check(connection, findings).await, findings);
    record("settings", settings::check(connection, findings).await, findings);
    record("session", pooler::check(database, findings).await, findings);
    record("transactions", transactions::check(connection, findings).await, findings);
    let rights = match extension::check(connection, findings).await {
        Ok(Some(rights)) => rights,
        Ok(None) => return,
        Err(error) => return record("extension", Err(error), findings),
    };
    record("rights", rights::check(connection, findings).await, findings);
    record("tables", tables::check(connection, findings).await, findings);
    record("partitions", partitions::check(connection, findings).await, findings);
    if rights.manages {
        record("tables", tables::check_attachments(connection, findings).await, findings);
        record("tables", tables::check_missed(connection, findings).await, findings);
        record("settings", settings::check_stored(connection, findings).await, findings);
        record("sidecars", sidecars::check(connection, findings).await, findings);
        record("webhooks", troubles::check(connection, findings).await, findings);
        match Outbound::new(outbound) {
            Ok(outbound) => record("webhooks", endpoints::check(connection, &outbound, findings).await, findings),
            Err(error) => findings.problem("receivers", format!("{error:#}"), "pg-webhooks serve says the same."),
        }
    }
}

/// Adds a problem if the check could not be made.
fn record(check: &'static str, made: Result<(), CliError>, findings: &mut Findings) {
    if let Err(CliError::Message { message, hint, .. }) = made {
        let fix = hint.unwrap_or_else(|| "psql \"$DATABASE_URL\" says more.".to_owned());
        findings.problem(check, format!("could not be checked: {message}"), fix);
    }
}

fn show(findings: &Findings) -> std::io::Result<()> {
    for finding in findings.all() {
        let tone = match finding.level {
            Level::Ok => Tone::Good,
            Level::Warning => Tone::Warning,
            Level::Problem => Tone::Bad,
        };
        let level = paint(tone, &format!("{:<8}", finding.level.name()));
        output::line(&format!("{level} {:<12} {}", finding.check, output::wrapped(&finding.message, 22)))?;
        if let Some(fix) = &finding.fix {
            output::line(&format!("{:21} {} {}", "", paint(Tone::Dim, "fix:"), output::tame(fix)))?;
        }
    }
    let count = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    let (problems, warnings) = (findings.count(Level::Problem), findings.count(Level::Warning));
    let sum = format!("{}, {}", count(problems, "problem"), count(warnings, "warning"));
    output::line(&format!("\n{}", paint(if problems > 0 { Tone::Bad } else { Tone::Good }, &sum)))
}
