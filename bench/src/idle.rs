//! What it costs when nothing happens.

use std::time::{Duration, Instant};

use tests::{Cluster, Session, Sidecar, eventually};

use crate::processes::{cpu_seconds, cpu_seconds_with_children};
use crate::products::{database_with_products, update_one};
use crate::sink::Sink;
use crate::size::Size;
use crate::table::{Finding, Table, Target};

const PATIENCE: Duration = Duration::from_secs(30);
const HOW: &str = "One delivery, then the sidecar falls asleep, then nothing for 20 s (quick: 10 s). CPU is the processor time of all threads of the \
    sidecar and of all processes of this Postgres (`/proc/…/schedstat`), its own background work included. Statements are the transactions \
    of the database in `pg_stat_database`, all of them the sidecar's, read from another database with autovacuum off.";

/// Watches an idle sidecar.
pub async fn measure(cluster: &Cluster, size: Size, table: &mut Table) {
    table.begin(12, "Idle", HOW);
    let db = database_with_products(cluster, 10).await;
    let sink = Sink::start().await;
    db.register(&sink.url, "product.updated", "secret").await;
    let sidecar = Sidecar::start(&db);
    db.run(&update_one(1)).await;
    sink.wait_for(1, PATIENCE).await;
    db.run("CHECKPOINT").await;
    let asleep = "SELECT EXISTS (SELECT FROM pg_locks WHERE relation = 'webhooks.wakeup'::regclass AND mode = 'ShareLock' AND granted)";
    eventually(PATIENCE, "the sidecar sleeps", async || db.one::<bool>(asleep).await.then_some(())).await;

    // Or what this session has counted is handed in later, when only the sidecar's should be.
    db.run("SELECT pg_stat_force_next_flush()").await;
    let postgres = Session::open(&cluster.url("postgres", "postgres")).await;
    let transactions = async || -> i64 {
        let count = format!("SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = '{}'", db.name());
        postgres.one(&count).await
    };
    // An autovacuum worker's transactions would count as the sidecar's.
    postgres.run("ALTER SYSTEM SET autovacuum = off").await;
    postgres.run("SELECT pg_reload_conf()").await;
    // Sessions hand in their counts with a delay of up to ten seconds.
    tokio::time::sleep(Duration::from_secs(11)).await;
    let (began, count) = (Instant::now(), transactions().await);
    let (sidecar_before, postgres_before) = (cpu_seconds(sidecar.pid()), cpu_seconds_with_children(cluster.pid()));
    tokio::time::sleep(Duration::from_secs(u64::from(size.idle_seconds))).await;
    let seconds = began.elapsed().as_secs_f64();
    let percent = |cpu: f64| cpu / seconds * 100.0;
    let ours = percent(cpu_seconds(sidecar.pid()) - sidecar_before);
    let server = percent(cpu_seconds_with_children(cluster.pid()) - postgres_before);
    let statements = (transactions().await - count) as f64 / seconds;
    postgres.run("ALTER SYSTEM RESET autovacuum").await;
    postgres.run("SELECT pg_reload_conf()").await;
    drop(sidecar);
    db.discard().await;

    table.add(Finding {
        what: "idle: CPU of sidecar and Postgres".to_owned(),
        ours: format!("{:.2} % of a core", ours + server),
        beside: format!("sidecar {ours:.2}, Postgres {server:.2}"),
        limit: String::new(),
        target: Target::at_most(ours + server, 0.5, "< 0.5 %"),
    });
    table.add(Finding {
        what: "idle: statements a second".to_owned(),
        ours: format!("{statements:.2}/s"),
        beside: "polling each 100 ms: 10/s".to_owned(),
        limit: String::new(),
        target: Target::at_most(statements, 1.0, "≤ 1/s"),
    });
}
