//! What is looked at costs as much as is shown, however much has happened or waits.

use tests::{Api, Cluster, Database};

/// Runs the query, and returns how many rows of our tables it has read.
async fn rows_read(db: &Database<'_>, query: &str) -> i64 {
    let session = db.session().await;
    session.run(&format!("BEGIN; DO $do$ BEGIN PERFORM * FROM {query}; END $do$")).await;
    let read = "SELECT sum(seq_tup_read + coalesce(idx_tup_fetch, 0))::bigint FROM pg_stat_xact_all_tables
                 WHERE schemaname = 'webhooks'";
    let read = session.one(read).await;
    session.run("COMMIT").await;
    read
}

#[tokio::test]
async fn a_message_with_a_thousand_recipients_is_listed_as_others_are() {
    let db = Cluster::shared().await.database().await;
    db.run(
        "SELECT webhooks.register('http://127.0.0.1:9/', '{*}', 's') FROM generate_series(1, 1000);
         INSERT INTO suppliers (name) SELECT 's' FROM generate_series(1, 60);
         INSERT INTO webhooks.attempt
                (started_at, endpoint, retry_count, http_status, response_time_ms, outcome, webhook_id, event)
         SELECT clock_timestamp(), p.key, 0, 200, 1, 'delivered', e.webhook_id, e.name
           FROM webhooks.event e, webhooks.endpoint p",
    )
    .await;
    // Its attempts, its recipients and a look at each; not the whole day's log once more for each message.
    let read = rows_read(&db, "webhooks.events(max_rows => 10)").await;
    assert!((10_000..100_000).contains(&read), "{read} rows for ten messages of a thousand attempts each");
    let read = rows_read(&db, "webhooks.deliveries((SELECT max(webhook_id) FROM webhooks.event))").await;
    assert!((1_000..20_000).contains(&read), "{read} rows for a message of a thousand attempts");
    let api = Api::start(&db).await;
    let events = api.get("/api/v1/events").await.data(200);
    let events = events["events"].as_array().expect("a list");
    assert_eq!(events.len(), 60);
    assert!(events.iter().all(|one| one["state"] == "delivered" && one["delivered"] == 1000), "{events:?}");
}

#[tokio::test]
async fn readiness_metrics_and_status_read_no_more_however_much_waits() {
    let db = Cluster::shared().await.database().await;
    let dead = db.register("http://127.0.0.1:9/", "*", "s").await;
    db.register("http://127.0.0.1:9/", "*", "s").await;
    db.run(&format!(
        "INSERT INTO webhooks.pending (endpoint, xid, seq, occurred_at, due_at, retry_count)
         SELECT key, '3', i, now(), now() - interval '1 h', 1 FROM webhooks.endpoint, generate_series(1, 200000) i
          WHERE id = '{dead}'"
    ))
    .await;
    let status = db.json("SELECT * FROM webhooks.status()").await.remove(0);
    assert_eq!((&status["pending"], &status["overdue"]), (&10_000.into(), &10_000.into()), "as far as it counts");
    assert_eq!(status["in_trouble"], serde_json::json!([dead]));
    assert_eq!(db.json("SELECT * FROM webhooks.health()").await[0]["pending"], 1000, "as far as it counts");
    for (query, bound) in [("webhooks.status()", 30_000), ("webhooks.health()", 5_000), ("webhooks.version()", 10)] {
        let read = rows_read(&db, query).await;
        assert!(read < bound, "{query} reads {read} rows");
    }
    let api = Api::start(&db).await;
    api.stranger().get("/readyz").await.data(200);
    let metrics = api.stranger().get("/metrics").await.text;
    assert!(metrics.contains("\npg_webhooks_pending_deliveries 10000\n"), "{metrics}");
}
