//! How fast a backlog goes out to one receiver, beside plain posts of the same bodies to the same receiver.

use std::process::Stdio;
use std::time::{Duration, Instant};

use tests::{Cluster, Database, Sidecar};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::Command;

use crate::sink::Sink;
use crate::table::{Finding, Table, Target};
use crate::{Size, database_with_products};

const DEADLINE: Duration = Duration::from_secs(300);
/// The sidecar's default for one endpoint.
const CONCURRENCY: &str = "32";

/// Measures the drain of one event for each product.
pub async fn measure(cluster: &Cluster, size: Size, table: &mut Table) {
    let db = database_with_products(cluster, size.rows).await;
    let events = size.rows as usize;
    let plain_before = post_plainly(&db, events).await;
    let (rate, dead) = drain(&db, events).await;
    let plain = f64::midpoint(plain_before, post_plainly(&db, events).await);
    let how = "from the first request's arrival to the last's; plain posts before and after it, from a process of their \
               own, as many at once as the sidecar sends to one endpoint; the mean of both";
    table.add(Finding {
        what: "deliveries a second, draining a backlog to one endpoint",
        ours: format!("{rate:.0}/s"),
        beside: format!("plain reqwest posts {plain:.0}/s"),
        target: Target::at_least(rate / plain, 0.35, "≥ 0.35"),
        how,
    });
    table.add(Finding {
        what: "dead rows after it, in event, attempt and pending",
        ours: dead.to_string(),
        beside: format!("{events} deliveries that succeeded at once"),
        target: Target::at_most(dead as f64, 0.0, "0"),
        how: "pg_stat_all_tables after the drain",
    });
}

async fn drain(db: &Database<'_>, events: usize) -> (f64, i64) {
    let sink = Sink::start().await;
    db.register(&sink.url, "product.updated", "secret").await;
    db.run("UPDATE products SET price = price + 1").await;
    let sidecar = Sidecar::start(db);
    let rate = rate(&sink, events).await;
    let logged = "SELECT count(*) FROM webhooks.attempt";
    tests::eventually(DEADLINE, "all is in the log", async || {
        (db.one::<i64>(logged).await as usize >= events).then_some(())
    })
    .await;
    assert!(sidecar.terminate().await.success(), "the sidecar stops");
    db.run("SELECT pg_stat_force_next_flush()").await;
    let dead = "SELECT coalesce(sum(n_dead_tup), 0)::bigint FROM pg_stat_all_tables
                 WHERE schemaname = 'webhooks' AND relname ~ '^(event|attempt|pending)'";
    (rate, db.one(dead).await)
}

async fn post_plainly(db: &Database<'_>, events: usize) -> f64 {
    let sink = Sink::start().await;
    let sample = "SELECT '{\"event\":\"product.updated\",\"timestamp\":\"2026-01-01T00:00:00Z\",\"webhook_id\":\"wh_00000000000000000000000000\",\"data\":{\"product_id\":'
        || id || ',\"sku\":\"' || sku || '\",\"changes\":{\"price\":{\"old\":49.99,\"new\":50.99}},\"updated_by\":\"postgres\"}}' FROM products";
    let bodies: Vec<String> = db.all(sample).await;
    let myself = std::env::current_exe().expect("this program has a path");
    let mut poster = Command::new(myself);
    poster.args(["post", &sink.url, CONCURRENCY]).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut poster = poster.spawn().expect("it starts");
    let mut input = poster.stdin.take().expect("it is piped");
    input.write_all((bodies.join("\n") + "\n").as_bytes()).await.expect("it reads");
    drop(input);
    let mut output = BufReader::new(poster.stdout.take().expect("it is piped")).lines();
    assert_eq!(output.next_line().await.expect("UTF-8").as_deref(), Some("ready"));
    let rate = rate(&sink, events).await;
    assert!(poster.wait().await.expect("it is our child").success());
    rate
}

/// Requests a second from the first to the last of them.
async fn rate(sink: &Sink, events: usize) -> f64 {
    sink.wait_for(1, DEADLINE).await;
    let (began, already) = (Instant::now(), sink.count());
    sink.wait_for(events, DEADLINE).await;
    (events - already) as f64 / began.elapsed().as_secs_f64()
}
