//! Commits a second by Postgres' own pgbench: each client updates one random product after another.

use std::io::Write;
use std::process::Stdio;
use std::time::Duration;

use tempfile::NamedTempFile;
use tests::{Cluster, Database, postgres_program};
use tokio::process::Command;

use crate::processes::cpu_seconds_of_ended_children;

/// What a run of pgbench came to.
#[derive(Clone, Copy)]
pub struct Run {
    pub commits_a_second: f64,
    /// Processor time that Postgres' sessions took for each, in microseconds.
    pub cpu_us: f64,
}

/// A script for pgbench.
pub struct Pgbench {
    script: NamedTempFile,
}

impl Pgbench {
    /// Single-row updates of `products`, which has that many rows.
    pub fn of_updates(rows: u32) -> Pgbench {
        let mut script = NamedTempFile::new().expect("a temporary file");
        write!(script, "\\set id random(1, {rows})\nUPDATE products SET price = price + 1 WHERE id = :id;\n")
            .expect("it is ours");
        Pgbench { script }
    }

    /// Runs it.
    pub async fn run(&self, cluster: &Cluster, db: &Database<'_>, clients: u32, seconds: u32) -> Run {
        let (clients, seconds) = (clients.to_string(), seconds.to_string());
        let mut pgbench = Command::new(postgres_program("pgbench"));
        pgbench.args(["-n", "-M", "prepared", "-c", &clients, "-T", &seconds, "-f"]).arg(self.script.path());
        let before = cpu_seconds_of_ended_children(cluster.pid());
        let output = pgbench.arg(db.url("postgres")).stdin(Stdio::null()).kill_on_drop(true).output().await;
        let output = output.expect("pgbench is installed with the server");
        assert!(output.status.success(), "pgbench: {}", String::from_utf8_lossy(&output.stderr));
        let cpu_us = (settled(|| cpu_seconds_of_ended_children(cluster.pid())).await - before) * 1e6;

        let report = String::from_utf8_lossy(&output.stdout);
        let figure = |name: &str| {
            let line = report.lines().find_map(|line| line.strip_prefix(name));
            let figure = line.and_then(|line| line.split([' ', '/']).next()?.parse::<f64>().ok());
            figure.unwrap_or_else(|| panic!("no {name} in {report}"))
        };
        let commits = figure("number of transactions actually processed: ");
        Run { commits_a_second: figure("tps = "), cpu_us: cpu_us / commits }
    }
}

/// A figure that grows, once it has not for a while: sessions end a moment after their client.
async fn settled(figure: impl Fn() -> f64) -> f64 {
    let mut last = figure();
    loop {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let now = figure();
        if now == last {
            return now;
        }
        last = now;
    }
}
