//! Commits a second by Postgres' own pgbench: each client updates one random product after another.

use std::io::Write;
use std::process::Stdio;

use tempfile::NamedTempFile;
use tests::{Database, postgres_program};
use tokio::process::Command;

/// A script for pgbench.
pub struct Pgbench {
    script: NamedTempFile,
}

impl Pgbench {
    /// Single-row updates of `products`, which has that many rows; none if pgbench is not installed.
    pub fn of_updates(rows: u32) -> Option<Pgbench> {
        if !postgres_program("pgbench").exists() {
            return None;
        }
        let mut script = NamedTempFile::new().expect("a temporary file");
        write!(script, "\\set id random(1, {rows})\nUPDATE products SET price = price + 1 WHERE id = :id;\n")
            .expect("it is ours");
        Some(Pgbench { script })
    }

    /// Runs it; commits a second.
    pub async fn run(&self, db: &Database<'_>, clients: u32, seconds: u32) -> f64 {
        let (clients, seconds) = (clients.to_string(), seconds.to_string());
        let mut pgbench = Command::new(postgres_program("pgbench"));
        pgbench.args(["-n", "-M", "prepared", "-c", &clients, "-T", &seconds, "-f"]).arg(self.script.path());
        let output = pgbench.arg(db.url("postgres")).stdin(Stdio::null()).kill_on_drop(true).output().await;
        let output = output.expect("pgbench starts");
        assert!(output.status.success(), "pgbench: {}", String::from_utf8_lossy(&output.stderr));
        let report = String::from_utf8_lossy(&output.stdout);
        let tps = report.lines().find_map(|line| line.strip_prefix("tps = ")?.split(' ').next()?.parse().ok());
        tps.unwrap_or_else(|| panic!("no tps in {report}"))
    }
}
