//! Whose fault a failure is: one of the sidecar's own spends no retry of the receiver's and disables nobody.

use std::time::Duration;

use serde_json::{Value, json};
use tests::{Answer, Cluster, Database, Receiver, SECRET, Sidecar, eventually};

const DEADLINE: Duration = Duration::from_secs(20);

/// A database with an endpoint that has one event to come, which no sidecar reads: the tests report what became of it.
async fn prepare() -> (Database<'static>, String) {
    let db = Cluster::shared().await.database().await;
    let endpoint = db.register("http://127.0.0.1:9/", "*", SECRET).await;
    db.set("retry_jitter", "0").await;
    db.run("SELECT webhooks.emit('order.paid', '{}')").await;
    (db, endpoint)
}

/// Reports an attempt at the event as a sidecar would.
async fn report(db: &Database<'_>, attempt: Value) {
    let sql = format!(
        "SELECT webhooks.report_exceptions(ARRAY[(SELECT jsonb_populate_record(NULL::webhooks.result,
                    jsonb_build_object('endpoint', p.key, 'xid', e.xid::text, 'seq', e.seq, 'occurred_at', e.occurred_at,
                                       'webhook_id', e.webhook_id, 'event', e.name, 'ending', 'attempted',
                                       'started_ms_ago', 0, 'response_time_ms', 0, 'retry_count', 0,
                                       'was_pending', EXISTS (SELECT FROM webhooks.pending)) || '{attempt}')
                   FROM webhooks.event e, webhooks.endpoint p)], clock_timestamp())"
    );
    db.run(&sql).await;
}

async fn waiting(db: &Database<'_>) -> Value {
    let sql = "SELECT retry_count, round(extract(epoch FROM due_at - clock_timestamp()) / 60)::integer AS minutes
                 FROM webhooks.pending";
    db.json(sql).await.pop().unwrap_or_default()
}

async fn is_active(db: &Database<'_>) -> bool {
    db.one("SELECT active FROM webhooks.list()").await
}

#[tokio::test]
async fn a_fault_of_ours_is_logged_as_ours_waits_by_the_table_and_spends_no_retry() {
    let (db, endpoint) = prepare().await;
    for (retry, minutes) in [(0, 1), (2, 15), (5, 360)] {
        report(&db, json!({"retry_count": retry, "error": "Internal error", "ours": true})).await;
        assert_eq!(waiting(&db).await, json!({"retry_count": retry, "minutes": minutes}));
    }
    assert!(is_active(&db).await, "not even after the last retry");
    let log = db.json(&format!("SELECT outcome, ours, error FROM webhooks.logs('{endpoint}') LIMIT 1")).await;
    assert_eq!(log, [json!({"outcome": "retry", "ours": true, "error": "Internal error"})]);

    report(&db, json!({"retry_count": 5, "error": "Request timeout", "ours": false})).await;
    let log = db.json(&format!("SELECT outcome, ours FROM webhooks.logs('{endpoint}') LIMIT 1")).await;
    assert_eq!(log, [json!({"outcome": "exhausted", "ours": false})], "theirs counts as ever");
}

#[tokio::test]
async fn a_fault_of_ours_counts_as_theirs_once_it_has_lasted_for_a_day() {
    let (db, _) = prepare().await;
    let ours = |retry: i32| json!({"retry_count": retry, "error": "Internal error", "ours": true});
    report(&db, ours(0)).await;
    let a_day_passes = "UPDATE webhooks.pending SET ours_since = ours_since - interval '24 h'";
    db.run(a_day_passes).await;
    report(&db, ours(0)).await;
    assert_eq!(waiting(&db).await["retry_count"], 1);
    report(&db, ours(1)).await;
    assert_eq!(waiting(&db).await["retry_count"], 2, "on end");

    report(&db, json!({"retry_count": 2, "http_status": 500, "ours": false})).await;
    assert_eq!(waiting(&db).await["retry_count"], 3);
    report(&db, ours(3)).await;
    assert_eq!(waiting(&db).await["retry_count"], 3, "an answer in between begins a new day");
    db.run(a_day_passes).await;
    report(&db, ours(5)).await;
    assert!(!is_active(&db).await);
}

#[tokio::test]
async fn what_timed_out_while_the_sidecar_stood_still_spends_no_retry() {
    let (db, receiver) = (Cluster::shared().await.database().await, Receiver::start().await);
    db.set("request_timeout", "1s").await;
    receiver.answer("/", Answer::hang());
    let endpoint = db.register(&receiver.url("/"), "*", SECRET).await;
    let sidecar = Sidecar::start(&db);
    db.run("SELECT webhooks.emit('order.paid', '{}')").await;
    receiver.wait_at("/", 1).await;
    sidecar.freeze();
    let frozen: String = db.one("SELECT clock_timestamp()::text").await;
    let passed = format!("SELECT clock_timestamp() > timestamptz '{frozen}' + interval '4 s'");
    eventually(DEADLINE, "its deadline is long over", async || db.one::<bool>(&passed).await.then_some(())).await;
    sidecar.thaw();
    eventually(DEADLINE, "it waits", async || (waiting(&db).await != Value::Null).then_some(())).await;
    assert_eq!(waiting(&db).await, json!({"retry_count": 0, "minutes": 1}));
    let log = format!("SELECT error, ours FROM webhooks.logs('{endpoint}')");
    let error = "Not sent in time: this process stood still";
    assert_eq!(db.json(&log).await, [json!({"error": error, "ours": true})]);
}
