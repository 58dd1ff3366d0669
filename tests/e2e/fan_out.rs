//! One event for many webhooks: what it costs the database grows with their number, not with its square.

use std::time::{Duration, Instant};

use tests::{Cluster, Database};

const FEW: u32 = 1_000;
const MANY: u32 = 16 * FEW;
/// Sixteen times as many webhooks cost sixteen times as much; if each were looked for among all, 256 times.
const MOST_TIMES_AS_LONG: u32 = 32;
/// The fastest of these counts: another test may have the processor.
const RUNS: usize = 3;

/// A database with `webhooks` endpoints, and in its log one event for all of them.
async fn event_for(webhooks: u32) -> Database<'static> {
    let db = Cluster::shared().await.database().await;
    db.run(&format!(
        "INSERT INTO webhooks.endpoint (id, url, events, secret)
         SELECT 'ep_' || i, 'http://127.0.0.1:1/', '{{*}}', 'secret' FROM generate_series(1, {webhooks}) i;
         SELECT webhooks.emit('fan.out', '{{}}')"
    ))
    .await;
    db
}

/// How long a call takes that returns a delivery for each of `webhooks`.
async fn fastest(db: &Database<'_>, call: &str, webhooks: u32) -> Duration {
    let count = format!("SELECT coalesce(sum(cardinality(signatures_v1)), 0)::bigint FROM webhooks.{call}");
    let mut fastest = Duration::MAX;
    for _ in 0..RUNS {
        let began = Instant::now();
        assert_eq!(db.one::<i64>(&count).await, i64::from(webhooks), "{call}");
        fastest = fastest.min(began.elapsed());
    }
    fastest
}

/// How long `fetch` takes, and how long `fetch_due` once all are pending.
async fn durations(webhooks: u32) -> [Duration; 2] {
    let db = event_for(webhooks).await;
    let lease = db.row("SELECT lease_id, done FROM webhooks.acquire('me/1', 60000)").await;
    let (lease_id, from): (i64, String) = (lease.get("lease_id"), lease.get("done"));
    let fetch = format!(
        "fetch(0, {lease_id}, '{from}', '{{}}', '{{}}', NULL, '{{}}', '{{}}', '{{}}', '{from}', 500, 67108864)"
    );
    let fetched = fastest(&db, &fetch, webhooks).await;
    db.run(
        "INSERT INTO webhooks.pending (endpoint, xid, seq, occurred_at, due_at, retry_count)
         SELECT p.key, e.xid, e.seq, e.occurred_at, e.occurred_at, 0 FROM webhooks.event e CROSS JOIN webhooks.endpoint p",
    )
    .await;
    let fetch_due = format!("fetch_due(0, {lease_id}, '{{}}', '{{}}', 1, '{{}}', '{{}}', '{{}}', 67108864)");
    [fetched, fastest(&db, &fetch_due, webhooks).await]
}

#[tokio::test]
async fn an_event_for_sixteen_times_as_many_webhooks_takes_about_sixteen_times_as_long_to_read() {
    let (few, many) = (durations(FEW).await, durations(MANY).await);
    for (call, (few, many)) in ["fetch", "fetch_due"].into_iter().zip(few.into_iter().zip(many)) {
        assert!(many < few * MOST_TIMES_AS_LONG, "{call}: {few:?} for {FEW} webhooks, {many:?} for {MANY}");
    }
}
