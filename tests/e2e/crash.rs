//! Crashes: whatever dies, every committed event arrives, what was rolled back never does, and no more comes twice
//! than was in flight. A graceful stop loses and repeats nothing.

use std::collections::HashSet;
use std::time::Duration;

use tests::{Answer, Cluster, Database, Received, Receiver, SECRET, Sidecar};

const ROWS: usize = 5_000;
const IN_FLIGHT: usize = 100;
const DEADLINE: Duration = Duration::from_secs(90);

/// A receiver that takes a while, so that a crash finds deliveries in flight, and a database that sends to it.
async fn prepare(cluster: &Cluster) -> (Database<'_>, Receiver) {
    let db = cluster.database().await;
    let receiver = Receiver::start().await;
    receiver.answer("/", Answer::status(200).after(Duration::from_millis(20)));
    db.register(&receiver.url("/"), "*", SECRET).await;
    (db, receiver)
}

fn sidecar(db: &Database<'_>) -> Sidecar {
    Sidecar::start_with(db, &[("PG_WEBHOOKS_PREFETCH", "100")])
}

/// Commits `ROWS` products in a hundred transactions, with others between them that are rolled back.
async fn write(db: &Database<'_>, batch: &str) {
    let insert = |sku: &str, from: usize| {
        format!(
            "INSERT INTO products (sku, name, price) SELECT '{batch} {sku} ' || i, 'p', 1 FROM generate_series({from}, {}) i",
            from + ROWS / 100 - 1
        )
    };
    for from in (0..ROWS).step_by(ROWS / 100) {
        db.run(&insert("kept", from)).await;
        db.run(&format!("BEGIN; {}; ROLLBACK", insert("undone", from))).await;
    }
}

/// Waits until `count` different messages have arrived, checks them against the log, and returns how many came again.
async fn repeated(db: &Database<'_>, receiver: &Receiver, count: usize) -> usize {
    let mut ids = HashSet::new();
    let mut seen = 0;
    receiver
        .wait_at_most(DEADLINE, &format!("{count} different messages"), |all| {
            ids.extend(all[seen..].iter().map(Received::webhook_id));
            seen = all.len();
            ids.len() >= count
        })
        .await;
    // One more, committed now: when it has been tried, so has all that was committed before.
    let marker: String = db.one("SELECT webhooks.emit('marker.made', '{}')").await;
    receiver
        .wait_at_most(DEADLINE, "the marker", |all| all.iter().rev().take(200).any(|one| one.body.contains(&marker)))
        .await;

    let all = receiver.requests();
    let arrived: HashSet<String> = all.iter().map(Received::webhook_id).collect();
    let logged: HashSet<String> = db.all("SELECT webhook_id FROM webhooks.event").await.into_iter().collect();
    assert_eq!(arrived.len(), count + 1);
    assert!(arrived == logged, "what arrived is what was committed");
    assert!(!all.iter().any(|one| one.body.contains("undone")), "what was rolled back never arrives");
    all.len() - arrived.len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_sidecar_and_then_a_crashed_postgres_lose_nothing_and_repeat_no_more_than_was_in_flight() {
    let cluster = Cluster::own().await;
    let (mut db, receiver) = prepare(&cluster).await;

    // While it writes: a slow writer would leave nothing to deliver afterwards.
    let first = sidecar(&db);
    let killing = async {
        receiver.wait_count(DEADLINE, ROWS / 3).await;
        first.kill9();
        assert!(receiver.requests().len() < ROWS, "killed in the middle");
    };
    tokio::join!(write(&db, "first"), killing);
    let second = sidecar(&db);
    let again = repeated(&db, &receiver, ROWS).await;
    assert!(again <= IN_FLIGHT, "{again} came twice after the sidecar was killed");

    // The writer would not survive this crash, so all is written before anybody delivers.
    second.terminate().await;
    let before = receiver.requests().len();
    write(&db, "second").await;
    let _third = sidecar(&db);
    receiver.wait_count(DEADLINE, before + ROWS / 3).await;
    cluster.crash();
    assert!(receiver.requests().len() < before + ROWS, "crashed in the middle");
    cluster.start().await;
    db.reopen().await;
    let again_after = repeated(&db, &receiver, 2 * ROWS + 1).await - again;
    assert!(again_after <= IN_FLIGHT, "{again_after} came twice after Postgres crashed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_graceful_stop_in_the_middle_loses_and_repeats_nothing() {
    let (db, receiver) = prepare(Cluster::shared().await).await;
    let first = sidecar(&db);
    let stopping = async {
        receiver.wait_count(DEADLINE, ROWS / 3).await;
        first.terminate().await
    };
    let ((), status) = tokio::join!(write(&db, "first"), stopping);
    assert!(status.success(), "{status}");
    let stopped = receiver.requests().len();
    assert!(stopped < ROWS, "stopped in the middle");
    let attempts: i64 = db.one("SELECT count(*) FROM webhooks.attempt").await;
    assert_eq!(attempts as usize, stopped, "all that was in flight is logged");
    let _second = sidecar(&db);
    assert_eq!(repeated(&db, &receiver, ROWS).await, 0, "none comes twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sidecar_killed_again_and_again_loses_nothing() {
    let (db, receiver) = prepare(Cluster::shared().await).await;
    let mut running = sidecar(&db);
    write(&db, "only").await;
    for part in 1..6 {
        receiver.wait_count(DEADLINE, ROWS * part / 8).await;
        running.kill9();
        running = sidecar(&db);
    }
    let again = repeated(&db, &receiver, ROWS).await;
    assert!(again <= 5 * IN_FLIGHT, "{again} came twice in five kills");
}

#[tokio::test]
async fn a_cut_connection_to_postgres_is_made_again_and_nothing_is_lost() {
    let (db, receiver) = prepare(Cluster::shared().await).await;
    let _sidecar = sidecar(&db);
    let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'sidecar' AND datname = current_database()";
    for round in 1..=5 {
        db.run(&format!("INSERT INTO suppliers (name) SELECT 's' FROM generate_series(1, 200); {cut}")).await;
        receiver.wait_count(DEADLINE, 200 * round).await;
    }
    let again = repeated(&db, &receiver, 1_000).await;
    assert!(again <= 5 * IN_FLIGHT, "{again} came twice in five cuts");
}
