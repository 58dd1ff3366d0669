//! What capture costs writers of small transactions, and that they do not pay for waking the sidecar.

use std::time::{Duration, Instant};

use tests::{Cluster, Database, Sidecar, eventually};

use crate::chart::{Axis, Chart, Scale, Series};
use crate::outboxes::*;
use crate::pgbench::{Pgbench, Run};
use crate::products::database_with_products;
use crate::quantiles::median;
use crate::sink::Sink;
use crate::size::Size;
use crate::table::{Finding, Table, Target};

const CLIENTS: [u32; 3] = [1, 16, 64];
const HOW: &str = "pgbench: each client updates one random product per transaction, in turn with no trigger and no sidecar; with ours and a \
    sidecar that runs, has read all that was there, and whose only endpoint is paused; with ours and no sidecar; and with (b). A vacuum and \
    a checkpoint come before each; the figure is the median of the rounds. Commits are flushed to disk. \"Delivering\" is ours with the \
    endpoint active: the sidecar and the receiver then compete with the writers for the cores. CPU a commit is the processor time of \
    Postgres' sessions, their start included, without a trigger, and with ours and no sidecar. A listening session counts the NOTIFYs.";

/// Commits by one number of clients, a run for each round.
struct Rates {
    clients: u32,
    bare: Vec<Run>,
    unattended: Vec<Run>,
    ours: Vec<Run>,
    outbox: Vec<Run>,
    delivering: Vec<Run>,
    notified_a_second: Vec<f64>,
}

/// Measures commits a second by 1, 16 and 64 clients.
pub async fn measure(cluster: &Cluster, size: Size, table: &mut Table) {
    table.begin(3, "Commits a second, single-row UPDATEs", HOW);
    let pgbench = Pgbench::of_updates(size.rows);
    let db = database_with_products(cluster, size.rows).await;
    db.run(OUTBOX).await;
    let sink = Sink::start().await;
    let endpoint = db.register(&sink.url, "product.updated", "secret").await;
    let mut all = Vec::new();
    for clients in CLIENTS {
        let (bare, unattended, ours, outbox, delivering, notified_a_second) = Default::default();
        let mut rates = Rates { clients, bare, unattended, ours, outbox, delivering, notified_a_second };
        for _ in 0..size.commit_rounds {
            round(cluster, &db, &pgbench, size, &sink, &endpoint, &mut rates).await;
        }
        report(&rates, table);
        all.push(rates);
    }
    db.discard().await;
    table.picture("commits.svg", "Commits a second by clients", draw(&all));
}

async fn round(
    cluster: &Cluster,
    db: &Database<'_>,
    pgbench: &Pgbench,
    size: Size,
    sink: &Sink,
    endpoint: &str,
    rates: &mut Rates,
) {
    let run = async || {
        db.run("VACUUM products").await;
        db.run("CHECKPOINT").await;
        pgbench.run(cluster, db, rates.clients, size.commit_seconds).await
    };
    db.run(REMOVE_OURS).await;
    rates.bare.push(run().await);
    db.run(ADD_OUTBOX).await;
    rates.outbox.push(run().await);
    db.run(REMOVE_OUTBOX).await;
    db.run(ADD_OURS).await;
    rates.unattended.push(run().await);

    db.run(&format!("SELECT webhooks.update('{endpoint}', active => false)")).await;
    let sidecar = Sidecar::start(db);
    // It first passes what was committed without it, which is no part of what it costs the writers of now.
    until_read(db).await;
    let listener = db.session().await;
    listener.run("LISTEN pg_webhooks").await;
    let began = Instant::now();
    rates.ours.push(run().await);
    rates.notified_a_second.push(listener.notifications() as f64 / began.elapsed().as_secs_f64());
    listener.close().await;

    db.run(&format!("SELECT webhooks.update('{endpoint}', active => true)")).await;
    let (events, sent) = (count_events(db).await, sink.count());
    rates.delivering.push(run().await);
    let new = (count_events(db).await - events) as usize;
    sink.wait_for(sent + new, Duration::from_secs(120)).await;
    assert!(sidecar.terminate().await.success(), "the sidecar stops");
}

async fn until_read(db: &Database<'_>) {
    eventually(Duration::from_secs(120), "the sidecar has read all", async || {
        (db.one::<i32>("SELECT unread FROM webhooks.status()").await == 0).then_some(())
    })
    .await;
}

async fn count_events(db: &Database<'_>) -> i64 {
    db.one("SELECT count(*) FROM webhooks.event").await
}

fn report(rates: &Rates, table: &mut Table) {
    let [bare, ours, outbox, delivering] =
        [&rates.bare, &rates.ours, &rates.outbox, &rates.delivering].map(|runs| commits_a_second(runs));
    let clients = rates.clients;
    let finding = |what: String, ours: f64, beside, target| Finding {
        what,
        ours: format!("{ours:.0}/s"),
        beside,
        limit: format!("bare {bare:.0}/s"),
        target,
    };
    let unattended = commits_a_second(&rates.unattended) / bare;
    let cpu_us = |runs: &[Run]| median(&runs.iter().map(|run| run.cpu_us).collect::<Vec<_>>());
    let notified = format!(
        "no sidecar: {unattended:.2} of bare, CPU a commit {:.0} → {:.0} µs; NOTIFY {:.0}/s",
        cpu_us(&rates.bare),
        cpu_us(&rates.unattended),
        median(&rates.notified_a_second)
    );
    let target = Target::at_least(ours / bare, 0.8, "≥ 0.80 of bare");
    table.add(finding(format!("commits by {clients}, endpoint paused"), ours, notified, target));
    let target = (clients > 1).then(|| Target::at_least(ours / outbox, 5.0, "≥ 5 × (b)")).flatten();
    table.add(finding(format!("commits by {clients}, against (b)"), ours, format!("(b) {outbox:.0}/s"), target));
    let beside = format!("{:.2} of bare", delivering / bare);
    table.add(finding(format!("commits by {clients}, delivering"), delivering, beside, None));
}

fn commits_a_second(runs: &[Run]) -> f64 {
    median(&runs.iter().map(|run| run.commits_a_second).collect::<Vec<_>>())
}

fn draw(all: &[Rates]) -> String {
    let line = |name, of: fn(&Rates) -> &Vec<Run>| Series {
        name,
        points: all.iter().map(|rates| (f64::from(rates.clients), commits_a_second(of(rates)))).collect(),
    };
    let chart = Chart {
        title: "Commits a second: single-row UPDATEs",
        across: Axis { label: "clients", scale: Scale::Linear },
        up: Axis { label: "commits a second", scale: Scale::Linear },
        series: vec![
            line("ours", |rates| &rates.ours),
            line("(b) with NOTIFY", |rates| &rates.outbox),
            line("ours, delivering", |rates| &rates.delivering),
            line("no trigger", |rates| &rates.bare),
        ],
    };
    chart.to_svg()
}
