//! What one webhook does to the others, and what order its own messages have: each is a reader of the log by itself.

use serde_json::Value;
use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};
use tests::{Answer, Cluster, Database, Receiver, SECRET, Sidecar, Stage, eventually};

const DEADLINE: Duration = Duration::from_secs(60);
const PRODUCTS: &str =
    "INSERT INTO products (sku, name, price, stock) SELECT i, 'p', 1, 0 FROM generate_series(1, 5) i";

async fn database() -> (Database<'static>, Receiver) {
    (Cluster::shared().await.database().await, Receiver::start().await)
}

/// The stock that each message about a product tells, as (before, after).
fn stocks(receiver: &Receiver, path: &str) -> HashMap<String, Vec<(Value, Value)>> {
    let mut stocks: HashMap<String, Vec<(Value, Value)>> = HashMap::new();
    for one in receiver.at(path) {
        let data = one.data();
        if one.event() == "product.updated" {
            let change = &data["changes"]["stock"];
            stocks
                .entry(data["product_id"].to_string())
                .or_default()
                .push((change["old"].clone(), change["new"].clone()));
        }
    }
    stocks
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_happens_to_a_row_arrives_in_the_order_in_which_it_happened() {
    const WRITERS: i64 = 6;
    const UPDATES: i64 = 40;
    let (db, receiver) = database().await;
    db.run(PRODUCTS).await;
    db.register(&receiver.url("/jittery"), "product.*", SECRET).await;
    let answers = (0..7).map(|turn| Answer::status(200).after(Duration::from_millis(turn * 5 % 13)));
    receiver.answer_in_turn("/jittery", answers.cycle().take(5000).collect::<Vec<_>>());
    let _sidecar = Sidecar::start(&db);
    let mut writers = Vec::new();
    for writer in 0..WRITERS {
        let session = db.session().await;
        writers.push(async move {
            for update in 0..UPDATES {
                let (one, other) = (1 + (writer + update) % 3, 4 + update % 2);
                // The id comes first, and then the wait for a row that another may hold.
                let sql = format!(
                    "BEGIN; SELECT pg_current_xact_id(); UPDATE products SET stock = stock + 1 WHERE id = {one};
                     UPDATE products SET stock = stock + 1 WHERE id = {other}; COMMIT"
                );
                session.run(&sql).await;
            }
        });
    }
    futures_util::future::join_all(writers).await;
    let expected = usize::try_from(2 * WRITERS * UPDATES).expect("a small number");
    receiver.wait_at("/jittery", expected).await;
    for (product, changes) in stocks(&receiver, "/jittery") {
        let broken = changes.windows(2).find(|pair| pair[0].1 != pair[1].0);
        assert_eq!(broken, None, "product {product}: {changes:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_with_a_long_backlog_delays_no_other() {
    const BACKLOG: usize = 20_000;
    let (db, receiver) = database().await;
    db.register(&receiver.url("/busy"), "product.*", SECRET).await;
    db.register(&receiver.url("/other"), "supplier.*", SECRET).await;
    receiver.answer("/busy", Answer::status(200).after(Duration::from_millis(20)));
    let sidecar = Sidecar::start(&db);
    let import =
        format!("INSERT INTO products (sku, name, price) SELECT i, 'p', 1 FROM generate_series(1, {BACKLOG}) i");
    db.run(&import).await;
    receiver.wait_at("/busy", 100).await;
    for supplier in 1..=10 {
        db.run("INSERT INTO suppliers (name) VALUES ('s')").await;
        receiver.wait_at("/other", supplier).await;
    }
    let busy = receiver.at("/busy").len();
    assert!(busy < BACKLOG / 2, "the backlog is not over: {busy} of {BACKLOG}");
    receiver.wait_at_most(DEADLINE, "all of the backlog", |all| all.len() >= BACKLOG + 10).await;
    let once: HashSet<String> = receiver.at("/busy").iter().map(|one| one.webhook_id()).collect();
    assert_eq!((once.len(), receiver.at("/busy").len()), (BACKLOG, BACKLOG));
    assert_eq!(db.one::<i64>("SELECT count(*) FROM webhooks.pending").await, 0, "a backlog makes no rows");
    drop(sidecar);
}

/// The memory that a process has, and the most that it had, in megabytes.
fn memory(pid: u32) -> (u64, u64) {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    let of = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).expect("Linux tells it");
        line.split_whitespace().nth(1).and_then(|kilobytes| kilobytes.parse::<u64>().ok()).expect("a number") / 1024
    };
    (of("VmRSS"), of("VmHWM"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_big_message_for_many_webhooks_is_held_once() {
    const WEBHOOKS: usize = 300;
    let (db, receiver) = database().await;
    db.run(&format!(
        "SELECT webhooks.register('{}/' || i, '{{product.*}}', '{SECRET}') FROM generate_series(1, {WEBHOOKS}) i",
        receiver.url("")
    ))
    .await;
    let sidecar = Sidecar::start(&db);
    db.run("INSERT INTO products (sku, name, price) VALUES ('A', repeat('x', 900000), 1)").await;
    receiver.wait_at_most(DEADLINE, "it is everywhere", |all| all.len() == WEBHOOKS).await;
    let (_, most) = memory(sidecar.pid());
    assert!(most < 160, "{most} MB");
}

#[tokio::test]
async fn a_webhook_that_a_failure_disabled_goes_on_where_it_stood() {
    let (db, receiver) = database().await;
    let endpoint = db.register(&receiver.url("/gone"), "*", SECRET).await;
    db.register(&receiver.url("/other"), "*", SECRET).await;
    receiver.answer("/gone", Answer::status(410));
    let _sidecar = Sidecar::start(&db);
    db.run("INSERT INTO suppliers (name) VALUES ('refused')").await;
    let active = "SELECT count(*) FROM webhooks.endpoint WHERE NOT active";
    eventually(DEADLINE, "it is disabled", async || (db.one::<i64>(active).await == 1).then_some(())).await;
    db.run("INSERT INTO suppliers (name) SELECT 'meanwhile' FROM generate_series(1, 3)").await;
    receiver.wait_at("/other", 4).await;
    receiver.answer("/gone", Answer::status(200));
    db.run(&format!("SELECT webhooks.update('{endpoint}', active => true)")).await;
    db.run("INSERT INTO suppliers (name) VALUES ('afterwards')").await;
    let mut names: Vec<String> = receiver
        .wait_at("/gone", 5)
        .await
        .iter()
        .map(|one| one.data()["name"].as_str().unwrap_or_default().to_owned())
        .collect();
    // Each is about a row of its own.
    names.sort();
    assert_eq!(names, ["afterwards", "meanwhile", "meanwhile", "meanwhile", "refused"]);
}

#[tokio::test]
async fn what_is_queued_follows_a_change_of_the_url() {
    let (db, receiver) = database().await;
    db.set("request_timeout", "2s").await;
    let endpoint = db.register(&receiver.url("/old"), "*", SECRET).await;
    receiver.answer("/old", Answer::hang());
    let _sidecar = Sidecar::start(&db);
    db.run("INSERT INTO suppliers (name) SELECT 's' FROM generate_series(1, 50)").await;
    receiver.wait_at("/old", 1).await;
    db.run(&format!("SELECT webhooks.update('{endpoint}', url => '{}')", receiver.url("/new"))).await;
    let under_way = receiver.at("/old").len();
    receiver
        .wait_for("what was not under way is at the new address", |all| {
            all.iter().filter(|one| one.path == "/new").count() >= 50 - 32
        })
        .await;
    assert!(under_way <= 32, "{under_way}");
}

#[tokio::test]
async fn what_is_queued_for_a_webhook_that_is_deleted_is_not_sent() {
    let stage = Stage::start().await;
    let endpoint = stage.db.register(&stage.receiver.url("/deleted"), "*", SECRET).await;
    stage.receiver.answer("/deleted", Answer::status(200).after(Duration::from_millis(500)));
    stage.db.run("INSERT INTO suppliers (name) SELECT 's' FROM generate_series(1, 200)").await;
    stage.receiver.wait_at("/deleted", 1).await;
    stage.db.run(&format!("SELECT webhooks.delete('{endpoint}')")).await;
    let began = Instant::now();
    stage.receiver.wait_at("/all", 200).await;
    stage.db.run("INSERT INTO suppliers (name) VALUES ('later')").await;
    stage.receiver.wait_at("/all", 201).await;
    stage.db.until_all_is_read().await;
    let sent = stage.receiver.at("/deleted").len();
    assert!(sent < 100, "{sent} in {:?}", began.elapsed());
}

#[tokio::test]
async fn a_cursor_row_that_replication_has_brought_counts_for_nothing() {
    let (db, receiver) = database().await;
    db.register(&receiver.url("/all"), "*", SECRET).await;
    let now: i64 = db.one("SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint").await;
    // Written by another server's transaction, which was far ahead.
    db.run(&format!(
        "INSERT INTO webhooks.cursor (shard, moved, done, written_by) VALUES (0, '{0}', '{0}:{0}:', '{0}')",
        now + 1_000_000
    ))
    .await;
    db.run("INSERT INTO suppliers (name) VALUES ('while no sidecar runs')").await;
    let _sidecar = Sidecar::start(&db);
    receiver.wait_at("/all", 1).await;
}
