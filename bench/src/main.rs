//! `make bench`: what pg_webhooks costs and how fast it is, each figure beside its alternative, taken in one run.
//!
//! Prints one table and writes a page of it, with pictures and how each figure was taken. `--quick` is a short form,
//! whose figures are rough. Names of subjects after it measure these alone, and write nothing. `post` is the
//! alternative to the sidecar: plain requests from a process of their own.
//!
//! A target that is missed is a figure like any other. A subject that breaks off, or an event that is lost, is a
//! failure: all is printed, and the status is 1.

mod size;

mod bulkheads;
mod capture;
mod commits;
mod crash;
mod disk;
mod drain;
mod growth;
mod idle;
mod latency;
mod memory;
mod pinned;
mod shards;
mod subscribers;

mod outboxes;
mod pgbench;
mod post;
mod queue;

mod load;
mod processes;
mod products;
mod quantiles;
mod sink;

mod chart;
mod page;
mod table;

use std::panic::AssertUnwindSafe;
use std::process::ExitCode;
use std::time::Instant;

use futures_util::FutureExt;
use tests::Cluster;

use crate::size::{FULL, QUICK, Size};
use crate::table::Table;

/// In the order of the table's rows; the one that fills the disk comes last in time, too.
const SUBJECTS: [&str; 13] = [
    "capture",
    "commits",
    "latency",
    "drain",
    "disk",
    "pinned",
    "bulkheads",
    "crash",
    "shards",
    "memory",
    "idle",
    "subscribers",
    "growth",
];

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if let ["post", urls, concurrency] = arguments[..] {
        post::run(urls, concurrency.parse().expect("a number of requests")).await;
        return ExitCode::SUCCESS;
    }
    let size = if arguments.first() == Some(&"--quick") { QUICK } else { FULL };
    arguments.retain(|argument| *argument != "--quick");
    if !arguments.iter().all(|argument| SUBJECTS.contains(argument)) {
        eprintln!("usage: bench [--quick] [{}]…", SUBJECTS.join("|"));
        return ExitCode::from(64);
    }
    let chosen = |subject: &&str| arguments.is_empty() || arguments.contains(subject);

    let began = Instant::now();
    // Commits reach the disk, as they do in production.
    let cluster = Cluster::own_with("fsync = on\n").await;
    let mut table = Table::default();
    for subject in SUBJECTS.into_iter().filter(chosen) {
        let began = Instant::now();
        measure(subject, &cluster, size, &mut table).await;
        eprintln!("{subject}: {:.0} s\n", began.elapsed().as_secs_f64());
    }
    table.finish();
    print!("{}", table.as_text());
    println!("{} of {} targets met", table.met(), table.targets());
    if arguments.is_empty() {
        match page::write(&table, size, began.elapsed()) {
            Ok(page) => println!("written to {}", page.display()),
            Err(error) => {
                eprintln!("the page cannot be written: {error}");
                return ExitCode::FAILURE;
            }
        }
    }
    if table.has_failed() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Measures one subject; one that panics becomes a row that says so, and the others are measured all the same.
async fn measure(subject: &str, cluster: &Cluster, size: Size, table: &mut Table) {
    let measured = AssertUnwindSafe(async {
        match subject {
            "capture" => capture::measure(cluster, size, table).await,
            "commits" => commits::measure(cluster, size, table).await,
            "latency" => latency::measure(cluster, size, table).await,
            "drain" => drain::measure(cluster, size, table).await,
            "disk" => disk::measure(cluster, size, table).await,
            "pinned" => pinned::measure(cluster, size, table).await,
            "bulkheads" => bulkheads::measure(cluster, size, table).await,
            "crash" => crash::measure(cluster, size, table).await,
            "shards" => shards::measure(cluster, size, table).await,
            "memory" => memory::measure(cluster, size, table).await,
            "idle" => idle::measure(cluster, size, table).await,
            "subscribers" => subscribers::measure(cluster, size, table).await,
            "growth" => growth::measure(cluster, size, table).await,
            _ => unreachable!("checked before the start"),
        }
    });
    if measured.catch_unwind().await.is_err() {
        table.broke_off(subject);
    }
}
